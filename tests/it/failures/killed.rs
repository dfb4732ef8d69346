//! Redis is killed and comes back with what it had written.

use futures::future::join_all;
use keyward::domain::{actor::Actor, decision::Reason, event::EventType, subject::Subject};
use reqwest::Method;
use serde_json::json;

use super::process::Process;
use crate::{redis_server::Server, support::*};

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_and_a_restart_instances_heal_and_bans_are_there() {
    let mut server = Server::start(DURABLE);
    let instances = Instance::pair(&server, policy(), with_production_deadline()).await;
    let key = Subject::key("banned");
    instances[0].ban(&key).await;
    let project = Subject::project("p");
    instances[1].ban(&project).await;
    instances[1]
        .engine
        .bans()
        .lift(&project, "found", &Actor::local(), instances[1].engine.now())
        .await
        .unwrap();
    server.kill();
    for instance in &instances {
        eventually("each instance notices", async || {
            assert!(instance.ask("a").await.allowed);
            instance.engine.health().degraded_since.is_some()
        })
        .await;
        assert!(instance.ban_is_refused().await);
    }
    server.start_again(DURABLE);
    for instance in &instances {
        instance.healed().await;
        eventually("answers are sound again", async || !instance.ask("a").await.degraded).await;
        assert_eq!(instance.ask("banned").await.reason, Some(Reason::ApiKeyBanned));
        assert!(!instance.holds(&project), "what was lifted stays lifted");
    }
    instances[0].logged(EventType::StoreRecovered).await;
    let fresh = Instance::on(&server, policy(), with_production_deadline()).await;
    assert!(fresh.holds(&key) && !fresh.holds(&project));
}

/// Nobody knows what became of reports that were on their way: each is sent again under its own name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_were_on_their_way_when_redis_was_killed_are_charged_once() {
    const REPORTS: usize = 20;
    let mut server = Server::start(DURABLE);
    let data = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let pepper = [("KEYWARD_PEPPER", "k1:0123456789abcdef0123456789abcdef")];
    let start = |data: &tempfile::TempDir| Process::start(&server.url(), data.path(), &[], &pepper);
    let (first, second) = (start(&data[0]), start(&data[1]));
    let limits = json!({"limits": [{"unit": "tokens", "window": "month", "limit": 1_000_000}]});
    assert_eq!(first.call(Method::PUT, "/v1/projects/p", limits).await.0, 201);
    let report = |n: usize| json!({"project_id": "p", "tokens_used": 10, "request_id": format!("r{n}")});
    let used = async || first.get("/v1/limits/project:p").await["limits"][0]["used"].clone();
    first.record("k", report(REPORTS)).await;
    eventually("both know the limit", async || {
        let answer = second.record("warm", json!({"project_id": "p", "tokens_used": 0})).await;
        answer["limits"].as_array().unwrap().iter().any(|limit| limit["scope"] == "project")
    })
    .await;
    assert_eq!(used().await, 10);
    let paused = server.pause();
    let answers = join_all((0..REPORTS).map(|n| first.record("k", report(n)))).await;
    assert!(answers.iter().all(|answer| answer["degraded"] == true && answer["allowed"] == true));
    server.kill();
    std::mem::forget(paused);
    // Some are sent again to another instance before Redis is back, some after.
    join_all((0..REPORTS / 2).map(|n| second.record("k", report(n)))).await;
    server.start_again(DURABLE);
    join_all((REPORTS / 2..REPORTS).map(|n| second.record("k", report(n)))).await;
    let all = 10 * (REPORTS + 1);
    eventually("all are charged", async || used().await == all).await;
    let requests = async |service: &Process| {
        service.get("/v1/usage?bucket=day&key=k").await["total"]["requests"].clone()
    };
    eventually("usage has each once", async || {
        requests(&first).await;
        requests(&second).await == REPORTS + 1
    })
    .await;
    let is_sound = async || first.record("other", json!({})).await["degraded"] == false;
    eventually("the first is sound again", is_sound).await;
    assert_eq!(used().await, all);
}
