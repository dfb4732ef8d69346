//! Reservations: what a check holds, a record settles, and a lease gives back.

use super::*;
use crate::domain::decision::Reservation;

impl Day {
    fn estimate(&self, tokens: u64) -> Record {
        self.record(json!({"tokens_used": tokens}))
    }

    /// Asks with an estimate that is to be held.
    async fn reserve(&mut self, tokens: u64) -> Decision {
        let record = self.estimate(tokens);
        self.engine.check(&record, true, self.now).await
    }

    async fn settle(&mut self, reservation: &Reservation, tokens: u64) -> Decision {
        self.ask(json!({"tokens_used": tokens, "reservation_id": &*reservation.id})).await
    }

    /// What the windows hold: tokens and requests.
    async fn held(&self) -> (u64, u64) {
        let seen = self.engine.store().inspect(&Subject::key("a"), self.now).await.unwrap();
        seen.map_or((0, 0), |o| (o.counts[3].tokens, o.counts[3].requests))
    }
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
    let reservation = held.reservation.unwrap();
    assert_eq!((held.allowed, reservation.lease_seconds), (true, 60));
    assert!(!day.ask(json!({"tokens_used": 401})).await.allowed, "600 of 1000 are held");
    let refused = day.reserve(401).await;
    assert_eq!((refused.allowed, refused.reservation), (false, None));
    day.now += SECOND;
    let settled = day.settle(&reservation, 250).await;
    assert!(settled.allowed);
    assert_eq!(day.held().await, (250, 1));
    assert!(day.ask(json!({"tokens_used": 750})).await.allowed);
    assert_eq!(day.held().await, (1_000, 2));
}

#[tokio::test]
async fn more_than_the_estimate_is_charged_in_full_and_then_nothing_is_admitted() {
    let mut day = day().await;
    let reservation = day.reserve(300).await.reservation.unwrap();
    assert!(day.settle(&reservation, 1_200).await.allowed);
    assert_eq!(day.held().await, (1_200, 1));
    assert!(!day.ask(json!({"tokens_used": 0})).await.allowed);
}

#[tokio::test]
async fn a_reservation_is_settled_once_and_by_its_own_key() {
    let mut day = day().await;
    let reservation = day.reserve(300).await.reservation.unwrap();
    let other = json!({"key_id": "b", "tokens_used": 10, "reservation_id": &*reservation.id});
    assert!(day.ask(other).await.allowed);
    assert_eq!(day.held().await, (300, 1), "another key's record settles nothing of this one's");
    assert!(day.settle(&reservation, 100).await.allowed);
    assert!(day.settle(&reservation, 100).await.allowed);
    assert_eq!(day.held().await, (200, 2), "the second is a request of its own");
    let unknown = Reservation { id: "rsv_1_2".into(), lease_seconds: 60 };
    assert!(day.settle(&unknown, 1).await.allowed);
}

#[tokio::test]
async fn what_nobody_settles_is_given_back_when_the_lease_ends() {
    let mut day = day().await;
    let reservation = day.reserve(900).await.reservation.unwrap();
    day.now += LEASE - 1;
    day.engine.end_leases(day.now).await.unwrap();
    assert_eq!(day.held().await, (900, 1));
    day.now += 1;
    day.engine.end_leases(day.now).await.unwrap();
    assert_eq!(day.held().await, (0, 0));
    assert!(day.settle(&reservation, 900).await.allowed, "too late, and a request as any other");
    assert_eq!(day.held().await, (900, 1));
}

#[tokio::test]
async fn a_settlement_that_a_finding_refuses_leaves_nothing_behind() {
    let mut day = Day::strict().await;
    day.ask(json!({"tokens_used": 0})).await;
    day.now += MINUTE;
    let reservation = day.reserve(500).await.reservation.unwrap();
    let stolen = json!({"tokens_used": 700, "reservation_id": &*reservation.id, "source_ip": BUCHAREST});
    assert!(!day.ask(stolen).await.allowed);
    assert_eq!(day.held().await, (0, 1), "only the request before is left");
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
