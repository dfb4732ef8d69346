//! The ring of recent peers.

use keyward::{
    domain::observation::{Charge, ChargeMode, Observation},
    store::Store,
};

use crate::store::support::*;

async fn meet(store: &dyn Store, step: i64, id: u64, capacity: u8) -> Observation {
    let charge =
        Charge { peer: Some(peer(id)), peer_capacity: capacity, ..charge(&key("a"), START + step, 1) };
    observe(store, charge).await
}

async fn ring(store: &dyn Store) -> Vec<(u64, i64, i64, u64)> {
    let seen = store.inspect(&key("a"), START).await.unwrap().unwrap();
    let flat = |s: &keyward::domain::observation::PeerSeen| {
        (s.peer.id, s.first_seen - START, s.last_seen - START, s.hits)
    };
    seen.peers.iter().map(flat).collect()
}

pub(crate) async fn the_most_recent_is_first_and_the_ring_is_bounded(store: &dyn Store) {
    for (step, id) in (0..).zip([1, 2, 3, 1, 4]) {
        meet(store, step, id, 3).await;
    }
    assert_eq!(ring(store).await, [(4, 4, 4, 1), (1, 0, 3, 2), (3, 2, 2, 1)]);
    let seen = store.inspect(&key("a"), START).await.unwrap().unwrap();
    assert_eq!(seen.peers[0].peer, peer(4));
    for id in 10..100 {
        meet(store, id as i64, id, 64).await;
    }
    assert_eq!(ring(store).await.len(), 64);
}

pub(crate) async fn peers_are_shown_as_they_were_before(store: &dyn Store) {
    assert!(meet(store, 0, 1, 8).await.peers.is_empty());
    let second = meet(store, 1, 2, 8).await;
    assert_eq!(second.peers.len(), 1);
    assert_eq!((second.peers[0].peer.id, second.peers[0].hits), (1, 1));
    assert_eq!(meet(store, 2, 1, 8).await.peers[0].peer.id, 2);
}

pub(crate) async fn only_a_charge_that_fits_touches_a_peer(store: &dyn Store) {
    meet(store, 0, 1, 8).await;
    let limits = token_limits([Some(1), None, None, None]);
    let with_peer = |id| Charge { limits, peer: Some(peer(id)), ..charge(&key("a"), START + 5, 1) };
    assert!(!observe(store, with_peer(2)).await.admitted);
    observe(store, Charge { mode: ChargeMode::Peek, ..with_peer(3) }).await;
    assert_eq!(ring(store).await, [(1, 0, 0, 1)]);
    observe(store, Charge { mode: ChargeMode::Report, ..with_peer(4) }).await;
    assert_eq!(ring(store).await, [(1, 0, 0, 1)]);
    let limits = token_limits([Some(9), None, None, None]);
    observe(store, Charge { mode: ChargeMode::Report, limits, ..with_peer(4) }).await;
    assert_eq!(ring(store).await, [(4, 5, 5, 1), (1, 0, 0, 1)]);
}

pub(crate) async fn a_ring_shrinks_to_a_smaller_capacity(store: &dyn Store) {
    for id in 1..=6 {
        meet(store, id as i64, id, 8).await;
    }
    meet(store, 7, 5, 2).await;
    assert_eq!(ring(store).await, [(5, 5, 7, 2), (6, 6, 6, 1)]);
    meet(store, 8, 9, 1).await;
    assert_eq!(ring(store).await, [(9, 8, 8, 1)]);
}

/// Ids with the highest bit are of peers that say little: they leave before those that say something.
pub(crate) async fn those_that_say_little_leave_first(store: &dyn Store) {
    const LITTLE: u64 = 1 << 63;
    for (step, id) in (0..).zip([1, LITTLE | 2, 3]) {
        meet(store, step, id, 3).await;
    }
    for id in 10..30 {
        meet(store, id as i64, LITTLE | id, 3).await;
    }
    let ids = |ring: Vec<(u64, i64, i64, u64)>| ring.into_iter().map(|seen| seen.0).collect::<Vec<_>>();
    assert_eq!(ids(ring(store).await), [LITTLE | 29, 3, 1]);
    meet(store, 40, 4, 3).await;
    assert_eq!(ids(ring(store).await), [4, 3, 1]);
    meet(store, 41, 5, 3).await;
    assert_eq!(ids(ring(store).await), [5, 4, 3], "without any of them, the oldest leaves");
}
