//! The service is told to end while Redis does not answer, and started while Redis is away.

use std::path::Path;

use reqwest::Method;
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

/// A service that was stopped while Redis was silent, which answers again: what was decided meanwhile is in a journal.
async fn stopped_in_an_outage(server: &Server, data: &Path) {
    let first = service(server, data);
    assert_eq!(first.ban("key:banned", None).await, 201);
    let paused = server.pause();
    degraded(&first).await;
    a_busy_outage(&first).await;
    assert_eq!(first.terminate().code(), Some(0), "all of it is in the journal");
    drop(paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_while_redis_was_silent_outlives_a_stop_and_is_counted_once() {
    let (server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    stopped_in_an_outage(&server, data.path()).await;
    let journals = || std::fs::read_dir(data.path().join("journal")).unwrap().count();
    assert_eq!(journals(), 1);
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
async fn what_is_owed_to_one_store_is_left_for_it_by_a_start_over_another() {
    let (server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    stopped_in_an_outage(&server, data.path()).await;
    let journals = || std::fs::read_dir(data.path().join("journal")).unwrap().count();
    let elsewhere = Server::start(&[]);
    let over = |server: &Server, namespace| {
        let namespace = [("KEYWARD__STORE__NAMESPACE", namespace)];
        Process::start(&server.url(), data.path(), &["--preset", "strict"], &namespace)
    };
    for other in [over(&elsewhere, "kw"), over(&server, "another")] {
        assert_eq!(other.state("key:thief").await, "clear", "the ban is of another store");
        eventually("usage of this one is counted", async || {
            other.record("own", json!({})).await;
            tokens(&other, "own").await.is_number()
        })
        .await;
        assert_eq!(
            (tokens(&other, "worker").await, used(&other, "worker").await),
            (Value::Null, Value::Null)
        );
        assert_eq!(other.terminate().code(), Some(0));
        assert_eq!(journals(), 1, "it waits for its own");
    }
    let next = service(&server, data.path());
    assert_eq!(next.state("key:thief").await, "temporarily_banned");
    eventually("Redis has what the journal held", async || journals() == 0).await;
    eventually("usage is counted", async || tokens(&next, "worker").await == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_is_not_acknowledged_in_time_is_in_the_log_and_its_answer_says_that_it_may_be_done() {
    let (server, data) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let service = service(&server, data.path());
    // Writes wait, and what is read before does not.
    server.cli(&["CLIENT", "PAUSE", "100000", "WRITE"]);
    let order = json!({ "duration_seconds": 3_600, "reason": "stolen" });
    let (status, problem) = service.call(Method::PUT, "/v1/bans/key:late", order.clone()).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(status == 503 && detail.contains("may be done all the same"), "{problem}");
    let is_of_it = |line: &String| {
        ["an act was not acknowledged", "done=\"ban\"", "key:late", "by="]
            .iter()
            .all(|part| line.contains(part))
    };
    eventually("the log has who and what", async || service.log().iter().any(is_of_it)).await;
    server.cli(&["CLIENT", "UNPAUSE"]);
    // Whether the one that waited is done is not known; asked again, it is.
    let again = async || service.call(Method::PUT, "/v1/bans/key:late", order.clone()).await.0 == 200;
    eventually("it is done when asked again", again).await;
    assert_eq!(service.state("key:late").await, "temporarily_banned");
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
