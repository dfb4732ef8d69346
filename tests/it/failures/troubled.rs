//! Redis answers, but somebody flushes its scripts, cuts its connections, or lets its memory run out.

use keyward::{
    domain::{actor::Actor, decision::Reason, event::EventType, subject::Subject},
    store::StoreError,
};
use serde_json::json;

use crate::{redis_server::Server, support::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_do_no_harm() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, limits_alone(1_000_000), options()).await;
    for round in 0..20 {
        server.cli(&["SCRIPT", "FLUSH"]);
        let batch: Vec<_> = (0..25).map(|_| one.record("a", json!({}))).collect();
        let (decisions, single) = tokio::join!(one.engine.record(&batch, one.engine.now()), other.ask("a"));
        assert!(decisions.iter().chain([&single]).all(|d| d.allowed && !d.degraded), "round {round}");
        server.cli(&["SCRIPT", "FLUSH"]);
        one.ban(&Subject::key(&format!("banned-{round}"))).await;
    }
    let seen = one.engine.store().inspect(&Subject::key("a"), one.engine.now()).await.unwrap().unwrap();
    assert_eq!(seen.counts[3].requests, 20 * 26, "each request is counted once");
    assert_eq!(one.engine.store().standings_in_force(one.engine.now()).await.unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_made_again_and_every_request_is_answered() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    let key = Subject::key("banned");
    one.ban(&key).await;
    for _ in 0..10 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        for instance in [&one, &other] {
            assert!(instance.ask("a").await.allowed);
        }
    }
    for instance in [&one, &other] {
        instance.healed().await;
        eventually("answers are sound again", async || !instance.ask("a").await.degraded).await;
        eventually("the ban is known", async || instance.holds(&key)).await;
    }
    let again = Subject::key("again");
    eventually("acts go through", async || {
        one.engine.bans().ban(&again, None, "leaked", &Actor::local(), one.engine.now()).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_records_are_answered_and_acts_refused_until_there_is_some() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    let key = Subject::key("banned");
    one.ban(&key).await;
    eventually("the other instance knows the ban", async || other.holds(&key)).await;
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]), "OK");
    let refused = one
        .engine
        .bans()
        .ban(&Subject::key("b"), None, "leaked", &Actor::local(), one.engine.now())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(_) | StoreError::Unavailable(_)),
        "an operator is told that it was not done: {refused}"
    );
    for instance in [&one, &other] {
        for _ in 0..5 {
            let decision = instance.ask("a").await;
            assert!(decision.allowed && decision.degraded);
        }
        assert_eq!(instance.ask("banned").await.reason, Some(Reason::ApiKeyBanned));
        assert!(instance.ban_is_refused().await);
    }
    assert!(one.engine.standings().of(&Subject::key("b")).await.map_or(true, |r| r.standing.version == 0));
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    for instance in [&one, &other] {
        instance.healed().await;
        eventually("answers are sound again", async || !instance.ask("a").await.degraded).await;
    }
    let lost = one.logged(EventType::StoreDegraded).await;
    assert!(lost.evidence.as_json()["error"].as_str().unwrap().contains("refuses to write"), "{lost:?}");
    one.logged(EventType::StoreRecovered).await;
    one.ban(&Subject::key("b")).await;
}
