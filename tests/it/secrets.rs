//! The raw API key is hashed at the door: it is in no store, no log, no metric and no answer, whatever is sent.
//! Log and metrics belong to a process, so each of these tests runs in one of its own.

use std::{
    io::Write,
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
};

use keyward::{
    domain::subject::Subject,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use serde_json::json;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{api::Api, redis_server::Server, support::*};

/// What is looked for everywhere; its first bytes count as much as the whole.
const SECRET: &str = "sk-Zq7Xv3Lw9Rt5-hunted-through-every-byte";
const PREFIX: usize = 12;

/// Set in the process that a test has to itself.
const ALONE: &str = "KEYWARD_TEST_ALONE";

/// Whether this process runs `test` alone; else runs it in one that does, and fails as it does.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ran = command.args(["--exact", "--nocapture", test]).env(ALONE, "1").output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Everything that is logged by this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log at its most talkative, and the metrics, of this process.
fn captured() -> &'static (Log, PrometheusHandle) {
    static CAPTURED: OnceLock<(Log, PrometheusHandle)> = OnceLock::new();
    CAPTURED.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(
                "keyward=trace,audit=trace,redis=trace,tower_http=trace,axum=trace",
            ))
            .with_writer(log.clone())
            .init();
        (log, PrometheusBuilder::new().install_recorder().unwrap())
    })
}

/// Fails if the secret, or its beginning, is among `bytes`.
fn assert_clean(bytes: &[u8], place: &str) {
    let needle = &SECRET.as_bytes()[..PREFIX];
    if let Some(at) = bytes.windows(PREFIX).position(|w| w == needle) {
        let context = &bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())];
        panic!("the raw key is in {place}: …{}…", String::from_utf8_lossy(context));
    }
}

/// Bodies for `/v1/record` and for items of a batch: good ones with the key where it does not belong, and bad ones.
fn bodies() -> Vec<String> {
    let good = |fields: serde_json::Value| {
        let mut body =
            json!({"api_key": SECRET, "endpoint": "/v1/chat", "source_ip": SINGAPORE, "tokens_used": 5});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    let inside = |before: &str, after: &str| format!("{before}{SECRET}{after}");
    vec![
        good(json!({})),
        good(json!({"request_id": inside("r-", "")})),
        good(json!({"endpoint": inside("/v1/", "/x")})),
        good(json!({"endpoint": inside("/v1/chat?key=", "")})),
        good(json!({"endpoint": inside("/v1/chat#", "")})),
        good(json!({"user_agent": inside("curl/8 (", ")")})),
        good(json!({"model": SECRET, "project_id": SECRET})),
        good(json!({"reservation_id": SECRET})),
        good(json!({"source_ip": BUCHAREST})),
        good(json!({"response_status": 401})),
        good(json!({"source_ip": SECRET})),
        good(json!({"timestamp": SECRET})),
        good(json!({"tokens_used": SECRET})),
        good(json!({"refused_by": SECRET})),
        good(json!({"response_status": SECRET, "latency_ms": [SECRET]})),
        good(json!({"api_key": {SECRET: SECRET}})),
        good(json!({"api_key": [SECRET]})),
        good(json!({SECRET: 1})),
        good(json!({"key_id": SECRET})),
        good(json!({"key_id": inside("a b ", "")})),
        good(json!({"api_key": SECRET.repeat(20)})),
        format!(
            "{{\"api_key\":\"{SECRET}\",\"api_key\":\"{SECRET}\",\"endpoint\":\"/x\",\"source_ip\":\"{SINGAPORE}\"}}"
        ),
        format!("{{\"api_key\":\"{SECRET}\""),
        format!("{{\"api_key\":\"{SECRET}\",\"endpoint\":\"\u{1}\"}}"),
        format!("\"{SECRET}\""),
        SECRET.to_owned(),
    ]
}

/// Records that give the secret as the public id.
fn as_public_id() -> Vec<String> {
    let record = |fields: serde_json::Value| {
        let mut body = json!({"key_id": SECRET, "endpoint": "/v1/chat", "source_ip": SINGAPORE});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    vec![
        record(json!({})),
        record(json!({"source_ip": "[::1]"})),
        record(json!({"key_id": format!(" {SECRET}")})),
    ]
}

/// Requests that give the secret as a subject.
fn as_subject() -> Vec<(&'static str, String)> {
    let path = |room: &str| format!("/v1/{room}key:{SECRET}");
    let mut all = vec![("DELETE", format!("/v1/keys/{SECRET}")), ("GET", format!("/v1/keys/{SECRET}"))];
    for method in ["GET", "DELETE", "PUT"] {
        all.extend([(method, path("bans/")), (method, path("allowlist/"))]);
    }
    all.extend(["subjects/", "bans?subject=", "events?subject="].map(|room| ("GET", path(room))));
    all
}

/// Sends the secret wherever a caller could, and looks at each answer.
async fn send_everywhere(api: &Api, instance: &Instance) {
    for body in bodies() {
        for path in ["/v1/record", "/v1/check", "/v1/bans/lookup"] {
            assert_clean(
                api.post(path, body.clone()).await.all.as_bytes(),
                &format!("the answer of {path} to {body}"),
            );
        }
        for content_type in ["text/plain", SECRET, "application/x-ndjson"] {
            let reply = api.call("POST", "/v1/record/batch", Some(content_type), body.clone()).await;
            assert_clean(reply.all.as_bytes(), &format!("the answer of the batch to {body}"));
        }
    }
    for body in as_public_id() {
        for path in ["/v1/record", "/v1/check"] {
            let reply = api.post(path, body.clone()).await;
            assert_eq!(reply.status, 422, "{}", reply.body);
            assert_clean(reply.all.as_bytes(), &format!("the answer of {path} to {body}"));
        }
        let reply = api.call("POST", "/v1/record/batch", Some("application/x-ndjson"), body).await;
        assert_clean(reply.all.as_bytes(), "the answer of the batch to a public id");
    }
    for (method, path) in as_subject() {
        let body = r#"{"duration_seconds":60,"reason":"taken for the id"}"#;
        let reply = api.call(method, &path, Some("application/json"), body).await;
        assert!([404, 422].contains(&reply.status), "{method} {path}: {}", reply.body);
        assert_clean(reply.all.as_bytes(), &format!("the answer to {method} {path}"));
    }
    let array = format!("[{}]", bodies()[..22].join(","));
    assert_clean(api.post("/v1/record/batch", array).await.all.as_bytes(), "the answer to an array");
    let lookup = api.post("/v1/bans/lookup", json!({"api_key": SECRET}).to_string()).await;
    assert_eq!(lookup.status, 200, "{}", lookup.body);
    let subject = lookup.json()["subject"].as_str().unwrap().to_owned();
    assert!(subject.starts_with("key:k1:"), "{subject}");
    let key = Subject::parse(&subject).unwrap();
    assert!(instance.holds(&key), "its far move was found: the records were taken");
    for path in [
        format!("/v1/subjects/{subject}"),
        format!("/v1/bans/{subject}"),
        "/v1/bans".into(),
        "/v1/events".into(),
        "/v1/usage".into(),
    ] {
        assert_clean(api.get(&path).await.all.as_bytes(), &path);
    }
    // As a detector sees it after the ban: more records, until there is a profile of the key to store.
    let lifted = api.call("DELETE", &format!("/v1/bans/{subject}"), None, "").await;
    assert_eq!(lifted.status, 200, "{}", lifted.body);
    assert!(api.post("/v1/record", bodies().remove(5)).await.json()["allowed"].as_bool().unwrap());
}

/// What was logged and measured.
async fn assert_clean_outside_of_the_store(api: &Api) {
    let (log, _) = captured();
    assert_clean(&log.0.lock(), "the log");
    let says = String::from_utf8_lossy(&log.0.lock()).contains("an operator acted");
    assert!(says, "the log was captured");
    let metrics = api.get("/metrics").await.body;
    assert!(metrics.contains("keyward_decisions_total"), "the metrics were captured: {metrics}");
    assert_clean(metrics.as_bytes(), "the metrics");
}

fn assert_clean_directory(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let content = std::fs::read(entry.path()).unwrap();
        assert_clean(&content, &entry.file_name().to_string_lossy());
        assert_clean(entry.file_name().as_encoded_bytes(), "the name of a file");
        bytes += content.len() as u64;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_raw_key_is_nowhere_with_redis() {
    if !alone("secrets::the_raw_key_is_nowhere_with_redis") {
        return;
    }
    let (_, metrics) = captured();
    // Uncompressed, so that the dump holds every key and value as it is.
    let server = Server::start(&["--rdbcompression", "no"]);
    let instance = Instance::on(&server, strict(), options()).await;
    let api = Api::over(instance.engine.clone(), || metrics.render());
    send_everywhere(&api, &instance).await;
    assert_clean_outside_of_the_store(&api).await;
    instance.shut_down().await;
    assert_clean(server.cli(&["KEYS", "*"]).as_bytes(), "the keys");
    assert_eq!(server.cli(&["SAVE"]), "OK");
    assert!(server.cli(&["KEYS", "*:p:key:k1:*"]).contains("key:k1:"), "a profile is stored");
    let dump = std::fs::read(server.directory().join("dump.rdb")).unwrap();
    assert!(dump.windows(13).any(|w| w == b"TEMPORARY_BAN"), "the dump can be read");
    assert!(assert_clean_directory(server.directory()) > 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_raw_key_is_nowhere_with_the_embedded_store() {
    if !alone("secrets::the_raw_key_is_nowhere_with_the_embedded_store") {
        return;
    }
    let (_, metrics) = captured();
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap());
    let instance = Instance::start(store, strict(), options()).await;
    let api = Api::over(instance.engine.clone(), || metrics.render());
    send_everywhere(&api, &instance).await;
    assert_clean_outside_of_the_store(&api).await;
    assert_clean_directory(directory.path());
    instance.shut_down().await;
    assert!(assert_clean_directory(directory.path()) > 1_000);
}
