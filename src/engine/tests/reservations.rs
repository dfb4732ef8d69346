//! Reservations: what a check holds, a record settles, and a lease gives back.

use super::*;
use crate::domain::{
    decision::{Reserved, Settlement},
    reservation::HoldTerms,
    usage::{Bucket, Rows, UsageQuery},
};

impl Day {
    fn estimate(&self, tokens: u64) -> Record {
        self.record(json!({"tokens_used": tokens}))
    }

    /// Asks with an estimate that is to be held.
    async fn reserve(&mut self, tokens: u64) -> Decision {
        let record = self.estimate(tokens);
        self.engine.check(&record, true, self.now).await
    }

    async fn settle(&mut self, reservation: &Reserved, tokens: u64) -> Decision {
        self.ask(json!({"tokens_used": tokens, "reservation_id": &*reservation.id})).await
    }

    /// What the windows hold: tokens and requests.
    async fn held(&self) -> (u64, u64) {
        let seen = self.engine.store().inspect(&Subject::key("a"), self.now).await.unwrap();
        seen.map_or((0, 0), |o| (o.counts[3].tokens, o.counts[3].requests))
    }
}

/// A day on which a reservation is made of a request that leaves at once, and then the store is away.
async fn day_without_store() -> (Day, Reserved) {
    let day = day().await;
    let terms = HoldTerms { lease: None, dispatched: true };
    let held = day.engine.reserve(&day.estimate(600), terms, day.now).await;
    for _ in 0..5 {
        day.engine.shared.breaker.failed(day.now);
    }
    (day, held.reserved.unwrap())
}

/// What usage counts by now: requests and tokens.
async fn counted(day: &Day) -> (u64, u64) {
    let span = (Bucket::Day.start(day.now), day.now + DAY);
    let query = UsageQuery::new(Rows::Each(Bucket::Day), span, day.now);
    let rows = day.engine.usage().table(&query).await.unwrap().rows;
    rows.values().fold((0, 0), |sum, totals| (sum.0 + totals.requests, sum.1 + totals.tokens))
}

async fn day() -> Day {
    Day::with(|policy| {
        policy.limits.tokens.clear();
        policy.limits.tokens.insert("1hour".to_owned(), 1_000);
    })
    .await
}

#[tokio::test]
async fn an_estimate_is_held_for_others_and_settled_to_the_real_figure() {
    let mut day = day().await;
    let held = day.reserve(600).await;
    let reservation = held.reserved.unwrap();
    assert_eq!((held.allowed, reservation.lease_seconds), (true, 60));
    assert!(!day.ask(json!({"tokens_used": 401, "admit": true})).await.allowed, "600 of 1000 are held");
    let refused = day.reserve(401).await;
    assert_eq!((refused.allowed, refused.reserved), (false, None));
    day.now += SECOND;
    let settled = day.settle(&reservation, 250).await;
    assert_eq!((settled.allowed, settled.settlement), (true, Some(Settlement::Settled)));
    assert_eq!(day.held().await, (250, 1));
    assert!(day.ask(json!({"tokens_used": 750})).await.allowed);
    assert_eq!(day.held().await, (1_000, 2));
}

#[tokio::test]
async fn more_than_the_estimate_is_charged_in_full_and_then_nothing_is_admitted() {
    let mut day = day().await;
    let reservation = day.reserve(300).await.reserved.unwrap();
    let settled = day.settle(&reservation, 1_200).await;
    assert_eq!((settled.allowed, settled.settlement), (false, Some(Settlement::Settled)));
    assert_eq!((settled.limits[0].used, settled.limits[0].limit), (1_200, 1_000));
    assert_eq!(day.held().await, (1_200, 1));
    assert!(!day.ask(json!({"tokens_used": 0, "admit": true})).await.allowed);
}

#[tokio::test]
async fn a_reservation_is_settled_once_and_by_its_own_key() {
    let mut day = day().await;
    let reservation = day.reserve(300).await.reserved.unwrap();
    let other = json!({"key_id": "b", "tokens_used": 10, "reservation_id": &*reservation.id});
    assert!(day.ask(other).await.allowed);
    assert_eq!(day.held().await, (300, 1), "another key's record settles nothing of this one's");
    assert_eq!(day.settle(&reservation, 100).await.settlement, Some(Settlement::Settled));
    assert_eq!(day.settle(&reservation, 100).await.settlement, Some(Settlement::Unknown));
    assert_eq!(day.held().await, (200, 2), "the second is a request of its own");
    let unknown = Reserved { id: "rsv_1_2".into(), lease_seconds: 60 };
    assert_eq!(day.settle(&unknown, 1).await.settlement, Some(Settlement::Unknown));
}

#[tokio::test]
async fn what_nobody_settles_is_given_back_when_the_lease_ends() {
    let mut day = day().await;
    let reservation = day.reserve(900).await.reserved.unwrap();
    day.now += LEASE - 1;
    day.engine.decider.reservations.end(day.now).await.unwrap();
    assert_eq!(day.held().await, (900, 1));
    day.now += 1;
    day.engine.decider.reservations.end(day.now).await.unwrap();
    assert_eq!(day.held().await, (0, 0));
    let late = day.settle(&reservation, 900).await;
    assert_eq!((late.allowed, late.settlement), (true, Some(Settlement::Expired)), "a request as any other");
    assert_eq!(day.held().await, (900, 1));
}

#[tokio::test]
async fn a_settlement_that_a_finding_refuses_is_charged_at_what_it_used() {
    let mut day = Day::strict().await;
    day.ask(json!({"tokens_used": 0})).await;
    day.now += MINUTE;
    let reservation = day.reserve(500).await.reserved.unwrap();
    let stolen = json!({"tokens_used": 700, "reservation_id": &*reservation.id, "source_ip": BUCHAREST});
    let refused = day.ask(stolen).await;
    assert_eq!((refused.allowed, refused.settlement), (false, Some(Settlement::Settled)));
    assert_eq!(day.held().await, (700, 2));
}

#[tokio::test]
async fn of_many_at_once_exactly_as_many_are_held_as_fit() {
    let day = Arc::new(day().await);
    let ask = |_| {
        let day = Arc::clone(&day);
        tokio::spawn(async move { day.engine.check(&day.estimate(70), true, day.now).await.allowed })
    };
    let mut admitted = 0;
    for task in (0..64).map(ask).collect::<Vec<_>>() {
        admitted += u32::from(task.await.unwrap());
    }
    assert_eq!(admitted, 14);
    assert_eq!(day.held().await, (980, 14));
}

#[tokio::test]
async fn a_settlement_while_the_store_is_away_is_made_when_it_is_back_and_charges_once() {
    for is_late in [false, true] {
        let (mut day, reservation) = day_without_store().await;
        let settled = day.settle(&reservation, 250).await;
        assert_eq!((settled.degraded, settled.settlement), (true, None));
        assert!(day.engine.decider.fallback.take_usage(day.now).is_empty(), "it is not owed beside");
        day.engine.shared.breaker.close();
        if is_late {
            day.now += 2 * MINUTE;
            day.engine.reservations().end(day.now).await.unwrap();
            assert_eq!(day.held().await, (600, 1), "its time was over first");
        }
        day.engine.decider.deferred.charge(day.now).await.unwrap();
        assert_eq!(day.held().await, (250, 1), "late: {is_late}");
        day.now += 2 * MINUTE;
        day.engine.reservations().end(day.now).await.unwrap();
        assert_eq!((day.held().await, counted(&day).await), ((250, 1), (1, 250)), "late: {is_late}");
    }
}

#[tokio::test]
async fn a_settlement_that_does_not_say_what_was_used_keeps_its_estimate_also_when_the_store_was_away() {
    let (mut day, reservation) = day_without_store().await;
    day.ask(json!({"tokens_used": null, "reservation_id": &*reservation.id})).await;
    day.engine.shared.breaker.close();
    assert_eq!(counted(&day).await, (1, 600));
    day.now += 2 * MINUTE;
    day.engine.reservations().end(day.now).await.unwrap();
    assert_eq!((day.held().await, counted(&day).await), ((600, 1), (1, 600)));
}

/// A check of 100 tokens under a request id, which leaves at once and is held for a second.
async fn leaves_at_once(day: &Day, request_id: &str) {
    let check = day.record(json!({"tokens_used": 100, "request_id": request_id}));
    let terms = HoldTerms { lease: Some(SECOND), dispatched: true };
    assert!(day.engine.reserve(&check, terms, day.now).await.reserved.is_some());
}

#[tokio::test]
async fn a_record_of_the_same_request_that_names_no_reservation_corrects_what_its_estimate_was_charged() {
    for is_ended in [true, false] {
        let mut day = day().await;
        leaves_at_once(&day, "corr").await;
        day.now += 2 * SECOND;
        if is_ended {
            day.engine.reservations().end(day.now).await.unwrap();
        }
        assert_eq!(day.held().await, (100, 1));
        assert_eq!(day.ask(json!({"tokens_used": 11, "request_id": "other"})).await.settlement, None);
        let corrected = day.ask(json!({"tokens_used": 40, "request_id": "corr"})).await;
        assert_eq!((corrected.settlement, corrected.estimated), (Some(Settlement::Corrected), false));
        assert_eq!(day.held().await, (51, 2));
        let again = day.ask(json!({"tokens_used": 40, "request_id": "corr"})).await;
        assert_eq!(again.settlement, Some(Settlement::Corrected), "a retry has the same answer");
        assert_eq!(day.held().await, (51, 2));
        let third = day.ask(json!({"tokens_used": 5, "request_id": "corr"})).await;
        assert_eq!((third.settlement, day.held().await), (None, (56, 3)), "there is nothing left to correct");
        day.now += MINUTE;
        day.engine.reservations().end(day.now).await.unwrap();
        assert_eq!((day.held().await, counted(&day).await), ((56, 3), (3, 56)), "ended first: {is_ended}");
    }
}

#[tokio::test]
async fn a_reservation_that_has_not_ended_or_was_given_back_is_no_matter_of_a_record_that_does_not_name_it() {
    let mut day = day().await;
    leaves_at_once(&day, "open").await;
    let beside = day.ask(json!({"tokens_used": 40, "request_id": "open"})).await;
    assert_eq!((beside.settlement, day.held().await), (None, (140, 2)));
    let held = day.record(json!({"tokens_used": 200, "request_id": "lapses"}));
    let terms = HoldTerms { lease: Some(SECOND), dispatched: false };
    assert!(day.engine.reserve(&held, terms, day.now).await.reserved.is_some());
    day.now += 2 * SECOND;
    for is_ended in [false, true] {
        let late = json!({"tokens_used": 7, "request_id": "lapses", "latency_ms": u8::from(is_ended)});
        assert_eq!(day.ask(late).await.settlement, None);
        day.engine.reservations().end(day.now).await.unwrap();
    }
    assert_eq!(day.held().await, (100 + 40 + 7 + 7, 4));
}

#[tokio::test]
async fn a_record_of_the_same_request_that_does_not_say_what_was_used_keeps_the_estimate() {
    let mut day = day().await;
    leaves_at_once(&day, "aborted").await;
    day.now += 2 * SECOND;
    let aborted =
        day.ask(json!({"tokens_used": null, "request_id": "aborted", "response_status": 499})).await;
    assert_eq!((aborted.settlement, aborted.estimated), (Some(Settlement::Corrected), true));
    assert_eq!(day.held().await, (100, 1));
    day.engine.reservations().end(day.now).await.unwrap();
    assert_eq!(counted(&day).await, (1, 100));
}
