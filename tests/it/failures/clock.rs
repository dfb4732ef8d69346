//! A clock jumps: that of Redis, and that of this machine under the embedded store. The processes run with a wall clock
//! of their own (libfaketime), which is moved while they run.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::process::Process;
use crate::{
    redis_server::Server,
    support::{eventually, within},
};

/// How long the clock is wrong.
const GLITCH: Duration = Duration::from_secs(12);

/// A wall clock that is moved by hand. The monotonic clock goes on.
struct WallClock {
    directory: TempDir,
}

impl WallClock {
    fn new() -> Self {
        let clock = Self { directory: tempfile::tempdir().unwrap() };
        clock.ahead("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Sets by how many seconds it is ahead of the true time.
    fn ahead(&self, offset: &str) {
        let written = self.directory.path().join("next");
        std::fs::write(&written, offset).unwrap();
        std::fs::rename(written, self.file()).unwrap();
    }

    /// What makes a process follow it.
    fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (name.to_owned(), value);
        vec![
            set("LD_PRELOAD", library().display().to_string()),
            set("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            set("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
    }
}

/// The library, wherever the system has it.
fn library() -> PathBuf {
    let roots = ["/usr/lib", "/usr/local/lib", "/opt/homebrew/lib"].into_iter().map(Path::new);
    let below = roots.flat_map(|root| {
        let inner = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        inner.chain([root.to_owned()]).collect::<Vec<_>>()
    });
    below
        .map(|place| place.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime is needed: scripts/test provides it")
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A clock two hours wrong for twelve seconds, and what holds while it is and right afterwards.
async fn glitch(service: &Process, clock: &WallClock, source: &str, ahead: i64) {
    let limit = json!({ "limits": [{ "unit": "requests", "window": "5s", "limit": 5 }] });
    let (status, answer) = service.call(Method::PUT, "/v1/keys/limited", limit).await;
    assert!(status == 200 || status == 201, "{answer}");
    assert_eq!(service.ban("key:hour", Some(3_600)).await, 201);
    assert_eq!(service.ban("key:short", Some(20)).await, 201);
    let began = keyward::clock::instant();
    clock.ahead(&format!("{ahead:+}"));
    eventually("the jump is noticed", async || service.get("/readyz").await["clock"]["status"] == "jumped")
        .await;
    assert_eq!(service.state("key:hour").await, "temporarily_banned");
    let blocked = service.record("hour", json!({})).await;
    assert_eq!(blocked["reason"], "API_KEY_BANNED", "no ban is over because a clock is wrong");
    five_are_admitted_and_no_sixth(service).await;
    let mut ticks = keyward::clock::ticks(Duration::from_millis(100));
    while began.elapsed() < GLITCH {
        ticks.tick().await;
        assert_eq!(service.state("key:hour").await, "temporarily_banned");
    }
    clock.ahead("+0");
    eventually("it is over", async || service.get("/readyz").await["clock"]["status"] == "steady").await;
    assert_eq!(service.state("key:hour").await, "temporarily_banned");
    five_are_admitted_and_no_sixth(service).await;
    let left = Duration::from_secs(26).saturating_sub(began.elapsed());
    let over = async || service.state("key:short").await == "clear";
    within(left + Duration::from_secs(2), "a ban of 20 s ends after 20 s", over).await;
    assert!(began.elapsed() > Duration::from_secs(19), "nor does it end before");
    eventually("the log tells it", async || service.evidence("CLOCK_JUMPED").await.len() >= 2).await;
    let told = service.evidence("CLOCK_JUMPED").await;
    assert_eq!((&told[1]["stage"], &told[1]["clock"]), (&json!("held"), &json!(source)), "{told:?}");
    let off = told[1]["jump_ms"].as_i64().unwrap() - ahead * 1_000;
    assert!(off.abs() < 2_000 && told[0]["stage"] == "over", "{told:?}");
}

async fn five_are_admitted_and_no_sixth(service: &Process) {
    let admit = async || service.record("limited", json!({ "admit": true })).await["allowed"] == true;
    within(Duration::from_secs(10), "the last window is over", admit).await;
    let mut admitted = 1;
    while admitted < 6 && admit().await {
        admitted += 1;
    }
    assert!(admitted <= 5, "a limit of 5 in 5 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_redis_that_jumps_for_twelve_seconds_ends_no_ban_and_stops_no_limit() {
    for ahead in [7_200, -7_200] {
        let (clock, data) = (WallClock::new(), tempfile::tempdir().unwrap());
        let environment = clock.environment();
        let server = Server::start_in(&borrowed(&environment));
        let service = Process::start(&server.url(), data.path(), &[], &[]);
        glitch(&service, &clock, "store", ahead).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_the_machine_that_jumps_for_twelve_seconds_ends_no_ban_and_stops_no_limit() {
    for ahead in [7_200, -7_200] {
        let (clock, data) = (WallClock::new(), tempfile::tempdir().unwrap());
        let environment = clock.environment();
        let service = Process::embedded(data.path(), &borrowed(&environment));
        glitch(&service, &clock, "machine", ahead).await;
    }
}
