//! Windows, limits and modes of charges.

use keyward::{
    domain::{
        MINUTE,
        observation::{Charge, ChargeMode, LimitRefusal},
        window::{Unit, WINDOW_MILLIS, WindowLimits},
    },
    store::Store,
};

use crate::store::support::*;

pub(crate) async fn every_window_counts_and_forgets_in_its_own_time(store: &dyn Store) {
    let subject = key("a");
    let first = observe(store, charge(&subject, START, 5)).await;
    assert!(first.admitted && first.created && first.tracked);
    assert_eq!((tokens(&first), first.now), ([5; 4], START));
    for (index, length) in WINDOW_MILLIS.into_iter().enumerate() {
        let inside = store.inspect(&subject, START + length).await.unwrap().unwrap();
        assert_eq!(inside.counts[index], counts(5), "window {index}");
        let outside = store.inspect(&subject, START + length + length / 60).await.unwrap().unwrap();
        assert!(outside.counts[index].is_zero(), "window {index}");
    }
    let second = observe(store, charge(&subject, START + 2 * MINUTE, 7)).await;
    assert!(!second.created && second.tracked);
    assert_eq!(tokens(&second), [7, 12, 12, 12]);
}

pub(crate) async fn tokens_and_requests_are_limited(store: &dyn Store) {
    let by_tokens =
        Charge { limits: token_limits([Some(10), None, None, None]), ..charge(&key("a"), START, 5) };
    assert!(observe(store, by_tokens.clone()).await.admitted);
    assert!(observe(store, by_tokens.clone()).await.admitted);
    let refused = observe(store, by_tokens).await;
    let refusal = refused.refusal.unwrap();
    assert_eq!((refusal.window, refusal.unit, refusal.limit), (0, Unit::Tokens, 10));
    assert_eq!(tokens(&refused), [10; 4]);

    let limits = WindowLimits { requests: [None, Some(2), None, None], ..WindowLimits::default() };
    let by_requests = Charge { limits, ..charge(&key("b"), START, 1_000) };
    assert!(observe(store, by_requests.clone()).await.admitted);
    assert!(observe(store, by_requests.clone()).await.admitted);
    let refusal = observe(store, by_requests).await.refusal.unwrap();
    assert_eq!((refusal.window, refusal.unit, refusal.limit), (1, Unit::Requests, 2));
}

pub(crate) async fn a_charge_is_taken_by_all_windows_or_none(store: &dyn Store) {
    let subject = key("a");
    let limits = token_limits([Some(100), Some(100), Some(100), Some(10)]);
    observe(store, Charge { limits, ..charge(&subject, START, 8) }).await;
    let refused = observe(store, Charge { limits, ..charge(&subject, START + 1, 3) }).await;
    assert!(!refused.admitted && refused.tracked && !refused.created);
    assert_eq!(tokens(&refused), [8; 4]);
    assert_eq!(tokens(&store.inspect(&subject, START + 1).await.unwrap().unwrap()), [8; 4]);
}

pub(crate) async fn the_promised_moment_of_retry_is_true(store: &dyn Store) {
    let subject = key("a");
    let limits = token_limits([Some(100), None, None, None]);
    for step in 0..10 {
        observe(store, Charge { limits, ..charge(&subject, START + step * 3_000, 10) }).await;
    }
    let asked = Charge { limits, ..charge(&subject, START + 30_000, 25) };
    let retry_at = observe(store, asked.clone()).await.refusal.unwrap().retry_at.unwrap();
    let early = observe(store, Charge { now: retry_at - 1, ..asked.clone() }).await;
    assert_eq!(early.refusal.unwrap().retry_at, Some(retry_at));
    assert!(observe(store, Charge { now: retry_at, ..asked }).await.admitted);
}

pub(crate) async fn the_limit_that_takes_longest_is_named(store: &dyn Store) {
    let subject = key("a");
    let limits = WindowLimits {
        tokens: [Some(10), Some(10), None, None],
        requests: [Some(1), Some(1), None, Some(9)],
    };
    observe(store, Charge { limits, ..charge(&subject, START, 10) }).await;
    let refusal = observe(store, Charge { limits, ..charge(&subject, START, 1) }).await.refusal.unwrap();
    // Tokens and requests of the 5-minute window refuse equally long: the first in order is named.
    assert_eq!((refusal.window, refusal.unit), (1, Unit::Tokens));
    let never = Charge { limits, ..charge(&subject, START, 11) };
    let refusal = observe(store, never).await.refusal.unwrap();
    assert_eq!(refusal, LimitRefusal { window: 0, unit: Unit::Tokens, limit: 10, retry_at: None });
}

pub(crate) async fn what_never_fits_has_no_moment_of_retry(store: &dyn Store) {
    let limits = token_limits([Some(10), None, None, None]);
    let refused = observe(store, Charge { limits, ..charge(&key("a"), START, 11) }).await;
    assert!(!refused.admitted);
    assert_eq!(refused.refusal.unwrap().retry_at, None);
}

pub(crate) async fn a_subject_over_its_limit_is_refused_even_nothing(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 20)).await;
    let limits = token_limits([Some(10), None, None, None]);
    assert!(!observe(store, Charge { limits, ..charge(&subject, START, 0) }).await.admitted);
    let limits = token_limits([Some(20), None, None, None]);
    assert!(observe(store, Charge { limits, ..charge(&subject, START, 0) }).await.admitted);
}

pub(crate) async fn resets_are_when_the_oldest_usage_leaves(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    let later = observe(store, charge(&subject, START + 20_000, 5)).await;
    for (index, length) in WINDOW_MILLIS.into_iter().enumerate() {
        let at = later.resets_at[index];
        assert!(at > START + length && at <= START + length + length / 60, "window {index}: {at}");
        assert_eq!(store.inspect(&subject, at - 1).await.unwrap().unwrap().counts[index].tokens, 10);
        assert!(store.inspect(&subject, at).await.unwrap().unwrap().counts[index].tokens < 10);
    }
    let unknown = observe(store, Charge { mode: ChargeMode::Peek, ..charge(&key("b"), START, 1) }).await;
    assert_eq!(unknown.resets_at, [START; 4]);
}

pub(crate) async fn time_never_runs_backwards(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START + 90_000, 5)).await;
    let earlier = observe(store, charge(&subject, START, 5)).await;
    assert_eq!((earlier.now, tokens(&earlier)), (START + 90_000, [10; 4]));
    assert_eq!(store.inspect(&subject, START).await.unwrap().unwrap().now, START + 90_000);
    let limits = token_limits([Some(10), None, None, None]);
    let refused = observe(store, Charge { limits, ..charge(&subject, START + 120_000, 5) }).await;
    assert_eq!(refused.now, START + 120_000);
    // Only a charge that was taken moves a subject's time.
    assert_eq!(observe(store, charge(&subject, START, 1)).await.now, START + 90_000);
}

pub(crate) async fn charges_of_one_call_take_effect_in_order(store: &dyn Store) {
    let limits = token_limits([Some(10), None, None, None]);
    let charges: Vec<_> = [("a", 4), ("b", 9), ("a", 5), ("b", 2), ("a", 1)]
        .into_iter()
        .map(|(id, tokens)| Charge { limits, ..charge(&key(id), START, tokens) })
        .collect();
    let answers = store.observe(&charges).await.unwrap();
    let seen: Vec<_> = answers.iter().map(|a| (a.admitted, a.created, a.counts[0].tokens)).collect();
    let expected = [(true, true, 4), (true, true, 9), (true, false, 9), (false, false, 9), (true, false, 10)];
    assert_eq!(seen, expected);
    assert!(store.observe(&[]).await.unwrap().is_empty());
}

pub(crate) async fn a_peek_changes_nothing(store: &dyn Store) {
    let subject = key("a");
    let peek = Charge { mode: ChargeMode::Peek, peer: Some(peer(1)), ..charge(&subject, START, 5) };
    let unknown = observe(store, peek.clone()).await;
    assert!(unknown.admitted && !unknown.created && !unknown.tracked);
    assert_eq!(unknown.counts[0].tokens, 0);
    assert!(store.inspect(&subject, START).await.unwrap().is_none());
    observe(store, charge(&subject, START, 5)).await;
    let limits = token_limits([Some(9), None, None, None]);
    let known = observe(store, Charge { limits, now: START + 9_000, ..peek.clone() }).await;
    assert!(!known.admitted && known.tracked && known.refusal.is_some());
    let fits = observe(store, Charge { now: START + 9_000, ..peek }).await;
    assert_eq!((fits.admitted, tokens(&fits), fits.now), (true, [5; 4], START + 9_000));
    let after = observe(store, charge(&subject, START, 0)).await;
    assert_eq!((after.now, tokens(&after), after.peers.len()), (START, [5; 4], 0));
}

pub(crate) async fn a_report_is_charged_whatever_the_limits_and_says_whether_it_fitted(store: &dyn Store) {
    let limits = token_limits([Some(8), None, None, None]);
    let report = Charge { limits, mode: ChargeMode::Report, ..charge(&key("a"), START, 5) };
    let first = observe(store, report.clone()).await;
    assert!(first.admitted && first.created && first.refusal.is_none());
    let second = observe(store, report.clone()).await;
    assert_eq!((second.admitted, tokens(&second)), (false, [10; 4]));
    let retry_at = second.refusal.unwrap().retry_at.unwrap();
    let asked = |now| Charge { mode: ChargeMode::Peek, now, ..report.clone() };
    assert!(!observe(store, asked(retry_at - 1)).await.admitted);
    assert!(observe(store, asked(retry_at)).await.admitted, "the promised moment is true");
    let never = Charge { limits: token_limits([Some(4), None, None, None]), ..report };
    assert_eq!(observe(store, never).await.refusal.unwrap().retry_at, None);
}

pub(crate) async fn an_unknown_subject_is_only_created_when_it_may_be(store: &dyn Store) {
    let subject = key("a");
    for mode in [ChargeMode::Admit, ChargeMode::Report] {
        let asked = Charge { mode, may_create: false, ..charge(&subject, START, 5) };
        let seen = observe(store, asked.clone()).await;
        assert!(seen.admitted && !seen.tracked && !seen.created);
        assert_eq!(seen.counts[0].tokens, 0);
        let limits = token_limits([Some(4), None, None, None]);
        assert!(!observe(store, Charge { limits, ..asked }).await.admitted);
    }
    assert!(store.inspect(&subject, START).await.unwrap().is_none());
    observe(store, charge(&subject, START, 5)).await;
    let known = observe(store, Charge { may_create: false, ..charge(&subject, START, 5) }).await;
    assert_eq!((known.tracked, known.created, tokens(&known)), (true, false, [10; 4]));
}

pub(crate) async fn a_refused_charge_makes_nobody_known(store: &dyn Store) {
    let limits = token_limits([Some(4), None, None, None]);
    let refused = observe(store, Charge { limits, ..charge(&key("a"), START, 5) }).await;
    assert!(!refused.admitted && refused.tracked && !refused.created);
    assert!(store.inspect(&key("a"), START).await.unwrap().is_none());
}

pub(crate) async fn inspection_changes_nothing(store: &dyn Store) {
    let subject = key("a");
    observe(store, Charge { peer: Some(peer(1)), ..charge(&subject, START, 5) }).await;
    let far = store.inspect(&subject, START + 20 * MINUTE).await.unwrap().unwrap();
    assert!(far.admitted && far.tracked && !far.created && far.refusal.is_none());
    assert_eq!((tokens(&far), far.peers.len(), far.now), ([0, 0, 5, 5], 1, START + 20 * MINUTE));
    let near = observe(store, charge(&subject, START + 1, 1)).await;
    assert_eq!((near.now, tokens(&near)), (START + 1, [6; 4]));
}

pub(crate) async fn many_buckets_are_counted_and_left(store: &dyn Store) {
    let subject = key("a");
    for step in 0..200 {
        observe(store, charge(&subject, START + step * 400, 1)).await;
    }
    let end = START + 199 * 400;
    let seen = store.inspect(&subject, end).await.unwrap().unwrap();
    assert!((150..=154).contains(&seen.counts[0].tokens), "{}", seen.counts[0].tokens);
    assert_eq!(tokens(&seen)[1..], [200; 3]);
    let half = store.inspect(&subject, end + 30_000).await.unwrap().unwrap();
    assert!((75..=79).contains(&half.counts[0].tokens), "{}", half.counts[0].tokens);
    let gone = observe(store, charge(&subject, end + 2 * MINUTE, 1)).await;
    assert_eq!(tokens(&gone), [1, 201, 201, 201]);
}
