//! The way of events to a webhook, over real HTTP: what the wire must look like, what becomes of events when the other
//! side misbehaves, and when whoever sends is killed.

mod killed;
mod receiver;
mod troubled;
mod wire;

use std::{collections::HashMap, sync::Arc};

use keyward::{
    clock,
    domain::{
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::{Forwarder, SinkContext, SinkSettings},
    store::Store,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Events about a few subjects, each numbered within its subject.
fn events(count: usize) -> Vec<Event> {
    let event = |n: usize| {
        let mut event = Event::new(
            clock::wall(),
            EventType::TemporaryBan,
            Severity::High,
            Some(Subject::key(&format!("k{}", n % 7))),
        );
        event.evidence = serde_json::from_value(
            serde_json::json!({ "number": n / 7, "summary": "line\nbreak \u{2028} <&> \"quoted\"" }),
        )
        .unwrap();
        event
    };
    (0..count).map(event).collect()
}

/// Nothing is missing, and the first time that each event came is in order for its subject. Says how many came twice.
fn whole(got: &[Event], count: usize) -> usize {
    let mut next: HashMap<String, u64> = HashMap::new();
    let mut twice = 0;
    for event in got.iter().filter(|event| event.kind == EventType::TemporaryBan) {
        let subject = event.subject.as_ref().unwrap().as_str().to_owned();
        let number = event.evidence.as_json()["number"].as_u64().unwrap();
        let expected = next.entry(subject.clone()).or_default();
        assert!(number <= *expected, "{subject}: {number} came before {expected}");
        if number == *expected {
            *expected += 1;
        } else {
            twice += 1;
        }
    }
    assert_eq!(next.values().sum::<u64>(), count as u64, "some are missing");
    twice
}

/// What of the sink's settings is not about this test.
fn webhook(url: &str, more: &str) -> SinkSettings {
    let text = format!(
        "name = \"siem\"\ntype = \"webhook\"\nurl = \"{url}\"\nstart = \"beginning\"\n\
         allow_networks = [\"127.0.0.0/8\"]\n{more}"
    );
    SinkSettings::read(text.parse().unwrap()).unwrap()
}

/// One that asks for keys to be rotated.
fn emergency_hook(url: &str, secret: &std::path::Path) -> SinkSettings {
    let text = format!(
        "name = \"rotate\"\ntype = \"emergency_hook\"\nurl = \"{url}\"\n\
         start = \"beginning\"\ntypes = [\"KEY_CUT_OFF\"]\n\
         allow_networks = [\"127.0.0.0/8\"]\nrequest = \"rotate\"\nsecret = \"file:{}\"",
        secret.display()
    );
    SinkSettings::read(text.parse().unwrap()).unwrap()
}

/// Forwards from a store until it is stopped.
struct Forwarding {
    forwarder: Forwarder,
    stop: CancellationToken,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Forwarding {
    fn start(store: Arc<dyn Store>, sinks: &[SinkSettings]) -> Self {
        let told = Arc::<Mutex<Vec<Event>>>::default();
        let log = told.clone();
        let context = SinkContext {
            store,
            now: Arc::new(clock::wall),
            log_event: Arc::new(move |event| log.lock().push(event)),
            instance: "one".to_owned(),
            log_changes: None,
            replace_key: None,
        };
        let stop = CancellationToken::new();
        let forwarder = Forwarder::start(sinks, &context, &stop).unwrap();
        Self { forwarder, stop, told }
    }

    async fn finish(self) -> Vec<Event> {
        self.stop.cancel();
        self.forwarder.finish().await;
        let told = self.told.lock();
        told.clone()
    }
}
