//! Limits beyond the windows of a subject, and reservations.

use futures::future::join_all;
use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        calendar::{Calendar, Zone, parse_millis},
        counter::{Counter, CounterChange, CounterCharge, CounterCount, CounterRefusal},
        debt::DebtBatch,
        limit::{Limit, Scope, Span},
        observation::{Charge, ChargeMode, Claim, LedgerEntry, Observation},
        reservation::{Ended, EstimatedUsage, HeldAmount, Reservation, Settles, Stage},
        subject::Subject,
        window::{ONE_MINUTE, Unit},
    },
    store::Store,
};

use super::super::support::{START, change, charge, key, observe, permanent_ban, respond, token_limits};

pub(super) fn counter(scope: Scope, span: Span, zone: &Zone) -> Counter {
    Counter::of(&scope, &Limit::new(Unit::Tokens, span, 0), zone)
}

pub(super) fn project(id: &str) -> Scope {
    Scope::Subject(Subject::project(id))
}

/// An amount below a limit over a span, now.
fn quota(scope: Scope, span: Span, amount: u64, most: u64, now: Millis) -> CounterCharge {
    let until = span.counts_until(now, &Zone::UTC);
    CounterCharge { counter: counter(scope, span, &Zone::UTC), amount, most, until, block: None }
}

fn with(charge: Charge, counters: Vec<CounterCharge>) -> Charge {
    Charge { counters, ..charge }
}

pub(super) fn used(observation: &Observation) -> Vec<u64> {
    observation.counters.iter().map(|count| count.used).collect()
}

const MINUTELY: Span = Span::Sliding(MINUTE);
pub(super) const DAILY: Span = Span::Calendar(Calendar::Day);

/// A limit over ten seconds on a project, with a block of a minute.
fn blocking(name: &str, amount: u64, now: Millis) -> Vec<CounterCharge> {
    let limit = quota(project(name), Span::Sliding(10 * SECOND), amount, 100, now);
    let block = CounterCharge::of_block((&limit.counter, limit.most), MINUTE, now);
    vec![limit, block]
}

/// What goes beyond a limit begins its block, whoever asks; it holds to its moment, and reports are counted meanwhile.
pub(crate) async fn a_block_begins_with_what_does_not_fit_and_is_not_extended(store: &dyn Store) {
    let asked = |mode, name: &str, now, amount| {
        let counters = blocking(name, amount, now);
        Charge { mode, ..with(charge(&key("asks"), now, amount), counters) }
    };
    for (name, first) in
        [("b-peek", ChargeMode::Peek), ("b-admit", ChargeMode::Admit), ("b-over", ChargeMode::Report)]
    {
        let begun = observe(store, asked(first, name, START, 101)).await;
        assert_eq!((begun.admitted, begun.counters[1].used), (false, 1), "{name}");
        assert_eq!(begun.counters[1].resets_at, Some(START + MINUTE), "{name}");
        for now in [START + SECOND, START + 30 * SECOND, START + MINUTE - 1] {
            let refused = observe(store, asked(ChargeMode::Admit, name, now, 1)).await;
            let refusal = refused.counter_refusal.unwrap();
            assert_eq!((refusal.index, refusal.retry_at), (1, Some(START + MINUTE)), "{name} {now}");
        }
        let reported = observe(store, asked(ChargeMode::Report, name, START + MINUTE - 1, 5)).await;
        assert_eq!((reported.admitted, used(&reported)[0]), (false, 5), "{name}");
        assert!(observe(store, asked(ChargeMode::Admit, name, START + MINUTE, 5)).await.admitted, "{name}");
    }
    let fits = observe(store, asked(ChargeMode::Admit, "b-fits", START, 100)).await;
    assert_eq!((fits.admitted, used(&fits)), (true, vec![100, 0]), "what just fits begins none");
}

/// One that refuses keeps all from being charged, also the windows; a window that refuses keeps the counters.
pub(crate) async fn all_counters_and_windows_are_charged_or_none(store: &dyn Store) {
    let asked = |now, amount, most| {
        let counters = vec![
            quota(project("all"), DAILY, amount, most, now),
            quota(Scope::Everything, MINUTELY, amount, 1_000_000, now),
            quota(Scope::Subject(key("all")), MINUTELY, amount, 1_000_000, now),
        ];
        with(charge(&key("all"), now, amount), counters)
    };
    let before = observe(store, asked(START, 60, 100)).await;
    assert!(before.admitted && before.created && before.counter_refusal.is_none());
    assert_eq!((used(&before)[0], before.counts[0].tokens), (60, 60));
    let refused = observe(store, asked(START, 41, 100)).await;
    assert!(!refused.admitted && refused.tracked);
    assert_eq!(refused.counter_refusal.unwrap().index, 0);
    assert_eq!((used(&refused), refused.counts[0].tokens), (used(&before), 60));
    let limits = token_limits([Some(70), None, None, None]);
    let by_window = observe(store, Charge { limits, ..asked(START, 20, 100) }).await;
    assert!(!by_window.admitted && by_window.refusal.is_some() && by_window.counter_refusal.is_none());
    assert_eq!(used(&by_window), used(&before));
    let exact = observe(store, asked(START, 40, 100)).await;
    assert!(exact.admitted);
    assert_eq!(used(&exact)[0], 100);
    let reported = observe(store, Charge { mode: ChargeMode::Report, ..asked(START, 5, 100) }).await;
    assert_eq!((reported.admitted, used(&reported)[0], reported.counts[0].tokens), (false, 105, 105));
    let tomorrow = DAILY.counts_until(START, &Zone::UTC);
    assert_eq!(reported.counter_refusal, Some(CounterRefusal { index: 0, retry_at: Some(tomorrow) }));
    assert!(!observe(store, asked(START, 1, 100)).await.admitted, "above its limit, nothing is admitted");
}

/// Of two that refuse the later moment is told, and then the charge is admitted, and not before.
pub(crate) async fn the_counter_that_keeps_out_longest_is_named_with_a_true_moment(store: &dyn Store) {
    let asked = |now: Millis, amount| {
        let spans = [Span::Sliding(10 * SECOND), MINUTELY];
        let counters = spans.map(|span| quota(project("longest"), span, amount, 100, now));
        with(charge(&key("longest"), now, 0), counters.to_vec())
    };
    for (after, amount) in [(0, 40), (3 * SECOND, 40), (15 * SECOND, 20)] {
        assert!(observe(store, asked(START + after, amount)).await.admitted);
    }
    let now = START + 16 * SECOND;
    let refusal = observe(store, asked(now, 30)).await.counter_refusal.unwrap();
    let retry_at = refusal.retry_at.unwrap();
    assert_eq!(refusal.index, 1);
    assert!(retry_at > START + MINUTE && retry_at <= START + 61 * SECOND, "{}", retry_at - START);
    assert!(!observe(store, asked(retry_at - 1, 30)).await.admitted);
    assert!(observe(store, asked(retry_at, 30)).await.admitted);
    assert_eq!(observe(store, asked(retry_at, 101)).await.counter_refusal.unwrap().retry_at, None);
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
pub(crate) async fn counters_agree_with_an_exact_oracle_over_random_spans(store: &dyn Store) {
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
        let mut counters: Vec<CounterCharge> = Vec::new();
        let mut of: Vec<(Span, usize)> = Vec::new();
        for (span, zone, scope, amount, most) in asked {
            let counter = counter(scope, span, &zones[zone]);
            if counters.iter().all(|quota| quota.counter != counter) {
                let until = span.counts_until(now, &zones[zone]);
                counters.push(CounterCharge { counter, amount, most, until, block: None });
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
        let seen = observe(store, with(charge(&key("oracle"), now, 0), counters.clone())).await;
        let fits = |late| {
            counters.iter().zip(&of).all(|(quota, (span, zone))| {
                holds(&quota.counter, *span, *zone, now, late) + quota.amount <= quota.most
            })
        };
        assert!(!seen.admitted || fits(false), "over a limit");
        assert!(seen.admitted || !fits(true), "refused without a reason: {counters:?} {:?}", seen.counters);
        for (n, (quota, (span, zone))) in counters.iter().zip(&of).enumerate() {
            let added = if seen.admitted { quota.amount } else { 0 };
            let [least, most] =
                [false, true].map(|late| holds(&quota.counter, *span, *zone, now, late) + added);
            assert!((least..=most).contains(&seen.counters[n].used), "{least} {:?} {most}", seen.counters[n]);
        }
        if seen.admitted {
            let new = counters.iter().zip(&of);
            charged.extend(new.map(|(q, (span, zone))| (q.counter.clone(), *span, *zone, now, q.amount)));
        }
    }
    assert!(charged.len() > 300, "{}", charged.len());
}

/// Keys of one project share its counter; each key has its own beside it.
pub(crate) async fn a_counter_is_shared_by_all_that_charge_it(store: &dyn Store) {
    let mut admitted = 0;
    for n in 0..8 {
        let subject = key(&format!("shared-{n}"));
        let counters = vec![
            quota(project("shared"), DAILY, 30, 100, START),
            quota(Scope::Subject(subject.clone()), DAILY, 30, 100, START),
        ];
        let seen = observe(store, with(charge(&subject, START, 0), counters)).await;
        admitted += u32::from(seen.admitted);
        assert_eq!(used(&seen)[1], if seen.admitted { 30 } else { 0 });
    }
    assert_eq!(admitted, 3);
    let counters = [counter(project("shared"), DAILY, &Zone::UTC)];
    let next_day = DAILY.counts_until(START, &Zone::UTC);
    let count = CounterCount { used: 90, resets_at: Some(next_day) };
    assert_eq!(store.counters(&counters, START).await.unwrap(), [count]);
    assert_eq!(store.counters(&counters, next_day).await.unwrap(), [CounterCount::default()]);
    let change = CounterChange { counter: counters[0].clone(), back: Some((40, next_day)), add: None };
    store.change_counters(&[change], START).await.unwrap();
    assert_eq!(store.counters(&counters, START).await.unwrap()[0].used, 50);
}

/// What is given back and what is added may be told one after the other.
pub(crate) async fn a_counter_that_is_changed_twice_in_one_call_has_both_changes(store: &dyn Store) {
    let (daily, until) =
        (counter(project("twice"), DAILY, &Zone::UTC), DAILY.counts_until(START, &Zone::UTC));
    let change = |back, add| CounterChange { counter: daily.clone(), back, add };
    let used = async || store.counters(std::slice::from_ref(&daily), START).await.unwrap()[0].used;
    store
        .change_counters(&[change(None, Some((40, until))), change(None, Some((2, until)))], START)
        .await
        .unwrap();
    assert_eq!(used().await, 42);
    let changes =
        [change(Some((40, until)), None), change(None, Some((7, until))), change(Some((9, until)), None)];
    store.change_counters(&changes, START).await.unwrap();
    assert_eq!(used().await, 0);
}

/// 64 callers at once, each of cost c, on one budget B: floor(B / c) are admitted.
pub(crate) async fn a_budget_admits_exactly_what_it_holds_however_many_ask(store: &dyn Store) {
    let ask = |n: u64| async move {
        let counters =
            vec![quota(project("exact"), Span::Calendar(Calendar::Month), 7_456_000, 100_000_000, START)];
        observe(store, with(charge(&key(&format!("exact-{n}")), START, 5), counters)).await.admitted
    };
    let admitted = join_all((0..64).map(ask)).await;
    assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 13);
}

/// A reservation of a key: so many tokens, held of it in a counter of a project until its end.
pub(super) fn reservation(id: &str, name: &str, tokens: u64, until: Millis) -> Reservation {
    let counter = counter(project(name), DAILY, &Zone::UTC);
    let counts_until = DAILY.counts_until(START, &Zone::UTC);
    let held = HeldAmount {
        scope: counter.scope.as_str().into(),
        id: counter.id,
        amount: tokens,
        until,
        counts_until,
    };
    Reservation {
        id: id.into(),
        key: format!("k1:{name}").into(),
        charged_at: START,
        counts: charge(&key(name), START, tokens).counts,
        cost_nanos: 7,
        counters: vec![held],
        until,
        stage: Stage::Held,
        usage: EstimatedUsage { project: Some(name.into()), ..EstimatedUsage::default() },
        request: None,
    }
}

/// Asks for a reservation, which is made if it fits below 100.
pub(super) fn reserve(id: &str, name: &str, tokens: u64, until: Millis) -> Charge {
    let held = CounterCharge { until, ..quota(project(name), DAILY, tokens, 100, START) };
    let reserves = Some(reservation(id, name, tokens, until));
    Charge {
        entry: Some(Box::new(LedgerEntry { reserves, ..LedgerEntry::default() })),
        ..with(charge(&key(name), START, tokens), vec![held])
    }
}

/// Reports what was used, and settles a reservation with it.
pub(super) fn settle(id: &str, name: &str, tokens: u64, keeps_estimate: bool) -> Charge {
    let settles = Some(Settles { id: id.into(), keeps_estimate });
    Charge {
        mode: ChargeMode::Report,
        entry: Some(Box::new(LedgerEntry { settles, ..LedgerEntry::default() })),
        ..with(charge(&key(name), START, tokens), vec![quota(project(name), DAILY, tokens, 100, START)])
    }
}

/// A reservation holds its estimate in windows and counters. Its record gives that back and charges the real figure in
/// one step, more or less than the estimate, once.
pub(crate) async fn a_reservation_is_settled_once_with_the_charge(store: &dyn Store) {
    let until = START + MINUTE;
    let hour = |seen: &Observation| (seen.counts[2].tokens, seen.counts[2].requests);
    assert!(observe(store, reserve("one", "settled", 60, until)).await.admitted);
    assert!(!observe(store, reserve("two", "settled", 60, until)).await.admitted, "60 of 100 are held");
    let unknown = observe(store, settle("two", "settled", 5, false)).await;
    assert_eq!((unknown.settled.clone(), used(&unknown), hour(&unknown)), (None, vec![65], (65, 2)));
    let more = observe(store, settle("one", "settled", 110, false)).await;
    assert_eq!(more.settled, Some(reservation("one", "settled", 60, until)));
    assert_eq!((more.admitted, used(&more), hour(&more)), (false, vec![115], (115, 2)));
    let again = observe(store, settle("one", "settled", 1, false)).await;
    assert_eq!((again.settled.clone(), used(&again)), (None, vec![116]), "once");
    assert!(observe(store, reserve("three", "less", 80, until)).await.admitted);
    let less = observe(store, settle("three", "less", 10, false)).await;
    assert_eq!((less.admitted, used(&less), hour(&less)), (true, vec![10], (10, 1)));
    assert_eq!(store.ended_reservations(until, 10).await.unwrap(), [], "they are gone");
}

/// A record that does not say what it used keeps the estimate: it counts as long as what is used does.
pub(crate) async fn an_estimate_that_is_kept_counts_as_used(store: &dyn Store) {
    let until = START + MINUTE;
    observe(store, reserve("kept", "kept", 60, until)).await;
    let kept = observe(store, settle("kept", "kept", 0, true)).await;
    assert_eq!((kept.settled.is_some(), used(&kept), kept.counts[2].tokens), (true, vec![60], 60));
    let counters = [counter(project("kept"), DAILY, &Zone::UTC)];
    assert_eq!(store.counters(&counters, until).await.unwrap()[0].used, 60);
}

/// Not settled: its counters end by themselves, and what windows hold is given back by whoever ends it, once. A record
/// that comes then settles nothing.
pub(crate) async fn a_reservation_ends_by_itself(store: &dyn Store) {
    let (subject, until) = (key("ends"), START + MINUTE);
    let counters = [counter(project("ends"), DAILY, &Zone::UTC)];
    observe(store, reserve("three", "ends", 60, until)).await;
    assert_eq!(store.ended_reservations(until - 1, 10).await.unwrap(), []);
    assert_eq!(store.counters(&counters, until - 1).await.unwrap()[0].used, 60);
    assert_eq!(store.counters(&counters, until).await.unwrap()[0].used, 0);
    let late = Charge { now: until, ..settle("three", "ends", 1, false) };
    assert_eq!(observe(store, late).await.settled, None);
    let ended = store.ended_reservations(until, 10).await.unwrap();
    assert_eq!(ended, [reservation("three", "ends", 60, until)]);
    let hour = |seen: Option<Observation>| seen.unwrap().counts[2].tokens;
    assert_eq!(hour(store.inspect(&subject, until).await.unwrap()), 60 + 1);
    let both = tokio::join!(store.end_reservation(&ended[0], until), store.end_reservation(&ended[0], until));
    let both = [both.0.unwrap(), both.1.unwrap()];
    assert!(both.contains(&Ended::GivenBack) && both.contains(&Ended::Not), "{both:?}");
    assert_eq!(hour(store.inspect(&subject, until).await.unwrap()), 1);
    assert_eq!(store.ended_reservations(until, 10).await.unwrap(), []);
}

/// It is nobody else's to settle, and a ban of its key does not keep its record from settling it.
pub(crate) async fn a_reservation_is_settled_by_its_own_key_also_when_that_is_banned(store: &dyn Store) {
    let until = START + MINUTE;
    observe(store, reserve("own", "own", 60, until)).await;
    let other = Charge { subject: key("other"), ..settle("own", "own", 1, false) };
    assert_eq!(observe(store, other).await.settled, None);
    respond(store, change(&key("own"), START, permanent_ban(1, START))).await;
    let banned = observe(store, settle("own", "own", 40, false)).await;
    assert_eq!((banned.admitted, banned.settled.is_some(), used(&banned)), (false, true, vec![41]));
}

/// The same request at once and later is charged once, by windows and counters, and the others are told so.
pub(crate) async fn a_claimed_request_is_charged_once(store: &dyn Store) {
    let until = START + MINUTE;
    observe(store, reserve("claimed", "claimed", 60, until)).await;
    let mut report = settle("claimed", "claimed", 10, false);
    if let Some(entry) = &mut report.entry {
        entry.claim = Some(7);
    }
    let seen = join_all((0..8).map(|_| observe(store, report.clone()))).await;
    let first: Vec<_> = seen.iter().filter(|seen| seen.claim == Claim::Fresh).collect();
    assert_eq!(first.len(), 1);
    assert!(first[0].settled.is_some());
    assert!(seen.iter().all(|seen| (used(seen), seen.counts[2].tokens) == (vec![10], 10)), "{seen:?}");
    assert_eq!(store.claimed(&key("claimed"), 7, START).await.unwrap(), Claim::InFlight);
    store.answer_claim(&key("claimed"), 7, b"the answer", START + 1).await.unwrap();
    assert_eq!(observe(store, report.clone()).await.claim, Claim::Answered(b"the answer".to_vec()));
    let after = START + 2 * MINUTE;
    assert_eq!(store.claimed(&key("claimed"), 7, after).await.unwrap(), Claim::Fresh);
    assert_eq!(observe(store, Charge { now: after, ..report }).await.claim, Claim::Fresh);
    // A refused admission claims nothing: it may be asked again.
    let entry = Some(Box::new(LedgerEntry { claim: Some(8), ..LedgerEntry::default() }));
    let refused = Charge {
        entry,
        limits: token_limits([Some(1), None, None, None]),
        ..charge(&key("claimed"), after, 5)
    };
    assert!(!observe(store, refused.clone()).await.admitted);
    assert_eq!(observe(store, refused).await.claim, Claim::Fresh);
}

/// A charge whose answer was lost is sent again as it was, and is told that it is the first; another one with the same
/// claim is told that it is not. Neither charges anything more.
pub(crate) async fn a_charge_that_is_sent_again_finds_its_own_claim(store: &dyn Store) {
    let until = START + MINUTE;
    for (name, claim, keeps) in [("lost", 17, false), ("lost-kept", 18, true)] {
        observe(store, reserve(name, name, 60, until)).await;
        let mut report = settle(name, name, 10, keeps);
        if let Some(entry) = &mut report.entry {
            (entry.claim, entry.attempt) = (Some(claim), 4_503_599_627_370_495);
        }
        let mut other = report.clone();
        if let Some(entry) = &mut other.entry {
            entry.attempt -= 1;
        }
        let first = observe(store, report.clone()).await;
        let held = if keeps { 60 } else { 10 };
        assert_eq!((&first.claim, used(&first)), (&Claim::Fresh, vec![held]));
        for again in [observe(store, report.clone()).await, observe(store, report.clone()).await] {
            assert_eq!((&again.claim, used(&again)), (&Claim::Fresh, vec![held]));
            assert_eq!(again.settled, first.settled, "what it settled then");
            assert_eq!(again.counts[2], first.counts[2]);
        }
        let seen = observe(store, other).await;
        assert_eq!((&seen.claim, used(&seen)), (&Claim::InFlight, vec![held]));
        store.answer_claim(&key(name), claim, b"the answer", START + 1).await.unwrap();
        assert_eq!(observe(store, report).await.claim, Claim::Answered(b"the answer".to_vec()));
    }
}

/// A report of an earlier moment counts in every window whose span still holds that, in its own bucket.
pub(crate) async fn a_report_that_is_told_late_counts_at_its_own_time(store: &dyn Store) {
    observe(store, charge(&key("late"), START - 40 * MINUTE, 3)).await;
    let told = |at| {
        let entry = LedgerEntry { counted_at: Some(at), ..LedgerEntry::default() };
        let (mode, entry) = (ChargeMode::Report, Some(Box::new(entry)));
        Charge { mode, entry, ..charge(&key("late"), START, 5) }
    };
    let tokens = |seen: &Observation| seen.counts.map(|counts| counts.tokens);
    let seen = observe(store, told(START - 20 * MINUTE)).await;
    assert_eq!((tokens(&seen), seen.tracked, seen.admitted), ([0, 0, 8, 8], true, true));
    let seen = observe(store, told(START - 20 * MINUTE)).await;
    assert_eq!(tokens(&seen), [0, 0, 13, 13]);
    let seen = observe(store, told(START - 2 * HOUR)).await;
    assert_eq!(tokens(&seen), [0, 0, 13, 18]);
    let seen = observe(store, told(START - 2 * DAY)).await;
    assert_eq!(tokens(&seen), [0, 0, 13, 18]);
    let seen = observe(store, told(START)).await;
    assert_eq!(tokens(&seen), [5, 5, 18, 23]);
    // It leaves when its time comes.
    let late = key("late");
    let hour = async |after| store.inspect(&late, START + after).await.unwrap().unwrap().counts[2].tokens;
    assert_eq!((hour(39 * MINUTE).await, hour(42 * MINUTE).await), (15, 5));
    let unknown = Charge { subject: key("late-and-new"), ..told(START - 20 * MINUTE) };
    let seen = observe(store, unknown).await;
    assert_eq!((tokens(&seen), seen.created), ([0, 0, 5, 5], true));
}

/// What was held is given back, also where more is used than that.
pub(crate) async fn what_is_settled_late_counts_at_its_own_time(store: &dyn Store) {
    for (name, used) in [("late-less", 50), ("late-more", 70)] {
        assert!(observe(store, reserve(name, name, 60, START + MINUTE)).await.admitted);
        let mut late = settle(name, name, used, false);
        late.entry.as_mut().unwrap().counted_at = Some(START - 20 * MINUTE);
        let seen = observe(store, late).await;
        assert!(seen.settled.is_some(), "{name}");
        assert_eq!(seen.counts.map(|counts| counts.tokens), [0, 0, used, used], "{name}");
        assert_eq!(seen.counts.map(|counts| counts.requests), [0, 0, 1, 1], "{name}");
    }
}

/// In one call, and whichever slots their counters are in.
pub(crate) async fn what_asks_behind_a_report_is_decided_behind_it(store: &dyn Store) {
    for (name, reported, asked) in [("order-over", 1_200, 1), ("order-just", 600, 500)] {
        let of = |mode, who: &str, amount| {
            let counters = vec![quota(project(name), DAILY, amount, 1_000, START)];
            Charge { mode, ..with(charge(&key(&format!("{name}-{who}")), START, 1), counters) }
        };
        let charges = [
            of(ChargeMode::Report, "one", reported),
            of(ChargeMode::Admit, "two", asked),
            of(ChargeMode::Report, "three", 7),
        ];
        let seen = store.observe(&charges).await.unwrap();
        assert!(!seen[1].admitted, "{name}");
        assert_eq!(used(&seen[2]), [reported + 7], "{name}");
    }
}

/// Also with counters.
pub(crate) async fn a_peek_says_what_a_charge_would_and_changes_nothing(store: &dyn Store) {
    let asked = |mode, amount| {
        let counters = vec![quota(project("peek"), DAILY, amount, 100, START)];
        Charge { mode, ..with(charge(&key("peek"), START, 1), counters) }
    };
    assert!(observe(store, asked(ChargeMode::Peek, 100)).await.admitted);
    assert!(!observe(store, asked(ChargeMode::Peek, 101)).await.admitted);
    let seen = observe(store, asked(ChargeMode::Admit, 100)).await;
    assert_eq!((seen.admitted, used(&seen)), (true, vec![100]));
}

/// It has no windows, and so nothing that a reservation could hold; what it shares with others holds for it too.
pub(crate) async fn a_subject_that_is_kept_out_still_charges_what_it_shares(store: &dyn Store) {
    let lease = Reservation {
        id: "kept-out".into(),
        key: "k1:kept-out".into(),
        charged_at: 0,
        counts: charge(&key("kept-out"), START, 1).counts,
        cost_nanos: 0,
        counters: Vec::new(),
        until: START + MINUTE,
        stage: Stage::Held,
        usage: EstimatedUsage::default(),
        request: None,
    };
    let asked = |amount| Charge {
        may_create: false,
        entry: Some(Box::new(LedgerEntry { reserves: Some(lease.clone()), ..LedgerEntry::default() })),
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
    assert_eq!(store.ended_reservations(START + MINUTE, 10).await.unwrap(), []);
}

/// What a restart has to keep: a counter that is half used, and a reservation.
pub(crate) async fn half_used(store: &dyn Store) {
    let lease = Reservation {
        id: "open".into(),
        key: "k1:restart".into(),
        charged_at: 0,
        counts: charge(&key("restart"), START, 40).counts,
        cost_nanos: 0,
        counters: Vec::new(),
        until: START + MINUTE,
        stage: Stage::Held,
        usage: EstimatedUsage::default(),
        request: None,
    };
    let counters = vec![quota(project("restart"), Span::Calendar(Calendar::Month), 40, 100, START)];
    let seen = observe(
        store,
        Charge {
            entry: Some(Box::new(LedgerEntry { reserves: Some(lease), ..LedgerEntry::default() })),
            ..with(charge(&key("restart"), START, 40), counters)
        },
    )
    .await;
    assert!(seen.admitted);
}

/// What the store counts of it.
pub(crate) async fn used_of_half(store: &dyn Store) -> u64 {
    let month = counter(project("restart"), Span::Calendar(Calendar::Month), &Zone::UTC);
    store.counters(&[month], START).await.unwrap()[0].used
}

/// What must be there of it afterwards.
pub(crate) async fn is_half_used(store: &dyn Store) {
    let month = Span::Calendar(Calendar::Month);
    let asked = |amount| {
        with(charge(&key("restart"), START, 0), vec![quota(project("restart"), month, amount, 100, START)])
    };
    assert!(!observe(store, asked(61)).await.admitted);
    assert!(observe(store, asked(60)).await.admitted);
    let ended = store.ended_reservations(START + MINUTE, 10).await.unwrap();
    assert_eq!(
        ended.iter().map(|lease| (&*lease.id, lease.charged_at)).collect::<Vec<_>>(),
        [("open", START)]
    );
    assert_eq!(store.end_reservation(&ended[0], START + MINUTE).await.unwrap(), Ended::GivenBack);
    assert_eq!(store.inspect(&key("restart"), START + MINUTE).await.unwrap().unwrap().counts[3].tokens, 0);
}

/// A batch that is sent again, because its answer was lost, changes nothing; the next one counts.
pub(crate) async fn what_an_instance_owes_is_counted_once_however_often_it_is_sent(store: &dyn Store) {
    let subjects: Vec<Subject> = (0..8).map(|n| key(&format!("owed-{n}"))).collect();
    let until = DAILY.counts_until(START, &Zone::UTC);
    let batch = |instance: &str, number| DebtBatch {
        instance: instance.into(),
        number,
        now: START,
        charges: subjects
            .iter()
            .map(|s| Charge { mode: ChargeMode::Report, ..charge(s, START, 300) })
            .collect(),
        changes: subjects
            .iter()
            .map(|subject| CounterChange {
                counter: counter(Scope::Subject(subject.clone()), DAILY, &Zone::UTC),
                back: None,
                add: Some((30, until)),
            })
            .collect(),
    };
    for (sent, times) in
        [(batch("a", 1), 1), (batch("a", 1), 1), (batch("b", 1), 2), (batch("a", 2), 3), (batch("a", 1), 3)]
    {
        store.settle_debts(&sent).await.unwrap();
        for (subject, change) in subjects.iter().zip(&sent.changes) {
            let seen = store.inspect(subject, START).await.unwrap().unwrap();
            assert_eq!(seen.counts[ONE_MINUTE].tokens, 300 * times, "{subject}");
            let count = store.counters(std::slice::from_ref(&change.counter), START).await.unwrap();
            assert_eq!(count[0].used, 30 * times, "{subject}");
        }
    }
}
