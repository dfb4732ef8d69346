//! Charges that are taken back.

use keyward::{
    domain::{MINUTE, observation::Charge},
    store::Store,
};

use crate::store::support::*;

pub(crate) async fn a_charge_is_taken_back_from_the_open_bucket(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    observe(store, charge(&subject, START, 7)).await;
    assert!(respond(store, take_back(&subject, START, START, 5, None)).await.is_empty());
    let left = store.inspect(&subject, START).await.unwrap().unwrap();
    assert_eq!(left.counts, [counts(7); 4]);
}

pub(crate) async fn a_charge_is_taken_back_from_a_closed_bucket(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    observe(store, charge(&subject, START + 10_000, 7)).await;
    observe(store, charge(&subject, START + 20_000, 9)).await;
    respond(store, take_back(&subject, START + 20_000, START + 10_000, 7, None)).await;
    let left = store.inspect(&subject, START + 20_000).await.unwrap().unwrap();
    assert_eq!(tokens(&left), [14; 4]);
    let later = store.inspect(&subject, START + 62_000).await.unwrap().unwrap();
    assert_eq!(tokens(&later), [9, 14, 14, 14]);
    let limits = token_limits([Some(14), None, None, None]);
    assert!(!observe(store, Charge { limits, ..charge(&subject, START + 20_000, 1) }).await.admitted);
}

pub(crate) async fn what_has_left_cannot_be_taken_back(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    observe(store, charge(&subject, START + 2 * MINUTE, 7)).await;
    respond(store, take_back(&subject, START + 2 * MINUTE, START, 5, None)).await;
    let left = store.inspect(&subject, START + 2 * MINUTE).await.unwrap().unwrap();
    assert_eq!(left.counts, [counts(7); 4]);
}

pub(crate) async fn a_peer_seen_once_is_forgotten_and_others_lose_a_hit(store: &dyn Store) {
    let subject = key("a");
    for (step, id) in (0..).zip([1, 2, 1]) {
        observe(store, Charge { peer: Some(peer(id)), ..charge(&subject, START + step, 1) }).await;
    }
    respond(store, take_back(&subject, START + 3, START + 2, 1, Some(1))).await;
    let hits = |o: keyward::domain::observation::Observation| {
        o.peers.iter().map(|s| (s.peer.id, s.hits)).collect::<Vec<_>>()
    };
    assert_eq!(hits(store.inspect(&subject, START).await.unwrap().unwrap()), [(1, 1), (2, 1)]);
    respond(store, take_back(&subject, START + 3, START + 1, 1, Some(2))).await;
    assert_eq!(hits(store.inspect(&subject, START).await.unwrap().unwrap()), [(1, 1)]);
    respond(store, take_back(&subject, START + 3, START, 1, Some(77))).await;
    assert_eq!(hits(store.inspect(&subject, START).await.unwrap().unwrap()), [(1, 1)]);
}

pub(crate) async fn taking_back_from_an_unknown_subject_makes_nobody_known(store: &dyn Store) {
    respond(store, take_back(&key("a"), START, START, 5, Some(1))).await;
    assert!(store.inspect(&key("a"), START).await.unwrap().is_none());
    assert!(observe(store, charge(&key("a"), START, 5)).await.created);
}
