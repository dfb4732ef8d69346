//! Events from the log to Kafka: nothing missing, nothing changed, in order per subject. To brokers that other people wrote
//! (librdkafka's mock cluster, read with kcat), and to a fake that does whatever a cluster may do.

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
    forward::{Sender, SinkSettings, Status, Surroundings},
    store::{
        DeadLetter, LogPosition, Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::within;

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

fn surroundings(store: Arc<dyn Store>) -> Surroundings {
    Surroundings {
        store,
        now: Arc::new(keyward::clock::wall),
        tell: Arc::new(|event| panic!("{event:?}")),
        news: None,
        instance: "i-1".to_owned(),
    }
}

/// A log, and the sender that empties it.
struct Run {
    store: Arc<EmbeddedStore>,
    events: HashMap<String, Event>,
    stop: CancellationToken,
    status: Arc<Status>,
    sender: JoinHandle<()>,
}

impl Run {
    fn start(own: &str) -> Self {
        let settings = sink(own);
        let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let around = surroundings(store.clone());
        let outlet = settings.open(&around).unwrap();
        let stop = CancellationToken::new();
        let status = Arc::new(Status::new(&settings.common().name, settings.common().kind));
        let sender = Sender::new(settings.common().clone(), outlet, around, status.clone(), stop.clone());
        Self { store, events: HashMap::new(), stop, status, sender: tokio::spawn(sender.run()) }
    }

    /// Puts so many more into the log.
    async fn append(&mut self, count: usize) {
        let first = self.events.len();
        self.append_these((first..first + count).map(event).collect()).await;
    }

    async fn append_these(&mut self, events: Vec<Event>) -> Vec<String> {
        let made = self.store.append(&events).await.unwrap();
        let ids = made.iter().map(|event| event.id.clone()).collect();
        self.events.extend(made.into_iter().map(|event| (event.id.clone(), event)));
        ids
    }

    /// Waits until the sender is done with everything.
    async fn all_sent(&self) {
        let end = self.store.log_end().await.unwrap();
        let done = async || self.cursor().await.as_ref() == Some(&end);
        let took = within(LONG, "the cursor is at the end", done).await;
        println!("{} events: the rest in {took:?}", self.events.len());
    }

    async fn cursor(&self) -> Option<LogPosition> {
        self.store.sink("siem").await.unwrap().and_then(|sink| sink.position)
    }

    fn error(&self) -> String {
        self.status.show(0).error.unwrap_or_default()
    }

    /// Waits until it says why it does not go on.
    async fn complains(&self, of: &str) {
        let says = async || self.error().contains(of);
        let complaint = tokio::time::timeout(LONG, async { within(LONG, of, says).await }).await;
        complaint.unwrap_or_else(|_| panic!("{of}: {}", self.error()));
    }

    /// What was sent, and what was put aside.
    async fn finish(self) -> (HashMap<String, Event>, Vec<DeadLetter>) {
        self.stop.cancel();
        self.sender.await.unwrap();
        (self.events, self.store.dead_letters("siem").await.unwrap())
    }
}

/// The event with this number; one in fifty is about the service itself.
fn event(number: usize) -> Event {
    let subject = (!number.is_multiple_of(50)).then(|| Subject::key(&format!("key-{}", number % SUBJECTS)));
    let kind = if number.is_multiple_of(2) { EventType::TemporaryBan } else { EventType::RateLimitExceeded };
    let mut event = Event::new(1_772_442_800_000 + number as i64, kind, Severity::High, subject);
    event.key_id = Some(format!("k\"]\\=é {number}"));
    event.evidence = json!({"number": number, "summary": "50 % ] \" \\ é\u{2028}\n%s ".repeat(number % 9)});
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
            let number = event.evidence["number"].as_u64().unwrap();
            if let Some((partition, before)) = latest.insert(subject, (message.partition, number)) {
                assert_eq!(partition, message.partition, "{subject:?} is in one partition");
                assert!(before < number, "{subject:?}: {number} after {before}");
            }
        }
    }
    Outcome { missing: sent.len() - seen.len(), twice: arrived.len() - seen.len() }
}
