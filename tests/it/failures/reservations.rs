//! The service is killed with reservations open: what they held is free again when their lease ends, and what had left
//! for the provider is charged. Redis is silent when one is settled: that is made up for, once.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::{
    app::{Served, client, keyward},
    redis_server::Server,
    support::{Instance, eventually, options, policy},
};

use keyward::{
    clock,
    domain::{
        DAY, SECOND,
        reservation::HoldTerms,
        subject::Subject,
        usage::{Bucket, Rows, UsageKey, UsageQuery},
    },
    engine::EngineOptions,
};

/// How long reservations are held here, and by how much more everything must be free.
const LEASE: Duration = Duration::from_secs(4);
const LATE: Duration = Duration::from_secs(3);
/// All that a key may use in a minute, and a project in a month.
const ALL: u64 = 1_000;

fn serve(store: &str, directory: &Path) -> Served {
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
    command.env("KEYWARD__RESERVATIONS__LEASE_SECONDS", LEASE.as_secs().to_string());
    command.env("KEYWARD__STORE__SNAPSHOT_SECONDS", "1");
    command.env("KEYWARD__STORE__DEADLINE_MS", "5000");
    command.env("KEYWARD__SECRETS__DATA_DIRECTORY", directory);
    command.env("KEYWARD__POLICY__LIMITS__TOKENS__1MIN", ALL.to_string());
    Served::start_with(&mut command)
}

async fn post(served: &Served, path: &str, body: &Value) -> Value {
    let answer = client().post(format!("{}{path}", served.url)).json(body).send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

/// Reserves all that a project may use by one key, and all that another key may by itself; is killed, starts again, and
/// asks until the next caller of either is admitted. `is_kept` says that the store would bring it all back.
async fn is_free_when_the_lease_ends(store: &str, directory: &Path, is_kept: impl Fn() -> bool) {
    let served = serve(store, directory);
    let limits = json!({"limits": [{"unit": "tokens", "window": "month", "limit": ALL}]});
    let put = client().put(format!("{}/v1/projects/p", served.url)).json(&limits).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let asks = |key: &str, project: Value| {
        json!({"key_id": key, "project_id": project, "source_ip": "203.0.113.7", "estimated_tokens": ALL,
            "reserve": true})
    };
    let before = clock::instant();
    for asked in [asks("one", "p".into()), asks("alone", Value::Null)] {
        let held = post(&served, "/v1/check", &asked).await;
        assert_eq!((&held["allowed"], &held["lease_seconds"]), (&json!(true), &json!(LEASE.as_secs())));
        assert!(held["reservation_id"].is_string());
    }
    let after = clock::instant();
    eventually("the store has it all", async || is_kept()).await;
    served.kill();
    let served = serve(store, directory);
    // A budget is kept from other keys; windows are the key's own. A check holds nothing by itself.
    for (key, project) in [("another", json!("p")), ("alone", Value::Null)] {
        let mut asked = asks(key, project);
        asked["reserve"] = false.into();
        let admitted = async || post(&served, "/v1/check", &asked).await["allowed"] == json!(true);
        eventually("the next caller is admitted", async || admitted().await).await;
        assert!(before.elapsed() >= LEASE, "{key}: while it is held, nobody else has it");
        let late = after.elapsed().saturating_sub(LEASE);
        assert!(late < LATE, "{key}: free {late:?} after the lease ended");
    }
    served.kill();
}

/// Dispatches all that a project may use in a month and is killed; starts again, and asks without a pause: nobody else
/// is admitted, before the lease ends and after. Then usage has the estimate, once, and a record corrects it.
async fn is_charged_when_the_lease_ends(store: &str, directory: &Path, is_kept: impl Fn() -> bool) {
    let served = serve(store, directory);
    let limits = json!({"limits": [{"unit": "tokens", "window": "month", "limit": ALL}]});
    let put = client().put(format!("{}/v1/projects/p", served.url)).json(&limits).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let asks = |key: &str| {
        let source_ip = "203.0.113.7";
        json!({"key_id": key, "project_id": "p", "source_ip": source_ip, "estimated_tokens": ALL})
    };
    let mut dispatched = asks("one");
    dispatched["dispatched"] = true.into();
    let held = post(&served, "/v1/check", &dispatched).await;
    let id = held["reservation_id"].as_str().unwrap().to_owned();
    eventually("the store has it all", async || is_kept()).await;
    served.kill();
    let served = serve(store, directory);
    let used = async || {
        let url = format!("{}/v1/usage?bucket=day&group_by=project", served.url);
        let table: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        (table["total"]["requests"].as_u64().unwrap(), table["total"]["tokens"].as_u64().unwrap())
    };
    let refused = async || {
        let answer = post(&served, "/v1/check", &asks("another")).await;
        assert_eq!(answer["allowed"], false, "what was dispatched is held or charged: {answer}");
    };
    eventually("usage has the estimate", async || {
        refused().await;
        used().await == (1, ALL)
    })
    .await;
    refused().await;
    let mut record = asks("one");
    record["endpoint"] = "/v1/x".into();
    record["reservation_id"] = id.into();
    record["tokens_used"] = 0.into();
    record.as_object_mut().unwrap().remove("estimated_tokens");
    assert_eq!(post(&served, "/v1/record", &record).await["reservation"], "corrected");
    assert_eq!(post(&served, "/v1/check", &asks("another")).await["allowed"], true);
    assert_eq!(used().await, (1, 0));
    served.kill();
}

#[tokio::test]
async fn what_a_killed_service_had_dispatched_in_redis_is_charged_when_the_lease_ends_and_corrected_once() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    is_charged_when_the_lease_ends(&server.url(), directory.path(), || true).await;
}

#[tokio::test]
async fn what_a_killed_service_had_dispatched_in_its_own_store_is_charged_when_the_lease_ends_and_corrected_once()
 {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("keyward.db");
    let is_kept = || {
        let connection = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let rows = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap_or(0)
        };
        rows("reservations") == 1 && rows("quotas") >= 1 && rows("subjects") >= 1
    };
    let store = format!("embedded:{}", directory.path().display());
    is_charged_when_the_lease_ends(&store, directory.path(), is_kept).await;
}

#[tokio::test]
async fn what_a_killed_service_had_reserved_in_redis_is_free_when_the_lease_ends() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    is_free_when_the_lease_ends(&server.url(), directory.path(), || true).await;
}

#[tokio::test]
async fn what_a_killed_service_had_reserved_in_its_own_store_is_free_when_the_lease_ends() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("keyward.db");
    let rows = |table: &str| -> i64 {
        let connection = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap_or(0)
    };
    let is_kept = || rows("reservations") == 2 && rows("quotas") >= 1 && rows("subjects") >= 2;
    let store = format!("embedded:{}", directory.path().display());
    is_free_when_the_lease_ends(&store, directory.path(), is_kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_while_redis_is_silent_is_charged_once_when_it_is_back() {
    let server = Server::start(&[]);
    let quick = EngineOptions { deadline: Duration::from_secs(1), ..options() };
    let instance = Instance::on(&server, policy(), quick).await;
    let engine = &instance.engine;
    let terms = HoldTerms { lease: Some(2 * SECOND), dispatched: true };
    let (estimate, begun) = (instance.record("a", json!({"tokens_used": 600})), engine.now());
    let held = engine.reserve(&estimate, terms, begun).await.reserved.unwrap();
    let paused = server.pause();
    let notices = async || {
        instance.ask("noticing").await;
        engine.health().degraded_since.is_some()
    };
    eventually("it notices", notices).await;
    let settles = json!({"tokens_used": 250, "reservation_id": &*held.id});
    let settled = instance.ask_with("a", settles).await;
    assert!(settled.degraded && settled.settlement.is_none(), "{settled:?}");
    eventually("its lease is over", async || engine.now() > begun + 4 * SECOND).await;
    drop(paused);
    instance.healed().await;
    let used = async || {
        let seen = engine.store().inspect(&Subject::key("a"), engine.now()).await.unwrap();
        seen.map(|seen| (seen.counts[3].requests, seen.counts[3].tokens))
    };
    eventually("what it used is charged", async || used().await == Some((1, 250))).await;
    engine.reservations().end(engine.now()).await.unwrap();
    assert_eq!(used().await, Some((1, 250)));
    let span = (Bucket::Day.start(begun), Bucket::Day.start(begun) + 2 * DAY);
    let query = UsageQuery::new(Rows::Each(Bucket::Day), span, engine.now());
    let query = UsageQuery { only: UsageKey { key: Some("a".into()), ..UsageKey::default() }, ..query };
    let rows = engine.usage().table(&query).await.unwrap().rows;
    let total = rows.values().fold((0, 0), |sum, row| (sum.0 + row.requests, sum.1 + row.tokens));
    assert_eq!(total, (1, 250));
    instance.shut_down().await;
}
