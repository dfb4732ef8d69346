//! OpenTelemetry.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use keyward::{domain::event::Event, store::DeadLetterAct};
use serde::Deserialize;
use serde_json::json;

use super::{
    Arrived, Log, POISON, Running,
    fake::{Fake, Reply, Request},
    must, secret,
};
use crate::support::eventually;

/// The messages of the protocol, as far as they are used; anything else is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExportLogs {
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceLogs {
    resource: Resource,
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<LogRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogRecord {
    /// Numbers of 64 bits are strings.
    time_unix_nano: String,
    observed_time_unix_nano: String,
    severity_number: u8,
    severity_text: String,
    event_name: String,
    body: AnyValue,
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    key: String,
    value: AnyValue,
}

/// One of its members.
#[derive(Debug, Clone, PartialEq, Deserialize)]
enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
}

/// Attributes by name; a name that comes twice is an error.
fn named(attributes: Vec<Attribute>) -> Result<HashMap<String, AnyValue>, String> {
    let count = attributes.len();
    let named: HashMap<_, _> = attributes.into_iter().map(|a| (a.key, a.value)).collect();
    must(named.len() == count, "attribute keys are unique")?;
    Ok(named)
}

/// A receiver of logs.
#[derive(Default)]
struct Receiver {
    arrived: Arrived,
    script: Mutex<VecDeque<Reply>>,
    /// Bad records are told with a partial success, else with a 400 for all.
    partial: bool,
}

impl Receiver {
    async fn listen(self) -> (Arc<Self>, Fake) {
        let receiver = Arc::new(self);
        let listens = receiver.clone();
        (receiver, Fake::start(move |request| listens.answer(request)).await)
    }

    fn answer(&self, request: &Request) -> Result<Reply, String> {
        must(request.method == "POST" && request.path == "/v1/logs", "POST to /v1/logs")?;
        must(request.header("content-type") == "application/json", "the content type")?;
        must(request.header("authorization") == "Bearer t0ken", "the token")?;
        must(request.header("x-scope-orgid") == "tenant-7", "the tenant")?;
        let export: ExportLogs = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
        let mut events = Vec::new();
        for resource in export.resource_logs {
            let about = named(resource.resource.attributes)?;
            let says = |name: &str, text: &str| about.get(name) == Some(&AnyValue::Text(text.to_owned()));
            must(says("service.name", "keyward") && says("service.instance.id", "node-1"), "the resource")?;
            for scope in resource.scope_logs {
                must(scope.scope.name == "keyward" && !scope.scope.version.is_empty(), "the scope")?;
                for record in scope.log_records {
                    events.push(check(record)?);
                }
            }
        }
        if let Some(reply) = self.script.lock().unwrap().pop_front() {
            return Ok(reply);
        }
        let is_bad = |event: &&Event| event.key_id.as_deref() == Some(POISON);
        let bad = events.iter().filter(is_bad).count();
        if bad > 0 && !self.partial {
            return Ok(Reply::status(400, r#"{"code":3,"message":"bad data"}"#));
        }
        events.iter().filter(|event| !is_bad(event)).for_each(|event| self.arrived.take(&event.id));
        let mut said = json!({ "partialSuccess": {} });
        if bad > 0 {
            said["partialSuccess"] =
                json!({ "rejectedLogRecords": bad.to_string(), "errorMessage": "too old" });
        }
        Ok(Reply::status(200, &said.to_string()))
    }
}

/// The event in a record.
fn check(record: LogRecord) -> Result<Event, String> {
    let AnyValue::Text(body) = &record.body else { return Err("a body of text".to_owned()) };
    let event: Event = serde_json::from_str(body).map_err(|error| error.to_string())?;
    must(record.time_unix_nano == format!("{}000000", event.time), "the time in nanoseconds")?;
    must(record.observed_time_unix_nano == record.time_unix_nano, "observed then")?;
    must(record.severity_number == 21 && record.severity_text == "critical", "the severity")?;
    must(record.event_name == "keyward.temporary_ban", "the name of the event")?;
    let attributes = named(record.attributes)?;
    let text = |value: &str| AnyValue::Text(value.to_owned());
    let expected = [
        ("log.record.uid", text(&event.id)),
        ("client.address", text("203.0.113.7")),
        ("geo.country.iso_code", text("SG")),
        ("geo.location.lat", AnyValue::Double(1.35)),
        ("keyward.subject", text(event.subject.as_ref().ok_or("a subject")?.as_str())),
        ("keyward.count", AnyValue::Int("1".to_owned())),
    ];
    for (name, value) in expected {
        must(attributes.get(name) == Some(&value), name)?;
    }
    Ok(event)
}

fn forward(log: &Log, fake: &Fake, own: &str) -> (Running, tempfile::NamedTempFile) {
    let (file, headers) = secret("Authorization: Bearer t0ken\nX-Scope-OrgID: tenant-7\n");
    (log.forward("otlp", &fake.url, &format!("headers = '{headers}'\n{own}")), file)
}

#[tokio::test]
async fn every_event_becomes_a_log_record_once() {
    let (receiver, fake) = Receiver::default().listen().await;
    let log = Log::good(20).await;
    let (running, _headers) = forward(&log, &fake, "batch = 7");
    let parked = running.finish().await;
    assert_eq!((receiver.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    fake.is_content();
}

#[tokio::test]
async fn a_receiver_in_trouble_gets_everything_later() {
    let script = [
        Reply::after_a_second(503, r#"{"message":"throttled"}"#),
        Reply::status(502, ""),
        Reply::status(504, ""),
        Reply::status(500, r#"{"message":"the pipeline failed"}"#),
        Reply::Garbage,
        Reply::Silence,
        Reply::status(200, "<html>Please log in</html>"),
        Reply::status(401, "{}"),
        Reply::status(307, ""),
    ];
    let receiver = Receiver { script: Mutex::new(script.into()), ..Receiver::default() };
    let (receiver, fake) = receiver.listen().await;
    let log = Log::good(4).await;
    let (running, _headers) = forward(&log, &fake, "timeout_seconds = 1");
    let parked = running.finish().await;
    assert_eq!((receiver.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    fake.is_content();
}

#[tokio::test]
async fn a_record_that_is_refused_is_found_and_parked() {
    let (receiver, fake) = Receiver::default().listen().await;
    let log = Log::of(&["a", "b", "c", POISON, "d", "e"]).await;
    let (running, _headers) = forward(&log, &fake, "");
    let parked = running.finish().await;
    assert_eq!(parked.iter().map(|letter| &letter.event.id).collect::<Vec<_>>(), [&log.ids[3]]);
    assert!(parked[0].reason.contains("bad data"), "{}", parked[0].reason);
    assert_eq!(receiver.arrived.all_but(&log.ids, &parked), 0);
    fake.is_content();
}

#[tokio::test]
async fn a_batch_of_which_some_is_rejected_is_parked_whole_and_a_person_finds_which() {
    let (receiver, fake) = Receiver { partial: true, ..Receiver::default() }.listen().await;
    let log = Log::of(&["a", "b", "c", POISON]).await;
    let (running, _headers) = forward(&log, &fake, "batch = 2");
    eventually("everything is done with", async || running.is_done().await).await;
    let parked = log.store.dead_letters("siem").await.unwrap();
    assert_eq!(parked.len(), 2, "the batch with the bad one");
    assert!(parked[0].reason.contains("rejected 1 of 2 and does not say which: too old"));
    assert_eq!(receiver.arrived.count(), 3, "nothing is sent again by itself");
    log.store.act_on_dead_letters("siem", DeadLetterAct::Redeliver, &[]).await.unwrap();
    let found = async || {
        let letters = log.store.dead_letters("siem").await.unwrap();
        matches!(letters.as_slice(), [letter] if !letter.again)
    };
    eventually("each was sent alone", found).await;
    let parked = running.end().await;
    assert_eq!((parked[0].event.id.as_str(), parked[0].reason.as_str()), (&*log.ids[3], "rejected: too old"));
    assert_eq!(receiver.arrived.all_but(&log.ids, &parked), 1, "the good one of that batch came twice");
    fake.is_content();
}
