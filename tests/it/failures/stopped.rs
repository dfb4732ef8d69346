//! The service is told to end while Redis does not answer, and started while Redis is away.

use std::path::Path;

use serde_json::{Value, json};

use super::process::Process;
use crate::{
    redis_server::Server,
    support::{BUCHAREST, SINGAPORE, eventually},
};

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
const TEMPORARY: i32 = 75;

fn service(server: &Server, data: &Path) -> Process {
    Process::start(&server.url(), data, &["--preset", "strict"], &[])
}

async fn degraded(service: &Process) {
    eventually("it notices", async || {
        service.record("noticing", json!({})).await;
        service.get("/readyz").await["status"] == "degraded"
    })
    .await;
}

/// A thief is caught, and 200 tokens of another key and of a banned one are reported, while Redis does not answer.
async fn a_busy_outage(service: &Process) {
    let thief = service.record("thief", json!({"source_ip": SINGAPORE})).await;
    assert_eq!((&thief["allowed"], &thief["degraded"]), (&json!(true), &json!(true)), "{thief}");
    let caught = service.record("thief", json!({"source_ip": BUCHAREST})).await;
    assert_eq!(caught["action"], "temporary_ban", "{caught}");
    for n in 0..20 {
        service.record("worker", json!({"request_id": format!("r-{n}")})).await;
        service.record("banned", json!({"request_id": format!("b-{n}")})).await;
    }
}

async fn tokens(service: &Process, key: &str) -> Value {
    let page = service.get("/v1/usage?group_by=key&bucket=day").await;
    let rows = page["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().find(|row| row["key"] == key).map_or(Value::Null, |row| row["tokens"].clone())
}

async fn used(service: &Process, key: &str) -> Value {
    let windows = service.get(&format!("/v1/subjects/key:{key}")).await["windows"].as_array().cloned();
    let hour = windows.unwrap_or_default().into_iter().find(|window| window["window"] == "1hour");
    hour.map_or(Value::Null, |hour| hour["tokens"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_while_redis_was_silent_outlives_a_stop_and_is_counted_once() {
    let (server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    let first = service(&server, data.path());
    assert_eq!(first.ban("key:banned", None).await, 201);
    let paused = server.pause();
    degraded(&first).await;
    a_busy_outage(&first).await;
    assert_eq!(first.terminate().code(), Some(0), "all of it is in the journal");
    let journals = || std::fs::read_dir(data.path().join("journal")).unwrap().count();
    assert_eq!(journals(), 1);
    drop(paused);
    let next = service(&server, data.path());
    assert_eq!(next.state("key:thief").await, "temporarily_banned");
    eventually("Redis has what the journal held", async || journals() == 0).await;
    assert_eq!(next.record("thief", json!({})).await["reason"], "API_KEY_BANNED");
    eventually("usage is counted", async || tokens(&next, "worker").await == 200).await;
    assert_eq!((used(&next, "worker").await, used(&next, "banned").await), (json!(200), json!(200)));
    eventually("the log tells it", async || {
        let degraded = next.evidence("STORE_DEGRADED").await.len();
        degraded == 1 && next.evidence("TEMPORARY_BAN").await.len() == 1
    })
    .await;
    assert_eq!(next.terminate().code(), Some(0));
    let last = service(&server, data.path());
    assert_eq!((used(&last, "worker").await, tokens(&last, "worker").await), (json!(200), json!(200)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_comes_back_while_the_service_stops_gets_all_and_there_is_no_journal() {
    let (server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    let first = service(&server, data.path());
    let paused = server.pause();
    degraded(&first).await;
    a_busy_outage(&first).await;
    let stopping = std::thread::spawn(move || first.terminate());
    drop(paused);
    assert_eq!(stopping.join().unwrap().code(), Some(0));
    assert!(!data.path().join("journal").exists());
    let next = service(&server, data.path());
    assert_eq!(next.state("key:thief").await, "temporarily_banned");
    assert_eq!(used(&next, "worker").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_can_be_left_either_the_exit_code_says_that_something_is_lost() {
    let (server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    let first = service(&server, data.path());
    let paused = server.pause();
    degraded(&first).await;
    a_busy_outage(&first).await;
    // A file where the folder of journals is to be: root may write anywhere, so rights would not do.
    std::fs::write(data.path().join("journal"), "").unwrap();
    assert_eq!(first.terminate().code(), Some(TEMPORARY));
    drop(paused);
}
