//! Redis does not answer, and answers again: the worst kind of outage, as no connection breaks.

use std::time::Duration;

use keyward::{
    clock,
    domain::{
        actor::Actor,
        decision::{Action, Decision, Reason},
        event::EventType,
        policy::OnStoreFailure,
        standing::StandingState,
        subject::Subject,
    },
    store::StoreError,
};
use serde_json::json;

use crate::{api::Api, redis_server::Server, support::*};

/// What scheduling may add on a machine that compiles meanwhile. Less than the store's own patience (500 ms), so that
/// a wait for the store beyond the deadline shows.
const SCHEDULING: Duration = Duration::from_millis(400);

/// Asks, and holds the answer to the deadline.
async fn ask_in_time(instance: &Instance, key: &str, fields: serde_json::Value) -> Decision {
    let record = instance.record(key, fields);
    let started = clock::instant();
    let decision = instance.engine.record(&[record], instance.engine.now()).await.remove(0);
    let took = started.elapsed();
    assert!(took < instance.engine.deadline() + SCHEDULING, "{took:?}");
    decision
}

/// A ban, its lifting and a record, as a caller of the API sees them.
async fn acts_are_refused_over_http(instance: &Instance) {
    let api = Api::over(instance.engine.clone(), String::new);
    let order = r#"{"duration_seconds":60,"reason":"leaked"}"#;
    let json = Some("application/json");
    api.call("PUT", "/v1/bans/key:b", json, order).await.problem(503, "a ban");
    api.call("DELETE", "/v1/bans/key:banned", None, "").await.problem(503, "its lifting");
    let body = json!({"key_id": "a", "endpoint": "/x", "source_ip": SINGAPORE});
    let reply = api.post("/v1/record", body.to_string()).await;
    assert_eq!((reply.status, &reply.json()["degraded"]), (200, &json!(true)), "{}", reply.body);
}

/// Asks about a key of its own until the instance has noticed that the store does not answer.
async fn degraded(instance: &Instance) {
    eventually("the instance notices", async || {
        assert!(ask_in_time(instance, "noticing", json!({"tokens_used": 0})).await.degraded);
        instance.engine.health().degraded_since.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_silent_every_record_is_answered_in_time_and_known_bans_hold() {
    let server = Server::start(&[]);
    let instances = Instance::pair(&server, policy(), with_production_deadline()).await;
    let banned = Subject::key("banned");
    instances[0].ban(&banned).await;
    eventually("the other instance knows the ban", async || instances[1].holds(&banned)).await;
    let paused = server.pause();
    for instance in &instances {
        degraded(instance).await;
        for _ in 0..10 {
            let decision = ask_in_time(instance, "a", json!({})).await;
            assert!(decision.allowed && decision.degraded);
        }
        let refused = ask_in_time(instance, "banned", json!({})).await;
        assert_eq!(refused.reason, Some(Reason::ApiKeyBanned));
        assert!(refused.degraded, "a ban held from memory alone is a degraded answer");
        let refused = instance
            .engine
            .bans()
            .ban(&Subject::key("b"), None, "leaked", &Actor::local(), instance.engine.now())
            .await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(
            instance
                .engine
                .bans()
                .lift(&banned, "found", &Actor::local(), instance.engine.now())
                .await
                .is_err()
        );
        acts_are_refused_over_http(instance).await;
    }
    drop(paused);
    for instance in &instances {
        instance.healed().await;
        eventually("answers are sound again", async || !instance.ask("a").await.degraded).await;
        assert_eq!(instance.ask("banned").await.reason, Some(Reason::ApiKeyBanned));
    }
    let lost = instances[0].logged(EventType::StoreDegraded).await;
    assert!(lost.evidence.as_json()["error"].is_string(), "{lost:?}");
    let back = instances[1].logged(EventType::StoreRecovered).await;
    assert!(back.evidence.as_json()["since"].is_string(), "{back:?}");
    assert!(instances[0].engine.standings().of(&Subject::key("b")).await.unwrap().standing.version == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_admitted_while_redis_was_silent_is_charged_when_it_is_back() {
    let server = Server::start(&[]);
    let [instance, other] = Instance::pair(&server, limits_alone(100), with_production_deadline()).await;
    let paused = server.pause();
    degraded(&instance).await;
    let mut admitted = 0;
    let last = loop {
        let decision = ask_in_time(&instance, "a", json!({"admit": true})).await;
        if !decision.allowed {
            break decision;
        }
        admitted += 10;
    };
    assert_eq!(admitted, 100, "the limiter in the process admits its share and no more");
    assert_eq!((last.reason, last.action), (Some(Reason::RateLimitExceeded), Action::Throttle));
    assert!(last.degraded && last.retry_after_seconds().is_some());
    drop(paused);
    instance.healed().await;
    let charged = async || {
        let seen = other.engine.store().inspect(&Subject::key("a"), other.engine.now()).await.unwrap();
        seen.map_or(0, |observation| observation.counts[3].tokens)
    };
    eventually("the usage is in Redis", async || charged().await == 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_decided_while_redis_was_silent_is_in_redis_afterwards_and_on_the_other_instance() {
    let server = Server::start(&[]);
    let [instance, other] = Instance::pair(&server, strict(), with_production_deadline()).await;
    let paused = server.pause();
    degraded(&instance).await;
    assert!(ask_in_time(&instance, "a", json!({})).await.allowed);
    let caught = ask_in_time(&instance, "a", json!({"source_ip": BUCHAREST})).await;
    assert_eq!((caught.action, caught.degraded), (Action::TemporaryBan, true));
    assert_eq!(ask_in_time(&instance, "a", json!({})).await.reason, Some(Reason::ApiKeyBanned));
    drop(paused);
    instance.healed().await;
    let key = Subject::key("a");
    let stored = other.engine.store().standing(&key).await.unwrap().unwrap();
    assert_eq!(stored.standing.state, StandingState::TemporarilyBanned);
    assert!(stored.detail.reason.contains("IMPOSSIBLE_TRAVEL"), "{stored:?}");
    let soon = Duration::from_secs(10);
    within(soon, "the other instance takes it over", async || other.holds(&key)).await;
    instance.logged(EventType::TemporaryBan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_policy_says_deny_records_are_refused_while_redis_is_silent() {
    let server = Server::start(&[]);
    let mut policy = policy();
    policy.on_store_failure.record = OnStoreFailure::Deny;
    let [instance, _other] = Instance::pair(&server, policy, with_production_deadline()).await;
    let before = instance.ask("a").await;
    assert!(before.allowed || before.degraded);
    let paused = server.pause();
    for _ in 0..5 {
        let refused = ask_in_time(&instance, "a", json!({})).await;
        assert!(!refused.allowed && refused.degraded);
        assert_eq!(refused.reason, Some(Reason::StoreUnavailable));
    }
    let check = instance.record("a", json!({}));
    assert!(
        instance.engine.check(&check, false, instance.engine.now()).await.allowed,
        "each route has its own word"
    );
    drop(paused);
    eventually("it goes on", async || instance.ask("a").await.allowed).await;
}
