//! A clock jumps: that of Redis, and that of this machine under the embedded store. The answers of Redis to TIME go
//! through a proxy that moves them; the process over the embedded store has a wall clock of its own (libfaketime).

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
};

use super::process::Process;
use crate::{
    redis_server::Server,
    support::{eventually, within},
};

/// A busy machine must not have answers given without the store, as within the 50 ms of production it may: by them no
/// limit is exact, and they are not what is looked at here.
const PATIENT: (&str, &str) = ("KEYWARD__STORE__DEADLINE_MS", "5000");
/// How long the clock is wrong.
const GLITCH: Duration = Duration::from_secs(12);

/// A clock that is moved while a service follows it.
trait Movable {
    /// Sets by how many seconds it is ahead of the true time.
    fn ahead(&self, seconds: i64);
}

/// A Redis whose clock is moved by hand: a proxy before a real one.
struct MovedRedis {
    ahead: Arc<AtomicI64>,
    url: String,
}

impl Movable for MovedRedis {
    fn ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Relaxed);
    }
}

impl MovedRedis {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (ahead, port) = (Arc::new(AtomicI64::new(0)), server.port);
        let moved = ahead.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((asks, answered), (mut answers, mut asked)) = (client.into_split(), server.into_split());
                tokio::spawn(async move {
                    let mut asks = asks;
                    tokio::io::copy(&mut asks, &mut asked).await
                });
                let moved = moved.clone();
                tokio::spawn(async move { pass_on(&mut answers, answered, &moved).await });
            }
        });
        Self { ahead, url }
    }
}

async fn pass_on(
    from: &mut tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    ahead: &AtomicI64,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        move_time(&mut bytes[..read], ahead.load(Relaxed));
        to.write_all(&bytes[..read]).await?;
    }
}

/// Moves the seconds of an answer to TIME: of two texts the first, of ten digits.
fn move_time(bytes: &mut [u8], ahead: i64) {
    const HEAD: &[u8] = b"*2\r\n$10\r\n";
    for at in 0..bytes.len().saturating_sub(HEAD.len() + 12) {
        let Some(seconds) = bytes[at..].strip_prefix(HEAD).map(|rest| &rest[..10]) else { continue };
        let Some(seconds) = std::str::from_utf8(seconds).ok().and_then(|text| text.parse::<i64>().ok())
        else {
            continue;
        };
        let at = at + HEAD.len();
        bytes[at..at + 10].copy_from_slice((seconds + ahead).to_string().as_bytes());
    }
}

/// A wall clock that is moved by hand. The monotonic clock goes on.
struct WallClock {
    directory: TempDir,
}

impl WallClock {
    fn new() -> Self {
        let clock = Self { directory: tempfile::tempdir().unwrap() };
        clock.ahead(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
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

impl Movable for WallClock {
    fn ahead(&self, seconds: i64) {
        let written = self.directory.path().join("next");
        std::fs::write(&written, format!("{seconds:+}")).unwrap();
        std::fs::rename(written, self.file()).unwrap();
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
async fn glitch(service: &Process, clock: &impl Movable, source: &str, ahead: i64) {
    let limit = json!({ "limits": [{ "unit": "requests", "window": "5s", "limit": 5 }] });
    let (status, answer) = service.call(Method::PUT, "/v1/keys/limited", limit).await;
    assert!(status == 200 || status == 201, "{answer}");
    assert_eq!(service.ban("key:hour", Some(3_600)).await, 201);
    assert_eq!(service.ban("key:short", Some(20)).await, 201);
    let began = keyward::clock::instant();
    clock.ahead(ahead);
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
    clock.ahead(0);
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
    let (began, mut admitted) = (keyward::clock::instant(), Vec::new());
    for _ in 0..6 {
        admitted.push(service.record("limited", json!({ "admit": true })).await["allowed"] == true);
    }
    assert_eq!(admitted[..5], [true; 5], "of a limit of 5 in 5 s nothing is used");
    // A machine that takes as long as that over six requests may have room for the sixth.
    assert!(!admitted[5] || began.elapsed() >= Duration::from_secs(5), "a sixth after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_redis_that_jumps_for_twelve_seconds_ends_no_ban_and_stops_no_limit() {
    for ahead in [7_200, -7_200] {
        let (server, data) = (Server::start(&[]), tempfile::tempdir().unwrap());
        let clock = MovedRedis::before(&server).await;
        let service = Process::start(&clock.url, data.path(), &[], &[PATIENT]);
        glitch(&service, &clock, "store", ahead).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_the_machine_that_jumps_for_twelve_seconds_ends_no_ban_and_stops_no_limit() {
    for ahead in [7_200, -7_200] {
        let (clock, data) = (WallClock::new(), tempfile::tempdir().unwrap());
        let environment = clock.environment();
        let mut environment = borrowed(&environment);
        environment.push(PATIENT);
        let service = Process::embedded(data.path(), &environment);
        glitch(&service, &clock, "machine", ahead).await;
    }
}
