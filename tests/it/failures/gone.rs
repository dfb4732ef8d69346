//! What the embedded store must hold is not there: its directory is removed while the service runs, or its files are
//! emptied or damaged before a start.

use std::{fs, io::Write, path::Path, time::Duration};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::process::Process;
use crate::{redis_server::Server, support::eventually};

const BANS: usize = 40;

async fn ban_many(service: &Process) {
    for n in 0..BANS {
        assert_eq!(service.ban(&format!("key:banned-{n}"), None).await, 201);
    }
}

async fn all_hold(service: &Process) {
    for n in 0..BANS {
        assert_eq!(service.state(&format!("key:banned-{n}")).await, "permanently_banned", "{n}");
        assert_eq!(
            service.record(&format!("banned-{n}"), json!({})).await["reason"],
            "API_KEY_BANNED",
            "{n}"
        );
    }
}

/// Waits until the file beside the store has so many bans.
async fn known_beside(data: &Path, bans: usize) {
    let file = data.join("known.jsonl");
    let written = || fs::read_to_string(&file).unwrap_or_default().matches("\"ban\"").count();
    eventually("what is known is beside the store", async || written() == bans).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_removed_while_it_runs_is_told_and_no_act_is_acknowledged() {
    let parent = tempfile::tempdir().unwrap();
    let (data, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let service = Process::embedded(&data, &[]);
    assert_eq!(service.ban("key:before", None).await, 201);
    fs::rename(&data, &aside).unwrap();
    assert_eq!(service.ban("key:after", None).await, 503);
    let (status, _) = service.call(Method::PUT, "/v1/plans/free", json!({ "limits": [] })).await;
    assert_eq!(status, 503);
    eventually("it is not ready", async || service.status("/readyz").await == 503).await;
    assert_eq!(service.status("/livez").await, 200);
    let answer = service.record("before", json!({})).await;
    assert_eq!(answer["reason"], "API_KEY_BANNED", "known bans hold");
    assert_eq!(service.record("other", json!({})).await["allowed"], true);
    assert!(!data.exists(), "nothing is made in its place");
    fs::rename(&aside, &data).unwrap();
    eventually("it is ready again", async || service.status("/readyz").await == 200).await;
    eventually("acts are done again", async || service.ban("key:again", None).await == 201).await;
    eventually("the log tells it", async || {
        let told = service.evidence("DATA_MISSING").await;
        told.len() == 1 && told[0]["summary"].as_str().unwrap().contains("keyward.db")
    })
    .await;
    assert_eq!(service.state("key:after").await, "clear");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_directory_stays_away_a_stop_does_not_claim_that_all_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let (data, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let service = Process::embedded(&data, &[]);
    // At once, as the service may write meanwhile.
    fs::rename(&data, &aside).unwrap();
    fs::remove_dir_all(&aside).unwrap();
    eventually("it is not ready", async || service.status("/readyz").await == 503).await;
    service.record("a", json!({})).await;
    assert_eq!(service.terminate().code(), Some(75));
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_that_an_emptied_database_lacks_are_told_at_the_start_and_hold() {
    let data = tempfile::tempdir().unwrap();
    let first = Process::embedded(data.path(), &[]);
    assert_eq!(first.call(Method::PUT, "/v1/plans/free", json!({ "limits": [] })).await.0, 201);
    ban_many(&first).await;
    known_beside(data.path(), BANS).await;
    first.kill();
    for file in ["keyward.db", "keyward.db-wal", "keyward.db-shm"] {
        let _ = fs::File::options().write(true).truncate(true).open(data.path().join(file));
    }
    let next = Process::embedded(data.path(), &[]);
    all_hold(&next).await;
    assert_eq!(next.status("/v1/plans/free").await, 200);
    eventually("the log tells it", async || {
        let told = next.evidence("DATA_MISSING").await;
        told.len() == 1 && told[0]["missing_bans"] == BANS
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_that_a_damaged_log_of_the_database_lacks_are_told_at_the_start_and_hold() {
    let data = tempfile::tempdir().unwrap();
    let first = Process::embedded(data.path(), &[]);
    ban_many(&first).await;
    known_beside(data.path(), BANS).await;
    first.kill();
    let wal = data.path().join("keyward.db-wal");
    let length = fs::metadata(&wal).unwrap().len();
    let mut bytes = fs::read(&wal).unwrap();
    let middle = usize::try_from(length / 2).unwrap();
    bytes[middle..middle + 64].fill(0xff);
    fs::File::create(&wal).unwrap().write_all(&bytes).unwrap();
    let next = Process::embedded(data.path(), &[]);
    all_hold(&next).await;
    eventually("the log tells it", async || {
        let told = next.evidence("DATA_MISSING").await;
        told.len() == 1 && told[0]["missing_bans"].as_u64().unwrap() > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_while_redis_is_away_goes_by_what_was_known_and_joins_redis_when_it_is_back() {
    const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let (mut server, data) = (Server::start(DURABLE), tempfile::tempdir().unwrap());
    let first = Process::start(&server.url(), data.path(), &[], &[]);
    let limits = json!({ "limits": [{ "unit": "requests", "window": "hour", "limit": 3 }] });
    assert_eq!(first.call(Method::PUT, "/v1/keys/limited", limits).await.0, 201);
    assert_eq!(first.ban("key:banned", None).await, 201);
    known_beside(data.path(), 1).await;
    first.kill();
    server.kill();
    let next = Process::start(&server.url(), data.path(), &[], &[]);
    assert_eq!(next.get("/readyz").await["status"], "degraded");
    assert_eq!(next.record("banned", json!({})).await["reason"], "API_KEY_BANNED");
    for n in 0..4 {
        let answer = next.record("limited", json!({ "admit": true })).await;
        assert_eq!((&answer["allowed"], &answer["degraded"]), (&json!(n < 3), &json!(true)), "{answer}");
    }
    assert_eq!(next.ban("key:other", None).await, 503);
    server.start_again(DURABLE);
    eventually("it joins Redis", async || next.get("/readyz").await["status"] == "ready").await;
    assert_eq!(next.state("key:banned").await, "permanently_banned");
    eventually("acts are done", async || next.ban("key:other", None).await == 201).await;
    let used = async || {
        let limits =
            next.get("/v1/limits/key:limited").await["limits"].as_array().cloned().unwrap_or_default();
        limits
            .into_iter()
            .find(|limit| limit["window"] == "hour")
            .map_or(json!(null), |limit| limit["used"].clone())
    };
    eventually("what was admitted meanwhile is charged", async || used().await == 3).await;
    eventually("both are in the log", async || {
        next.evidence("STORE_DEGRADED").await.len() == 1 && next.evidence("STORE_RECOVERED").await.len() == 1
    })
    .await;
}

/// What an answer takes on a slow line: in time for a probe (500 ms), which all that are needed to join are not.
const SLOW: Duration = Duration::from_millis(150);

/// The URL of a Redis behind a slow line.
async fn behind_a_slow_line(server: &Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, port) = (format!("redis://{}", listener.local_addr().unwrap()), server.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // While the server is away, the connection ends.
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let ((mut asks, mut answered), (mut answers, mut asked)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = answers.read(&mut bytes).await {
                    keyward::clock::sleep(SLOW).await;
                    if answered.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_on_a_slow_line_that_was_away_at_the_start_is_joined() {
    let (mut server, data) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let url = behind_a_slow_line(&server).await;
    let first = Process::start(&url, data.path(), &[], &[]);
    assert_eq!(first.ban("key:banned", None).await, 201);
    known_beside(data.path(), 1).await;
    first.kill();
    server.kill();
    let next = Process::start(&url, data.path(), &[], &[]);
    assert_eq!(next.get("/readyz").await["status"], "degraded");
    server.start_again(&[]);
    eventually("it joins Redis", async || next.get("/readyz").await["status"] == "ready").await;
    assert_eq!(next.state("key:banned").await, "permanently_banned", "and is told again what it lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_away_at_the_start_and_cannot_be_used_is_named_in_the_log_and_not_joined() {
    let (mut server, data) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let first = Process::start(&server.url(), data.path(), &[], &[]);
    assert_eq!(first.ban("key:banned", None).await, 201);
    known_beside(data.path(), 1).await;
    first.kill();
    server.kill();
    let next = Process::start(&server.url(), data.path(), &[], &[]);
    server.start_again(&["--user", "default", "on", "nopass", "~*", "+@all", "-xadd"]);
    let is_why = |line: &String| line.contains("the store is still away") && line.contains("XADD");
    eventually("the log says why", async || next.log().iter().any(is_why)).await;
    let ready = next.get("/readyz").await;
    assert_eq!(
        (&ready["status"], &ready["upkeep"]["status"]),
        (&json!("degraded"), &json!("failing")),
        "{ready}"
    );
    server.cli(&["ACL", "SETUSER", "default", "+xadd"]);
    eventually("it joins Redis", async || next.get("/readyz").await["status"] == "ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_while_redis_is_away_is_refused_and_so_is_one_that_the_policy_forbids() {
    use crate::app::{keyward, run};
    let (mut server, data) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let start = |url: &str| {
        let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", url]);
        command.env("KEYWARD__SECRETS__DATA_DIRECTORY", data.path());
        command
    };
    server.kill();
    assert_eq!(run(&mut start(&server.url())).0, 69, "nothing is known of that store");
    server.start_again(&[]);
    let known = Process::start(&server.url(), data.path(), &[], &[]);
    assert_eq!(known.ban("key:banned", None).await, 201);
    known_beside(data.path(), 1).await;
    known.kill();
    server.kill();
    let mut command = start(&server.url());
    command.env("KEYWARD__POLICY__ON_STORE_FAILURE__RECORD", "deny");
    command.env("KEYWARD__POLICY__ON_STORE_FAILURE__CHECK", "deny");
    assert_eq!(run(&mut command).0, 69);
}
