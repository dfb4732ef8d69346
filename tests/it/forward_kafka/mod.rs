//! Events from the log to Kafka: nothing missing, nothing changed, in order per subject. To brokers that other people
//! wrote (librdkafka's mock cluster, read with kcat), and to a fake that does whatever a cluster may do.

mod cluster;
mod fake;
mod faults;
mod kcat;
mod login;

use std::{collections::HashMap, sync::Arc, time::Duration};

use keyward::{
    domain::{
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::SinkSettings,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};
use serde_json::{Value, json};

use crate::{
    forward_run::{Run, sink_context},
    support::within,
};

const LONG: Duration = Duration::from_secs(60);
const TOPIC: &str = "keyward.events";
const SUBJECTS: usize = 40;

/// A sink of this kind, with its own settings.
fn sink(own: &str) -> SinkSettings {
    let text = format!(
        "name = \"siem\"\ntype = \"kafka\"\nstart = \"beginning\"\ntopic = \"{TOPIC}\"\nmax_backoff_seconds = 1\n{own}"
    );
    SinkSettings::read(toml::from_str(&text).unwrap()).unwrap()
}

/// At these brokers, without TLS.
fn plain(brokers: &str) -> String {
    let brokers: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
    format!("brokers = [{}]\ntls = false\nallow_networks = [\"127.0.0.1/32\"]\n", brokers.join(", "))
}

/// A sender with these settings.
fn start(own: &str) -> Run {
    Run::start(&sink(own), event)
}

/// Waits until it says why it does not go on.
async fn complains(run: &Run, of: &str) {
    within(LONG, &format!("it says: {of}"), async || run.error().contains(of)).await;
}

/// The event with this number; one in fifty is about the service itself.
fn event(number: usize) -> Event {
    let subject = (!number.is_multiple_of(50)).then(|| Subject::key(&format!("key-{}", number % SUBJECTS)));
    let kind = if number.is_multiple_of(2) { EventType::TemporaryBan } else { EventType::RateLimitExceeded };
    let mut event = Event::new(1_772_442_800_000 + number as i64, kind, Severity::High, subject);
    event.key_id = Some(format!("k\"]\\=é {number}"));
    event.evidence = serde_json::from_value(
        json!({"number": number, "summary": "50 % ] \" \\ é\u{2028}\n%s ".repeat(number % 9)}),
    )
    .unwrap();
    event
}

/// A message as a reader found it.
struct Message {
    partition: i32,
    time: i64,
    key: Option<String>,
    headers: Vec<(String, String)>,
    body: Value,
}

/// How often events came once too often.
struct Outcome {
    missing: usize,
    twice: usize,
}

/// Checks what arrived, partition by partition in the order of each, against what was sent.
fn compare(arrived: &[Message], sent: &HashMap<String, Event>) -> Outcome {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut latest: HashMap<Option<&str>, (i32, u64)> = HashMap::new();
    for message in arrived {
        let (name, id) = &message.headers[0];
        assert_eq!(name, "id");
        let event = &sent[id];
        let subject = event.subject.as_ref().map(Subject::as_str);
        assert_eq!(message.key.as_deref(), subject);
        assert_eq!(message.time, event.time);
        assert_eq!(message.body, serde_json::to_value(event).unwrap());
        let expected = [
            ("id", &**id),
            ("type", event.kind.name()),
            ("severity", "high"),
            ("content-type", "application/json"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(message.headers, expected);
        let times = seen.entry(&event.id).or_default();
        *times += 1;
        if *times == 1 {
            let number = event.evidence.as_json()["number"].as_u64().unwrap();
            if let Some((partition, before)) = latest.insert(subject, (message.partition, number)) {
                assert_eq!(partition, message.partition, "{subject:?} is in one partition");
                assert!(before < number, "{subject:?}: {number} after {before}");
            }
        }
    }
    Outcome { missing: sent.len() - seen.len(), twice: arrived.len() - seen.len() }
}
