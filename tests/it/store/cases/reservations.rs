//! Reservations after they are made: extended, dispatched, given back, charged at their end, corrected.

use futures::future::join_all;
use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        calendar::Zone,
        observation::{Charge, ChargeMode, LedgerEntry, Observation},
        reservation::{Ended, Reservation, ReservationChange, ReservationChanged, ReservationId, Stage},
        usage::{Bucket, Grouping, Rows, Totals, UsageKey, UsageQuery},
    },
    store::Store,
};

use super::{
    super::support::{START, key, observe},
    counters::{DAILY, counter, project, reservation, reserve, settle, used},
};

const UNTIL: Millis = START + MINUTE;
const DISPATCH: ReservationChange = ReservationChange::Extend { lease: None, dispatched: true };

fn id(name: &str) -> ReservationId {
    ReservationId::new(&key(name), 7)
}

fn extend(lease: Millis) -> ReservationChange {
    ReservationChange::Extend { lease: Some(lease), dispatched: false }
}

/// A reservation of 60 tokens of 100, until a minute from the start.
async fn held(store: &dyn Store, name: &str) -> Reservation {
    assert!(observe(store, reserve(id(name).as_str(), name, 60, UNTIL)).await.admitted);
    reservation(id(name).as_str(), name, 60, UNTIL)
}

/// The same, dispatched in the step that makes it.
async fn dispatched(store: &dyn Store, name: &str) -> Reservation {
    dispatched_for(store, name, None).await
}

/// The same for a request that is found by its own name.
async fn dispatched_for(store: &dyn Store, name: &str, request: Option<ReservationId>) -> Reservation {
    let mut asked = reserve(id(name).as_str(), name, 60, UNTIL);
    asked.counters[0].until = DAILY.counts_until(START, &Zone::UTC);
    let reservation = reservation(id(name).as_str(), name, 60, UNTIL).at(Stage::Dispatched, UNTIL);
    let reservation = Reservation { request: request.map(|name| name.as_str().into()), ..reservation };
    let reserves = Some(reservation.clone());
    asked.entry = Some(Box::new(LedgerEntry { reserves, ..LedgerEntry::default() }));
    assert!(observe(store, asked).await.admitted);
    reservation
}

async fn change(store: &dyn Store, name: &str, change: ReservationChange, now: Millis) -> ReservationChanged {
    store.change_reservation(&id(name), change, now).await.unwrap()
}

async fn settled(store: &dyn Store, name: &str, tokens: u64, keeps: bool, now: Millis) -> Observation {
    observe(store, Charge { now, ..settle(id(name).as_str(), name, tokens, keeps) }).await
}

/// A request that is counted when it is seen on its way, until a minute from the start.
async fn observed(store: &dyn Store, name: &str) -> Reservation {
    observed_as(store, name, &id(name)).await
}

async fn observed_as(store: &dyn Store, name: &str, id: &ReservationId) -> Reservation {
    let mut asked = reserve(id.as_str(), name, 0, UNTIL);
    asked.counters[0].until = DAILY.counts_until(START, &Zone::UTC);
    let reservation = reservation(id.as_str(), name, 0, UNTIL).at(Stage::Observed, UNTIL);
    let reserves = Some(reservation.clone());
    asked.entry = Some(Box::new(LedgerEntry { reserves, ..LedgerEntry::default() }));
    assert!(observe(store, asked).await.admitted);
    reservation
}

/// A request that was counted when it was seen is completed by its record, once, in the time for that. Then nothing is
/// remembered of it, what it counted stays, and usage has nothing to count.
pub(crate) async fn what_was_seen_on_its_way_is_completed_once_and_then_forgotten(store: &dyn Store) {
    let seen = observed(store, "seen").await;
    assert_eq!(holds(store, "seen", START).await, (0, 0, 1));
    let completed = settled(store, "seen", 7, false, UNTIL - 1).await;
    assert_eq!((completed.completes(), completed.settled), (true, Some(seen)));
    assert_eq!(holds(store, "seen", UNTIL - 1).await, (7, 7, 1), "no request more");
    let another = settled(store, "seen", 5, false, UNTIL - 1).await;
    assert_eq!((another.settled, holds(store, "seen", UNTIL - 1).await), (None, (12, 12, 2)));
    observed(store, "late").await;
    assert_eq!(settled(store, "late", 7, false, UNTIL).await.settled, None, "it is too late");
    assert_eq!(holds(store, "late", UNTIL).await, (7, 7, 2));
    assert_eq!(
        change(store, "late", ReservationChange::GiveBack, UNTIL - 1).await,
        ReservationChanged::Ended(Stage::Observed)
    );
    assert_eq!(store.reservations(10).await.unwrap().len(), 1, "whoever lists all of them ends none");
    assert_eq!(end(store, "late", UNTIL).await, []);
    assert_eq!(store.reservations(10).await.unwrap(), []);
    assert_eq!(holds(store, "late", UNTIL).await, (7, 7, 2), "what was counted stays");
    assert_eq!(change(store, "late", ReservationChange::GiveBack, UNTIL).await, ReservationChanged::Unknown);
    assert_eq!((usage(store, "late").await, end(store, "late", UNTIL + DAY).await), ([(0, 0, 0); 2], vec![]));
}

/// A record that is no failure of its key, such as one with credentials that a provider refused.
pub(crate) async fn what_counts_for_nobody_completes_what_was_seen_and_settles_nothing_else(
    store: &dyn Store,
) {
    let seen = observed(store, "nobody").await;
    let peek = |id: &str, name: &str| Charge { mode: ChargeMode::Peek, ..settle(id, name, 7, false) };
    let own = id("nobody");
    let completed = observe(store, peek(own.as_str(), "nobody")).await;
    assert_eq!((completed.completes(), completed.settled), (true, Some(seen)));
    assert_eq!(holds(store, "nobody", START).await, (0, 0, 1), "what was counted when it was seen stays");
    assert_eq!(observe(store, peek(own.as_str(), "nobody")).await.settled, None, "once");
    assert!(observe(store, reserve("held-on", "held-on", 60, UNTIL)).await.admitted);
    assert_eq!(observe(store, peek("held-on", "held-on")).await.settled, None);
    assert_eq!(holds(store, "held-on", START).await, (60, 60, 1), "it is held on");
}

/// There may be as many as there are requests: at their end they take no step each, and hide nothing that takes one.
pub(crate) async fn many_that_were_seen_on_their_way_are_forgotten_at_once(store: &dyn Store) {
    for number in 0..60 {
        observed_as(store, "many", &ReservationId::new(&key("many"), number)).await;
    }
    let held = ReservationId::new(&key("many"), 60);
    assert!(observe(store, reserve(held.as_str(), "many", 60, UNTIL)).await.admitted);
    let kept = async || store.reservations(100).await.unwrap().len();
    assert_eq!((store.ended_reservations(UNTIL - 1, 10).await.unwrap(), kept().await), (vec![], 61));
    let ended = store.ended_reservations(UNTIL, 10).await.unwrap();
    assert_eq!(ended, [reservation(held.as_str(), "many", 60, UNTIL)]);
    assert_eq!(kept().await, 1);
}

/// What the counter of a project holds, and the windows of its key.
async fn holds(store: &dyn Store, name: &str, now: Millis) -> (u64, u64, u64) {
    let counters = [counter(project(name), DAILY, &Zone::UTC)];
    let counter = store.counters(&counters, now).await.unwrap()[0].used;
    let windows = store.inspect(&key(name), now).await.unwrap().unwrap().counts[3];
    (counter, windows.tokens, windows.requests)
}

/// Ends all that is due of one key.
async fn end(store: &dyn Store, name: &str, now: Millis) -> Vec<Ended> {
    let mut ended = Vec::new();
    for reservation in store.ended_reservations(now, 10).await.unwrap() {
        assert_eq!(reservation.subject(), key(name));
        ended.push(store.end_reservation(&reservation, now).await.unwrap());
    }
    ended
}

/// Requests, tokens and cost of a project, all of it and what of it is estimated.
async fn usage(store: &dyn Store, name: &str) -> [(u64, u64, u64); 2] {
    let span = (Bucket::Minute.start(START), START + 5 * MINUTE);
    let query = UsageQuery {
        group: Grouping { project: true, ..Grouping::default() },
        only: UsageKey { project: Some(name.into()), ..UsageKey::default() },
        ..UsageQuery::new(Rows::Each(Bucket::Minute), span, START + 5 * MINUTE)
    };
    let by_key = UsageQuery { group: Grouping { key: true, ..query.group }, ..query.clone() };
    let sum = |totals: Totals| (totals.requests, totals.tokens, totals.cost_nanos);
    let (table, finer) = (store.usage(&query).await.unwrap(), store.usage(&by_key).await.unwrap());
    assert_eq!(table.total, finer.total);
    let mut estimated = Totals::default();
    table.estimated.values().for_each(|totals| estimated.merge(totals));
    [sum(table.total), sum(estimated)]
}

/// What is charged counts on in windows, counters and usage; its record puts the real figure in its place, once.
pub(crate) async fn a_dispatched_estimate_is_charged_at_its_end_and_corrected_once(store: &dyn Store) {
    let reservation = dispatched(store, "charged").await;
    assert_eq!(store.ended_reservations(UNTIL - 1, 10).await.unwrap(), []);
    assert_eq!(end(store, "charged", UNTIL).await, [Ended::Charged]);
    assert_eq!(end(store, "charged", UNTIL).await, []);
    let counted = join_all((0..4).map(|_| store.count_charged(UNTIL))).await;
    assert!(counted.into_iter().all(|counted| counted.is_ok()));
    assert_eq!(store.count_charged(UNTIL).await.unwrap(), 0);
    assert_eq!(usage(store, "charged").await, [(1, 60, 7); 2]);
    assert_eq!(holds(store, "charged", UNTIL).await, (60, 60, 1));
    let corrected = settled(store, "charged", 25, false, UNTIL + SECOND).await;
    assert_eq!(corrected.settled, Some(reservation.at(Stage::Charged, UNTIL)));
    assert_eq!(
        (used(&corrected), corrected.counts[3].tokens, corrected.counts[3].requests),
        (vec![25], 25, 1)
    );
    while store.count_charged(UNTIL + SECOND).await.unwrap() > 0 {}
    assert_eq!(usage(store, "charged").await, [(0, 0, 0); 2], "the record is counted by who took it");
    let again = settled(store, "charged", 25, false, UNTIL + SECOND).await;
    assert_eq!((again.settled, again.lapsed), (None, false));
    assert_eq!(holds(store, "charged", UNTIL + SECOND).await, (50, 50, 2));
    assert_eq!(end(store, "charged", UNTIL + 2 * DAY).await, [], "nothing is left of it");
}

pub(crate) async fn a_correction_keeps_the_estimate_where_the_record_does_not_know_better(store: &dyn Store) {
    dispatched(store, "unknown").await;
    end(store, "unknown", UNTIL).await;
    let kept = settled(store, "unknown", 0, true, UNTIL + SECOND).await;
    assert_eq!(kept.settled.map(|was| was.stage), Some(Stage::Charged));
    assert_eq!(holds(store, "unknown", UNTIL + SECOND).await, (60, 60, 1));
}

pub(crate) async fn a_charge_that_is_corrected_before_usage_knows_of_it_is_counted_by_its_record_alone(
    store: &dyn Store,
) {
    dispatched(store, "quick").await;
    assert_eq!(end(store, "quick", UNTIL).await, [Ended::Charged]);
    assert!(settled(store, "quick", 25, false, UNTIL).await.settled.is_some());
    while store.count_charged(UNTIL + SECOND).await.unwrap() > 0 {}
    assert_eq!(usage(store, "quick").await, [(0, 0, 0); 2]);
    assert!(settled(store, "quick", 1, false, UNTIL).await.settled.is_none(), "nothing is left of it");
    // A record may also come before anybody has ended it.
    dispatched(store, "quicker").await;
    let settled = settled(store, "quicker", 25, false, UNTIL + SECOND).await.settled.unwrap();
    assert!(settled.is_charged(UNTIL + SECOND));
    assert_eq!(end(store, "quicker", UNTIL + SECOND).await, []);
    assert_eq!(store.count_charged(UNTIL + SECOND).await.unwrap(), 0);
}

/// By the name of its request, a charge is corrected, also before anybody has ended it. What has not ended is not
/// found.
pub(crate) async fn a_charge_is_corrected_by_a_record_that_names_its_request_alone(store: &dyn Store) {
    let request = |name: &str| ReservationId::of_observation(&key(name), "corr");
    let report = async |name: &str, tokens: u64, keeps: bool, now: Millis| {
        observe(store, Charge { now, ..settle(request(name).as_str(), name, tokens, keeps) }).await
    };
    let reservation = dispatched_for(store, "named", Some(request("named"))).await;
    assert_eq!(store.reservations(10).await.unwrap(), std::slice::from_ref(&reservation));
    assert_eq!(report("named", 10, false, UNTIL - 1).await.settled, None, "it has not ended");
    assert_eq!(holds(store, "named", UNTIL - 1).await, (70, 70, 2));
    assert_eq!(end(store, "named", UNTIL).await, [Ended::Charged]);
    let corrected = report("named", 25, false, UNTIL + SECOND).await;
    assert_eq!(corrected.settled, Some(reservation.at(Stage::Charged, UNTIL)));
    assert_eq!(holds(store, "named", UNTIL + SECOND).await, (35, 35, 2));
    assert_eq!(report("named", 25, false, UNTIL + SECOND).await.settled, None);
    assert_eq!(holds(store, "named", UNTIL + SECOND).await, (60, 60, 3));
    while store.count_charged(UNTIL + SECOND).await.unwrap() > 0 {}
    assert_eq!(usage(store, "named").await, [(0, 0, 0); 2]);

    dispatched_for(store, "early", Some(request("early"))).await;
    assert!(report("early", 25, false, UNTIL).await.settled.is_some_and(|was| was.is_charged(UNTIL)));
    assert_eq!(end(store, "early", UNTIL + SECOND).await, []);
    assert_eq!(holds(store, "early", UNTIL + SECOND).await, (25, 25, 1));

    dispatched_for(store, "aborted", Some(request("aborted"))).await;
    assert_eq!(end(store, "aborted", UNTIL).await, [Ended::Charged]);
    assert!(report("aborted", 0, true, UNTIL).await.settled.is_some());
    assert_eq!(holds(store, "aborted", UNTIL).await, (60, 60, 1));
}

pub(crate) async fn a_charge_is_no_longer_corrected_after_a_day(store: &dyn Store) {
    dispatched(store, "old").await;
    end(store, "old", UNTIL).await;
    while store.count_charged(UNTIL).await.unwrap() > 0 {}
    assert_eq!(end(store, "old", UNTIL + DAY - 1).await, []);
    let late = settled(store, "old", 25, false, UNTIL + DAY).await;
    assert_eq!((late.settled, late.lapsed), (None, false));
    assert_eq!(end(store, "old", UNTIL + DAY).await, [Ended::Forgotten]);
    assert_eq!(end(store, "old", UNTIL + 2 * DAY).await, []);
    assert_eq!(usage(store, "old").await[1], (1, 60, 7), "usage keeps it");
}

pub(crate) async fn an_extended_reservation_ends_at_its_new_end_and_holds_until_then(store: &dyn Store) {
    let reservation = held(store, "longer").await;
    let now = UNTIL - SECOND;
    let until = now + 2 * MINUTE;
    let extended = change(store, "longer", extend(2 * MINUTE), now).await;
    let expected = reservation.at(Stage::Held, until);
    assert_eq!(extended, ReservationChanged::Done(expected.clone(), Vec::new()));
    let shorter = change(store, "longer", extend(SECOND), now).await;
    assert_eq!(shorter, ReservationChanged::Done(expected.clone(), Vec::new()), "never earlier than it did");
    assert_eq!(end(store, "longer", until - 1).await, []);
    assert_eq!(store.end_reservation(&expected, until - 1).await.unwrap(), Ended::Not);
    assert_eq!(holds(store, "longer", until - 1).await, (60, 60, 1));
    assert_eq!(end(store, "longer", until).await, [Ended::GivenBack]);
    assert_eq!(holds(store, "longer", until).await, (0, 0, 0));
}

pub(crate) async fn a_dispatched_estimate_never_lapses_in_a_counter_before_it_is_ended(store: &dyn Store) {
    held(store, "left").await;
    let changed = change(store, "left", DISPATCH, START).await;
    assert!(
        matches!(changed, ReservationChanged::Done(now, _) if now.stage == Stage::Dispatched && now.until == UNTIL)
    );
    change(store, "left", extend(MINUTE), START).await;
    assert_eq!(holds(store, "left", UNTIL + HOUR).await, (60, 60, 1), "nobody has ended it yet");
    assert_eq!(end(store, "left", UNTIL + HOUR).await, [Ended::Charged]);
    assert_eq!(holds(store, "left", UNTIL + HOUR).await, (60, 60, 1));
}

pub(crate) async fn a_reservation_that_is_given_back_holds_nothing_and_has_no_end(store: &dyn Store) {
    let back = ReservationChange::GiveBack;
    for leaves in [false, true] {
        held(store, "back").await;
        if leaves {
            change(store, "back", DISPATCH, START).await;
        }
        let given = change(store, "back", back, START + SECOND).await;
        assert!(
            matches!(given, ReservationChanged::Done(was, owed) if was.counts.tokens == 60 && owed.is_empty())
        );
        assert_eq!(holds(store, "back", START + SECOND).await, (0, 0, 0));
        assert_eq!(change(store, "back", back, START + SECOND).await, ReservationChanged::Unknown);
        let record = settled(store, "back", 0, false, START + SECOND).await;
        assert_eq!((record.settled, record.lapsed), (None, false));
        assert_eq!(end(store, "back", UNTIL + DAY).await, []);
        // The record was a request of its own.
        let spare = super::super::support::take_back(&key("back"), START, START + SECOND, 0, None);
        super::super::support::respond(store, spare).await;
    }
}

pub(crate) async fn what_has_ended_is_not_changed_any_more(store: &dyn Store) {
    let back = ReservationChange::GiveBack;
    held(store, "lapsed").await;
    dispatched(store, "charged").await;
    held(store, "settled").await;
    settled(store, "settled", 1, false, START).await;
    for now in [UNTIL, UNTIL + SECOND] {
        for how in [extend(MINUTE), DISPATCH, back] {
            let ended = |changed| matches!(changed, ReservationChanged::Ended(_));
            assert!(
                ended(change(store, "lapsed", how, now).await)
                    && ended(change(store, "charged", how, now).await)
            );
            assert_eq!(change(store, "settled", how, now).await, ReservationChanged::Unknown);
            assert_eq!(change(store, "never", how, now).await, ReservationChanged::Unknown);
        }
        for reservation in store.ended_reservations(now, 10).await.unwrap() {
            store.end_reservation(&reservation, now).await.unwrap();
        }
    }
    assert_eq!(change(store, "lapsed", back, UNTIL).await, ReservationChanged::Ended(Stage::Lapsed));
    assert_eq!(change(store, "charged", back, UNTIL).await, ReservationChanged::Ended(Stage::Charged));
    assert_eq!(holds(store, "charged", UNTIL).await, (60, 60, 1));
    settled(store, "charged", 1, false, UNTIL).await;
    assert_eq!(change(store, "charged", back, UNTIL).await, ReservationChanged::Unknown, "settled after all");
}

pub(crate) async fn a_record_is_told_for_an_hour_that_its_reservation_lapsed(store: &dyn Store) {
    held(store, "told").await;
    let told = async |now| {
        let record = settled(store, "told", 1, false, now).await;
        (record.settled.is_some(), record.lapsed)
    };
    assert_eq!(told(UNTIL).await, (false, true), "nobody has ended it yet");
    assert_eq!(end(store, "told", UNTIL).await, [Ended::GivenBack]);
    assert_eq!(told(UNTIL + HOUR - 1).await, (false, true));
    assert_eq!(end(store, "told", UNTIL + HOUR - 1).await, []);
    assert_eq!(end(store, "told", UNTIL + HOUR).await, [Ended::Forgotten]);
    assert_eq!(told(UNTIL + HOUR).await, (false, false));
}

/// Whoever is first: it is given back by its caller, or by its end.
pub(crate) async fn who_gives_back_and_who_ends_at_once_do_so_once(store: &dyn Store) {
    for round in 0..20 {
        let name = format!("race-{round}");
        let reservation = held(store, &name).await;
        let (id, back) = (id(&name), ReservationChange::GiveBack);
        // Whose clock is a millisecond behind still finds it open.
        let both = tokio::join!(
            store.change_reservation(&id, back, UNTIL - 1),
            store.end_reservation(&reservation, UNTIL),
        );
        let given = matches!(both.0.unwrap(), ReservationChanged::Done(..));
        assert_eq!(both.1.unwrap() == Ended::GivenBack, !given);
        assert_eq!(holds(store, &name, UNTIL).await, (0, 0, 0));
    }
}
