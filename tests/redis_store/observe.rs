//! Charging, at the level of single calls.

use keyward::{
    domain::{
        MINUTE,
        observation::{ChargeMode, Observation},
        standing::{Standing, StandingState},
        subject::Subject,
        window::{Unit, WindowLimits},
    },
    store::{CounterStore, StandingStore},
};

use crate::{T0, ban, charge, peer, server, setting, store};

fn tokens_per_minute(limit: u64) -> WindowLimits {
    WindowLimits { tokens: [Some(limit), None, None, None], ..WindowLimits::default() }
}

#[tokio::test]
async fn a_charge_counts_in_every_window_until_the_limit_refuses() {
    let store = store().await;
    let one = |now| charge("k", now, 500);
    let limited = |now| keyward::domain::observation::Charge { limits: tokens_per_minute(1_000), ..one(now) };
    let seen = store.observe(&[limited(T0), limited(T0), limited(T0)]).await.unwrap();
    assert!(seen[0].created && seen[0].tracked && seen[0].admitted && !seen[1].created);
    assert!(seen[1].counts.iter().all(|c| c.tokens == 1_000 && c.requests == 2));
    let refusal = seen[2].refusal.unwrap();
    assert_eq!((refusal.window, refusal.unit, refusal.limit), (0, Unit::Tokens, 1_000));
    let retry_at = refusal.retry_at.unwrap();
    assert!(!seen[2].admitted && seen[2].tracked && seen[2].counts[0].tokens == 1_000);
    assert!(!store.observe(&[limited(retry_at - 1)]).await.unwrap()[0].admitted);
    assert!(store.observe(&[limited(retry_at)]).await.unwrap()[0].admitted);
    assert!((retry_at - T0 - MINUTE) <= MINUTE / 60 + 1);
}

#[tokio::test]
async fn what_can_never_fit_says_so() {
    let store = store().await;
    let never = keyward::domain::observation::Charge { limits: tokens_per_minute(10), ..charge("k", T0, 11) };
    let seen = store.observe(&[never]).await.unwrap().remove(0);
    assert_eq!(seen.refusal.unwrap().retry_at, None);
    assert!(seen.tracked && !seen.created);
    assert_eq!(store.inspect(&Subject::key("k"), T0).await.unwrap(), None);
}

#[tokio::test]
async fn a_stranger_is_looked_at_and_not_remembered() {
    let store = store().await;
    let stranger =
        keyward::domain::observation::Charge { may_create: false, peer: Some(peer(1)), ..charge("k", T0, 5) };
    let seen = store.observe(std::slice::from_ref(&stranger)).await.unwrap().remove(0);
    assert_eq!(seen, Observation::empty(T0));
    let peeking =
        keyward::domain::observation::Charge { mode: ChargeMode::Peek, may_create: true, ..stranger };
    assert_eq!(store.observe(&[peeking]).await.unwrap().remove(0), Observation::empty(T0));
    assert_eq!(store.inspect(&Subject::key("k"), T0).await.unwrap(), None);
}

#[tokio::test]
async fn a_report_of_a_banned_subject_is_charged_and_its_peer_is_not_seen() {
    let store = store().await;
    store.respond(&setting("k", ban(Some(T0 + 1_000)))).await.unwrap();
    let report = keyward::domain::observation::Charge {
        mode: ChargeMode::Report,
        peer: Some(peer(1)),
        ..charge("k", T0 + 999, 5)
    };
    let seen = store.observe(std::slice::from_ref(&report)).await.unwrap().remove(0);
    assert!(!seen.admitted && seen.refusal.is_none());
    assert_eq!(seen.counts[3].tokens, 5);
    assert_eq!(seen.standing, ban(Some(T0 + 1_000)));
    let after = keyward::domain::observation::Charge { now: T0 + 1_000, ..report };
    let seen = store.observe(&[after]).await.unwrap().remove(0);
    assert!(seen.admitted && seen.peers.is_empty());
}

#[tokio::test]
async fn a_throttled_subject_has_a_share_of_its_limits() {
    let store = store().await;
    let throttled = Standing {
        version: 1,
        state: StandingState::Throttled,
        share_permille: 250,
        until: Some(T0 + 1_000),
        ..Standing::default()
    };
    store.respond(&setting("k", throttled)).await.unwrap();
    let limited = |now, tokens| keyward::domain::observation::Charge {
        limits: tokens_per_minute(999),
        ..charge("k", now, tokens)
    };
    let seen = store.observe(&[limited(T0, 249), limited(T0, 1), limited(T0 + 1_000, 1)]).await.unwrap();
    assert!(seen[0].admitted && !seen[1].admitted && seen[2].admitted);
    assert_eq!(seen[1].refusal.unwrap().limit, 249);
}

#[tokio::test]
async fn peers_are_told_as_they_were_before_most_recent_first() {
    let store = store().await;
    let with = |now, id| keyward::domain::observation::Charge { peer: Some(peer(id)), ..charge("k", now, 1) };
    for (step, id) in [(0, 1), (1, 2), (2, 1), (3, 3), (4, 4), (5, 5)] {
        store.observe(&[with(T0 + step, id)]).await.unwrap();
    }
    let seen = store.inspect(&Subject::key("k"), T0 + 6).await.unwrap().unwrap();
    assert_eq!(seen.peers.iter().map(|p| p.peer.id).collect::<Vec<_>>(), [5, 4, 3, 1]);
    let first = seen.peers[3];
    assert_eq!((first.first_seen, first.last_seen, first.hits, first.peer), (T0, T0 + 2, 2, peer(1)));
}

#[tokio::test]
async fn time_does_not_run_backwards_for_a_subject() {
    let store = store().await;
    let seen = store.observe(&[charge("k", T0, 1), charge("k", T0 - 5_000, 1)]).await.unwrap();
    assert_eq!(seen[1].now, T0);
    assert_eq!(store.inspect(&Subject::key("k"), T0 - 9_000).await.unwrap().unwrap().now, T0);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = server::Server::start(&[]);
    let store = keyward::store::redis::RedisStore::connect(&server.url(), crate::options()).await.unwrap();
    let many: Vec<_> = (0..20).map(|i| charge(&format!("k{}", i % 5), T0, 1)).collect();
    for round in 1..=3 {
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
        let seen = store.observe(&many).await.unwrap();
        assert!(seen[15..].iter().all(|o| o.counts[0].requests == 4 * round));
    }
}

#[tokio::test]
async fn all_that_a_subject_leaves_behind_has_an_end_unless_it_is_banned_for_good() {
    let server = server::Server::start(&[]);
    let store = keyward::store::redis::RedisStore::connect(&server.url(), crate::options()).await.unwrap();
    for step in 0..300 {
        store
            .observe(&[charge("k", T0 + step * 700_000, 1), charge("k", T0 + step * 700_000, 1)])
            .await
            .unwrap();
        store.observe(&[charge("j", T0 + step * 900, 1)]).await.unwrap();
    }
    store.respond(&setting("b", ban(Some(T0 + 1_000)))).await.unwrap();
    store.respond(&setting("p", ban(None))).await.unwrap();
    store.observe(&[charge("b", T0 + 2_000, 1), charge("p", T0, 1)]).await.unwrap();
    for key in server.cli(&["KEYS", "*"]).lines() {
        let fixed = ["meta", "in_force", ":s:key:p", ":d:key:p"].iter().any(|end| key.ends_with(end));
        let left: i64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert_eq!(left == -1, fixed, "{key} has {left} ms");
        assert!(fixed || left > 24 * 3_600_000);
        if key.contains(":w") {
            assert!(server.cli(&["ZCARD", key]).parse::<u32>().unwrap() <= 66);
        }
    }
}
