//! The user that Keyward is in Redis lacks a right: at the start, and while the service runs.

use std::{collections::BTreeSet, path::Path, time::Duration};

use keyward::store::{
    StoreControl, StoreError,
    redis::{RedisOptions, RedisStore},
};
use serde_json::json;

use super::process::Process;
use crate::{
    redis_server::{Cluster, Server},
    support::eventually,
};

/// By then a failure of the upkeep is an event: it fails for ten seconds.
const REPORTED: Duration = Duration::from_secs(12);

/// The commands that the page names, as in the ACL there: `+get`, ...
fn documented() -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let begin = page.find("ACL SETUSER keyward").unwrap();
    let block = page[begin..].split("\n\n").next().unwrap();
    block.split_whitespace().filter(|word| word.starts_with('+')).map(str::to_owned).collect()
}

/// A server with the user of the page, and the URL of that user.
fn server() -> (Server, String) {
    let server = Server::start(&[]);
    let mut command = vec!["ACL", "SETUSER", "keyward", "on", ">secret", "resetkeys", "~kw:*", "-@all"];
    let rights = documented();
    command.extend(rights.iter().map(String::as_str));
    assert_eq!(server.cli(&command), "OK");
    let url = format!("redis://keyward:secret@127.0.0.1:{}", server.port);
    (server, url)
}

/// Every command in the scripts and in the store for Redis.
fn used() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        ["migrations/redis", "migrations/redis/parts", "src/store/redis"].map(|folder| root.join(folder));
    let files =
        folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let mut commands = BTreeSet::new();
    for file in files.filter(|file| file.is_file() && !file.ends_with("0019_rights.lua")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for before in ["call(\"", "cmd(\"", "{\""] {
            for rest in text.split(before).skip(1) {
                let name = rest.split('"').next().unwrap();
                if name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase()) {
                    commands.insert(format!("+{}", name.to_lowercase()));
                }
            }
        }
    }
    commands
}

#[test]
fn every_command_that_is_used_is_among_the_documented_rights() {
    let (used, documented) = (used(), documented().into_iter().collect::<BTreeSet<_>>());
    assert!(used.len() > 30, "{used:?}");
    assert_eq!(used.difference(&documented).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_for_all_that_the_service_does() {
    let (server, url) = server();
    let data = tempfile::tempdir().unwrap();
    let service = Process::start(&url, data.path(), &["--preset", "strict"], &[]);
    assert_eq!(service.ban("key:banned", Some(1)).await, 201);
    service.record("a", json!({ "request_id": "r" })).await;
    service.record("a", json!({ "source_ip": crate::support::BUCHAREST })).await;
    assert_eq!(service.state("key:a").await, "temporarily_banned");
    let order = json!({ "limits": [{ "unit": "requests", "window": "day", "limit": 9 }] });
    assert_eq!(service.call(reqwest::Method::PUT, "/v1/keys/k", order).await.0, 201);
    let check = json!({
        "key_id": "k", "endpoint": "/x", "source_ip": "203.0.113.7", "reserve": true, "estimated_tokens": 5,
        "lease_seconds": 1,
    });
    assert_eq!(service.call(reqwest::Method::POST, "/v1/check", check).await.0, 200);
    let delete = service.call(reqwest::Method::DELETE, "/v1/subjects/key:a", json!({})).await;
    assert_eq!(delete.0, 204, "{}", delete.1);
    eventually("a ban ends", async || !service.evidence("BAN_EXPIRED").await.is_empty()).await;
    let refusals = server.cli(&["ACL", "LOG"]);
    let refused = refusals.lines().zip(refusals.lines().skip(1)).filter(|(name, _)| *name == "object");
    // A name for the connection, which newer servers take and nobody needs.
    let refused: Vec<_> =
        refused.map(|(_, object)| object).filter(|object| *object != "client|setinfo").collect();
    assert_eq!(refused, [""; 0]);
    let ready = service.get("/readyz").await;
    assert_eq!((&ready["status"], &ready["upkeep"]["status"]), (&json!("ready"), &json!("working")));
    assert_eq!(service.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_at_the_start_is_named() {
    let (server, url) = server();
    for right in documented().iter().filter(|right| !CLUSTERS_ALONE.contains(&right.as_str())) {
        is_named(right, &[&server], &url).await;
    }
}

/// What the client asks the servers of a Cluster alone: which of them has which slots, and, where it has doubts,
/// whether one of them is still there. Where that is refused, it connects anew.
const CLUSTERS_ALONE: [&str; 2] = ["+cluster|slots", "+ping"];

/// Takes a right away, and begins as a start does.
async fn is_named(right: &str, servers: &[&Server], url: &str) {
    let name = right.trim_start_matches('+');
    for server in servers {
        // A script that is known needs no EVAL.
        server.cli(&["SCRIPT", "FLUSH"]);
        server.cli(&["ACL", "SETUSER", "keyward", &format!("-{name}")]);
    }
    let start = async || RedisStore::connect(url, RedisOptions::default()).await?.clock().await;
    let error = start().await.expect_err(name);
    servers.iter().for_each(|server| drop(server.cli(&["ACL", "SETUSER", "keyward", right])));
    assert!(matches!(error, StoreError::Refused(_)), "{name}: {error}");
    assert!(error.to_string().to_lowercase().contains(name), "{name}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_the_documented_rights_are_enough_to_begin_and_that_to_see_the_slots_is_needed() {
    let cluster = Cluster::start();
    let rights = documented();
    for server in &cluster.servers {
        let command = ["ACL", "SETUSER", "keyward", "on", ">secret", "resetkeys", "~kw:*", "-@all"];
        let command: Vec<&str> = command.into_iter().chain(rights.iter().map(String::as_str)).collect();
        assert_eq!(server.cli(&command), "OK");
    }
    let url = cluster.url().replace("://", "://keyward:secret@");
    let store = RedisStore::connect(&url, RedisOptions::default()).await.unwrap();
    assert!(store.clock().await.unwrap().is_some());
    is_named("+cluster|slots", &cluster.servers.iter().collect::<Vec<_>>(), &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_write_events_no_ban_is_made_and_upkeep_says_that_it_fails() {
    let (server, url) = server();
    let data = tempfile::tempdir().unwrap();
    let service = Process::start(&url, data.path(), &[], &[]);
    server.cli(&["ACL", "SETUSER", "keyward", "-xadd"]);
    assert_eq!(service.ban("key:a", None).await, 503, "no audit, no act");
    assert_eq!(service.state("key:a").await, "clear");
    assert_eq!(service.record("a", json!({})).await["allowed"], true, "nor is it enforced");
    assert_eq!(service.call(reqwest::Method::PUT, "/v1/plans/p", json!({ "limits": [] })).await.0, 503);
    assert_eq!(service.status("/v1/plans/p").await, 404);
    // A ban of a second ends: it is to be told, and cannot.
    server.cli(&["ACL", "SETUSER", "keyward", "+xadd"]);
    assert_eq!(service.ban("key:short", Some(1)).await, 201);
    server.cli(&["ACL", "SETUSER", "keyward", "-xadd"]);
    eventually("the upkeep says that it fails", async || {
        let ready = service.get("/readyz").await;
        ready["upkeep"]["status"] == "failing" && ready["status"] == "degraded"
    })
    .await;
    let (began, mut ticks) = (keyward::clock::instant(), keyward::clock::ticks(Duration::from_millis(10)));
    while began.elapsed() < REPORTED {
        ticks.tick().await;
        let ready = service.get("/readyz").await;
        assert_eq!(ready["upkeep"]["status"], "failing", "without a gap, after {:?}", began.elapsed());
    }
    server.cli(&["ACL", "SETUSER", "keyward", "+xadd"]);
    eventually("it works again", async || service.get("/readyz").await["upkeep"]["status"] == "working")
        .await;
    eventually("that it failed is told once", async || service.evidence("UPKEEP_FAILED").await.len() == 1)
        .await;
    eventually("the end of the ban is told", async || service.evidence("BAN_EXPIRED").await.len() == 1).await;
}
