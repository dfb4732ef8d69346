//! Limits beyond the windows of a subject, and reservations.

use futures::future::join_all;
use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        calendar::{Calendar, Zone, parse_millis},
        observation::{Charge, ChargeMode, Observation},
        quota::{Counter, Lease, Limit, QuotaChange, QuotaCharge, QuotaCount, Scope, Span},
        subject::Subject,
        window::Unit,
    },
    store::Store,
};

use super::super::support::{START, charge, key, observe, token_limits};

fn counter(scope: Scope, span: Span, zone: &Zone) -> Counter {
    Counter::of(&scope, &Limit { unit: Unit::Tokens, span, most: 0, model: None }, zone)
}

fn project(id: &str) -> Scope {
    Scope::Subject(Subject::project(id))
}

/// An amount below a limit over a span, now.
fn quota(scope: Scope, span: Span, amount: u64, most: u64, now: Millis) -> QuotaCharge {
    let until = span.counts_until(now, &Zone::UTC);
    QuotaCharge { counter: counter(scope, span, &Zone::UTC), amount, most, until, held: None }
}

fn with(charge: Charge, quotas: Vec<QuotaCharge>) -> Charge {
    Charge { quotas, ..charge }
}

fn used(observation: &Observation) -> Vec<u64> {
    observation.quotas.iter().map(|count| count.used).collect()
}

const MINUTELY: Span = Span::Sliding(MINUTE);
const DAILY: Span = Span::Calendar(Calendar::Day);

/// One that refuses keeps all from being charged, also the windows; a window that refuses keeps the counters.
pub async fn all_counters_and_windows_are_charged_or_none(store: &dyn Store) {
    let asked = |now, amount, most| {
        let quotas = vec![
            quota(project("all"), DAILY, amount, most, now),
            quota(Scope::Everything, MINUTELY, amount, 1_000_000, now),
            quota(Scope::Subject(key("all")), MINUTELY, amount, 1_000_000, now),
        ];
        with(charge(&key("all"), now, amount), quotas)
    };
    let before = observe(store, asked(START, 60, 100)).await;
    assert!(before.admitted && before.created && before.quota_refusal.is_none());
    assert_eq!((used(&before)[0], before.counts[0].tokens), (60, 60));
    let refused = observe(store, asked(START, 41, 100)).await;
    assert!(!refused.admitted && refused.tracked);
    assert_eq!(refused.quota_refusal.unwrap().index, 0);
    assert_eq!((used(&refused), refused.counts[0].tokens), (used(&before), 60));
    let limits = token_limits([Some(70), None, None, None]);
    let by_window = observe(store, Charge { limits, ..asked(START, 20, 100) }).await;
    assert!(!by_window.admitted && by_window.refusal.is_some() && by_window.quota_refusal.is_none());
    assert_eq!(used(&by_window), used(&before));
    let exact = observe(store, asked(START, 40, 100)).await;
    assert!(exact.admitted);
    assert_eq!(used(&exact)[0], 100);
    let forced = observe(store, Charge { mode: ChargeMode::Force, ..asked(START, 5, 100) }).await;
    assert_eq!((forced.admitted, used(&forced)[0]), (true, 105));
    assert!(!observe(store, asked(START, 1, 100)).await.admitted, "above its limit, nothing is admitted");
}

/// Of two that refuse the later moment is told, and then the charge is admitted, and not before.
pub async fn the_counter_that_keeps_out_longest_is_named_with_a_true_moment(store: &dyn Store) {
    let asked = |now: Millis, amount| {
        let spans = [Span::Sliding(10 * SECOND), MINUTELY];
        let quotas = spans.map(|span| quota(project("longest"), span, amount, 100, now));
        with(charge(&key("longest"), now, 0), quotas.to_vec())
    };
    for (after, amount) in [(0, 40), (3 * SECOND, 40), (15 * SECOND, 20)] {
        assert!(observe(store, asked(START + after, amount)).await.admitted);
    }
    let now = START + 16 * SECOND;
    let refusal = observe(store, asked(now, 30)).await.quota_refusal.unwrap();
    let retry_at = refusal.retry_at.unwrap();
    assert_eq!(refusal.index, 1);
    assert!(retry_at > START + MINUTE && retry_at <= START + 61 * SECOND, "{}", retry_at - START);
    assert!(!observe(store, asked(retry_at - 1, 30)).await.admitted);
    assert!(observe(store, asked(retry_at, 30)).await.admitted);
    assert_eq!(observe(store, asked(retry_at, 101)).await.quota_refusal.unwrap().retry_at, None);
}

/// The same generator of numbers on every store: no seed of the system.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Random spans, zones, scopes and amounts against a list of all that was ever charged, in whole numbers. What a true
/// sliding span holds never exceeds the limit, and a refusal is justified within a sixtieth of the span.
pub async fn counters_agree_with_an_exact_oracle_over_random_spans(store: &dyn Store) {
    let zones =
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"].map(|z| Zone::named(z).unwrap());
    let spans = [
        Span::Sliding(SECOND),
        Span::Sliding(10 * SECOND),
        MINUTELY,
        Span::Sliding(HOUR),
        Span::Sliding(7 * DAY),
        Span::Calendar(Calendar::Hour),
        DAILY,
        Span::Calendar(Calendar::Week),
        Span::Calendar(Calendar::Month),
    ];
    let mut dice = Dice(42);
    // Two days around the end of summer time, so that hours repeat.
    let mut now = parse_millis("2026-10-24T18:00:00Z").unwrap();
    let mut charged: Vec<(Counter, Span, usize, Millis, u64)> = Vec::new();
    for _ in 0..600 {
        now += [0, 7, 900, 40_000, 1_500_000][dice.below(5) as usize];
        let asked: Vec<(Span, usize, Scope, u64, u64)> = (0..=dice.below(3))
            .map(|_| {
                let scope =
                    [project("oracle"), Scope::Subject(key("oracle"))][dice.below(2) as usize].clone();
                let span = spans[dice.below(9) as usize];
                (span, dice.below(4) as usize, scope, dice.below(40), 50 + dice.below(100))
            })
            .collect();
        let mut quotas: Vec<QuotaCharge> = Vec::new();
        let mut of: Vec<(Span, usize)> = Vec::new();
        for (span, zone, scope, amount, most) in asked {
            let counter = counter(scope, span, &zones[zone]);
            if quotas.iter().all(|quota| quota.counter != counter) {
                let until = span.counts_until(now, &zones[zone]);
                quotas.push(QuotaCharge { counter, amount, most, until, held: None });
                of.push((span, zone));
            }
        }
        // What counts at the least (the true span) and at the most (with the promised sixtieth).
        let holds = |counter: &Counter, span: Span, zone: usize, at: Millis, late: bool| -> u64 {
            let counts = |(other, _, _, when, _): &&(Counter, Span, usize, Millis, u64)| {
                other == counter
                    && match span {
                        Span::Sliding(length) => *when + length + if late { length / 60 + 1 } else { 0 } > at,
                        Span::Calendar(calendar) => calendar.period(at, &zones[zone]).0 <= *when,
                    }
            };
            charged.iter().filter(counts).map(|(_, _, _, _, amount)| amount).sum()
        };
        let seen = observe(store, with(charge(&key("oracle"), now, 0), quotas.clone())).await;
        let fits = |late| {
            quotas.iter().zip(&of).all(|(quota, (span, zone))| {
                holds(&quota.counter, *span, *zone, now, late) + quota.amount <= quota.most
            })
        };
        assert!(!seen.admitted || fits(false), "over a limit");
        assert!(seen.admitted || !fits(true), "refused without a reason: {quotas:?} {:?}", seen.quotas);
        for (n, (quota, (span, zone))) in quotas.iter().zip(&of).enumerate() {
            let added = if seen.admitted { quota.amount } else { 0 };
            let [least, most] =
                [false, true].map(|late| holds(&quota.counter, *span, *zone, now, late) + added);
            assert!((least..=most).contains(&seen.quotas[n].used), "{least} {:?} {most}", seen.quotas[n]);
        }
        if seen.admitted {
            let new = quotas.iter().zip(&of);
            charged.extend(new.map(|(q, (span, zone))| (q.counter.clone(), *span, *zone, now, q.amount)));
        }
    }
    assert!(charged.len() > 300, "{}", charged.len());
}

/// Keys of one project share its counter; each key has its own beside it.
pub async fn a_counter_is_shared_by_all_that_charge_it(store: &dyn Store) {
    let mut admitted = 0;
    for n in 0..8 {
        let subject = key(&format!("shared-{n}"));
        let quotas = vec![
            quota(project("shared"), DAILY, 30, 100, START),
            quota(Scope::Subject(subject.clone()), DAILY, 30, 100, START),
        ];
        let seen = observe(store, with(charge(&subject, START, 0), quotas)).await;
        admitted += u32::from(seen.admitted);
        assert_eq!(used(&seen)[1], if seen.admitted { 30 } else { 0 });
    }
    assert_eq!(admitted, 3);
    let counters = [counter(project("shared"), DAILY, &Zone::UTC)];
    let next_day = DAILY.counts_until(START, &Zone::UTC);
    let count = QuotaCount { used: 90, resets_at: Some(next_day) };
    assert_eq!(store.quotas(&counters, START).await.unwrap(), [count]);
    assert_eq!(store.quotas(&counters, next_day).await.unwrap(), [QuotaCount::default()]);
    let change = QuotaChange { counter: counters[0].clone(), back: Some((40, next_day)), add: None };
    store.change_quotas(&[change], START).await.unwrap();
    assert_eq!(store.quotas(&counters, START).await.unwrap()[0].used, 50);
}

/// 64 callers at once, each of cost c, on one budget B: floor(B / c) are admitted.
pub async fn a_budget_admits_exactly_what_it_holds_however_many_ask(store: &dyn Store) {
    let ask = |n: u64| async move {
        let quotas =
            vec![quota(project("exact"), Span::Calendar(Calendar::Month), 7_456_000, 100_000_000, START)];
        observe(store, with(charge(&key(&format!("exact-{n}")), START, 5), quotas)).await.admitted
    };
    let admitted = join_all((0..64).map(ask)).await;
    assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 13);
}

/// A reservation holds its estimate in windows and counters. Settled: gives way to the real figure, once. Not settled:
/// its counters end by themselves, and what windows hold is told to whoever takes what has ended.
pub async fn a_reservation_is_settled_once_and_ends_by_itself(store: &dyn Store) {
    let subject = key("lease");
    let until = START + MINUTE;
    let held = |amount| QuotaCharge { until, ..quota(project("lease"), DAILY, amount, 100, START) };
    let counter = held(0).counter;
    let lease = |id: &str| Lease {
        id: id.into(),
        key: "k1:lease".into(),
        charged_at: 0,
        counts: charge(&subject, START, 60).counts,
        quotas: vec![(counter.scope.as_str().into(), counter.id, 60, until)],
        until,
    };
    let reserve =
        |id: &str, now| Charge { lease: Some(lease(id)), ..with(charge(&subject, now, 60), vec![held(60)]) };
    assert!(observe(store, reserve("one", START)).await.admitted);
    assert!(!observe(store, reserve("two", START)).await.admitted, "60 of 100 are held");
    assert_eq!(store.take_lease(&subject, "two").await.unwrap(), None);
    let taken = store.take_lease(&subject, "one").await.unwrap().unwrap();
    assert_eq!((taken.charged_at, taken.held(&counter)), (START, Some((60, until))));
    assert_eq!(store.take_lease(&subject, "one").await.unwrap(), None, "once");
    // The real figure is larger: charged in full, whatever the limit.
    let real = QuotaCharge { held: taken.held(&counter), ..quota(project("lease"), DAILY, 110, 100, START) };
    let settled = Charge { mode: ChargeMode::Force, ..with(charge(&subject, START, 50), vec![real]) };
    assert_eq!(used(&observe(store, settled).await), [110]);
    let back = QuotaChange {
        counter: counter.clone(),
        back: Some((110, DAILY.counts_until(START, &Zone::UTC))),
        add: None,
    };
    store.change_quotas(&[back], START).await.unwrap();
    assert!(observe(store, reserve("three", START)).await.admitted);
    assert_eq!(store.ended_leases(until - 1, 10).await.unwrap(), []);
    assert_eq!(store.quotas(std::slice::from_ref(&counter), until - 1).await.unwrap()[0].used, 60);
    assert_eq!(store.quotas(std::slice::from_ref(&counter), until).await.unwrap()[0].used, 0);
    let ended = store.ended_leases(until, 10).await.unwrap();
    assert_eq!(ended.iter().map(|lease| &*lease.id).collect::<Vec<_>>(), ["three"]);
    let hour = |seen: Option<Observation>| seen.unwrap().counts[2].tokens;
    assert_eq!(hour(store.inspect(&subject, until).await.unwrap()), 60 + 50 + 60);
    let both = tokio::join!(store.end_lease(&ended[0], until), store.end_lease(&ended[0], until));
    assert_eq!(u32::from(both.0.unwrap()) + u32::from(both.1.unwrap()), 1);
    assert_eq!(hour(store.inspect(&subject, until).await.unwrap()), 60 + 50);
    assert_eq!(store.ended_leases(until, 10).await.unwrap(), []);
}

/// Also with counters.
pub async fn a_peek_says_what_a_charge_would_and_changes_nothing(store: &dyn Store) {
    let asked = |mode, amount| {
        let quotas = vec![quota(project("peek"), DAILY, amount, 100, START)];
        Charge { mode, ..with(charge(&key("peek"), START, 1), quotas) }
    };
    assert!(observe(store, asked(ChargeMode::Peek, 100)).await.admitted);
    assert!(!observe(store, asked(ChargeMode::Peek, 101)).await.admitted);
    let seen = observe(store, asked(ChargeMode::Admit, 100)).await;
    assert_eq!((seen.admitted, used(&seen)), (true, vec![100]));
}

/// It has no windows, and so nothing that a reservation could hold; what it shares with others holds for it too.
pub async fn a_subject_that_is_kept_out_still_charges_what_it_shares(store: &dyn Store) {
    let lease = Lease {
        id: "kept-out".into(),
        key: "k1:kept-out".into(),
        charged_at: 0,
        counts: charge(&key("kept-out"), START, 1).counts,
        quotas: Vec::new(),
        until: START + MINUTE,
    };
    let asked = |amount| Charge {
        may_create: false,
        lease: Some(lease.clone()),
        ..with(
            charge(&key("kept-out"), START, 1),
            vec![quota(project("kept-out"), DAILY, amount, 100, START)],
        )
    };
    let seen = observe(store, asked(60)).await;
    assert_eq!((seen.admitted, seen.tracked, used(&seen)), (true, false, vec![60]));
    let refused = observe(store, asked(60)).await;
    assert_eq!((refused.admitted, refused.tracked, used(&refused)), (false, false, vec![60]));
    assert_eq!(store.inspect(&key("kept-out"), START).await.unwrap(), None);
    assert_eq!(store.take_lease(&key("kept-out"), "kept-out").await.unwrap(), None);
}

/// What a restart has to keep: a counter that is half used, and a reservation.
pub(crate) async fn half_used(store: &dyn Store) {
    let lease = Lease {
        id: "open".into(),
        key: "k1:restart".into(),
        charged_at: 0,
        counts: charge(&key("restart"), START, 40).counts,
        quotas: Vec::new(),
        until: START + MINUTE,
    };
    let quotas = vec![quota(project("restart"), Span::Calendar(Calendar::Month), 40, 100, START)];
    let seen =
        observe(store, Charge { lease: Some(lease), ..with(charge(&key("restart"), START, 40), quotas) })
            .await;
    assert!(seen.admitted);
}

/// What the store counts of it.
pub(crate) async fn used_of_half(store: &dyn Store) -> u64 {
    let month = counter(project("restart"), Span::Calendar(Calendar::Month), &Zone::UTC);
    store.quotas(&[month], START).await.unwrap()[0].used
}

/// What must be there of it afterwards.
pub(crate) async fn is_half_used(store: &dyn Store) {
    let month = Span::Calendar(Calendar::Month);
    let asked = |amount| {
        with(charge(&key("restart"), START, 0), vec![quota(project("restart"), month, amount, 100, START)])
    };
    assert!(!observe(store, asked(61)).await.admitted);
    assert!(observe(store, asked(60)).await.admitted);
    let ended = store.ended_leases(START + MINUTE, 10).await.unwrap();
    assert_eq!(
        ended.iter().map(|lease| (&*lease.id, lease.charged_at)).collect::<Vec<_>>(),
        [("open", START)]
    );
    assert!(store.end_lease(&ended[0], START + MINUTE).await.unwrap());
    assert_eq!(store.inspect(&key("restart"), START + MINUTE).await.unwrap().unwrap().counts[3].tokens, 0);
}
