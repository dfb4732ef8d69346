//! Events on their way into Splunk, Elasticsearch and OpenTelemetry, which are fakes that check the protocol: through
//! the real sender, over the embedded store in memory.

mod elasticsearch;
mod fake;
mod otlp;
mod splunk;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use keyward::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        place::PlaceSummary,
        subject::Subject,
    },
    forward::{Sender, SinkContext, SinkSettings, Status},
    store::{
        DeadLetter, Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

const START: Millis = 1_772_442_802_123;
/// Those about this key are what a fake does not take.
const POISON: &str = "poison";

/// A log with events, in their order: one for each name of a key.
struct Log {
    store: Arc<dyn Store>,
    events: Vec<Event>,
    ids: Vec<String>,
}

impl Log {
    async fn of(keys: &[&str]) -> Self {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let event = |(n, key): (usize, &&str)| {
            let time = START + n as Millis;
            let mut event =
                Event::new(time, EventType::TemporaryBan, Severity::Critical, Some(Subject::key(key)));
            event.key_id = Some((*key).to_owned());
            event.source_ip = Some("203.0.113.7".to_owned());
            event.place = Some(PlaceSummary {
                city: Some("Singapore".to_owned()),
                country: Some("SG".to_owned()),
                latitude: Some(1.35),
                ..PlaceSummary::default()
            });
            event.evidence =
                serde_json::from_value(json!({ "reason": "\"quoted\"\r\nand \u{2028} more", "n": n }))
                    .unwrap();
            event
        };
        let events: Vec<Event> = keys.iter().enumerate().map(event).collect();
        let events = store.append(&events).await.unwrap();
        let ids = events.iter().map(|event| event.id.clone()).collect();
        Self { store, events, ids }
    }

    /// So many, none of them bad.
    async fn good(count: usize) -> Self {
        Self::of(&vec!["k1"; count]).await
    }

    /// A sink for it.
    fn sink(&self, kind: &str, url: &str, own: &str) -> (SinkSettings, SinkContext) {
        let text = format!(
            "name = 'siem'\ntype = '{kind}'\nurl = '{url}'\nallow_networks = ['127.0.0.0/8']\n\
             start = 'beginning'\nmax_backoff_seconds = 1\n{own}"
        );
        let sink = SinkSettings::read(text.parse().unwrap()).unwrap();
        let context = SinkContext {
            store: self.store.clone(),
            now: Arc::new(|| START),
            log_event: Arc::new(|event| panic!("nothing is to be told: {event:?}")),
            instance: "node-1".to_owned(),
            log_changes: None,
            replace_key: None,
        };
        (sink, context)
    }

    /// Begins to forward it.
    fn forward(&self, kind: &str, url: &str, own: &str) -> Running {
        let (sink, context) = self.sink(kind, url, own);
        let opened = sink.open(&context).unwrap();
        let stop = CancellationToken::new();
        let status = Arc::new(Status::new(&sink.common().name, sink.common().kind));
        let sender = Sender::new(sink.common().clone(), opened, context, status.clone(), stop.clone());
        Running { store: self.store.clone(), status, stop, task: tokio::spawn(sender.run()) }
    }
}

/// A sender at work.
struct Running {
    store: Arc<dyn Store>,
    status: Arc<Status>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Whether everything in the log is done with.
    async fn is_done(&self) -> bool {
        let record = self.store.sink("siem").await.unwrap();
        record.and_then(|record| record.position) == Some(self.store.log_end().await.unwrap())
    }

    /// Waits until everything is done with, and ends. Returns what was parked.
    async fn finish(self) -> Vec<DeadLetter> {
        eventually("everything is done with", async || self.is_done().await).await;
        self.end().await
    }

    async fn end(self) -> Vec<DeadLetter> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.store.dead_letters("siem").await.unwrap()
    }

    /// Waits until it says why it does not go on.
    async fn complains(&self, of: &str) {
        let says = || self.status.show(START).error.unwrap_or_default();
        eventually(of, async || says().contains(of)).await;
        assert!(!self.is_done().await);
    }
}

/// What a fake holds: how often each event arrived.
#[derive(Default)]
struct Arrived(Mutex<BTreeMap<String, usize>>);

impl Arrived {
    fn take(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    fn holds(&self, id: &str) -> bool {
        self.0.lock().unwrap().contains_key(id)
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// All of them but the parked ones are there; says how many came once too often.
    fn all_but(&self, ids: &[String], parked: &[DeadLetter]) -> usize {
        let arrived = self.0.lock().unwrap();
        for id in ids {
            let is_parked = parked.iter().any(|letter| letter.event.id == *id);
            assert!(arrived.contains_key(id) != is_parked, "{id} is lost, or is parked though it arrived");
        }
        assert!(arrived.keys().all(|id| ids.contains(id)), "only what is in the log arrives");
        arrived.values().map(|times| times - 1).sum()
    }
}

/// A file with a secret in it, and how the configuration names it.
fn secret(text: &str) -> (NamedTempFile, String) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let named = format!("file:{}", file.path().display());
    (file, named)
}

/// Complains unless something holds.
fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
