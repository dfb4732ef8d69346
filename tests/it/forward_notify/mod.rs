//! Notices on their way to channels: to Alertmanager and to a mail server as other people wrote them, and to fakes of
//! Slack, PagerDuty and webhooks that take nothing but what the real ones would.

mod alertmanager;
mod fake;
mod life;
mod mail;
mod services;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
};

use keyward::{
    clock,
    domain::{
        Millis,
        event::{Event, EventType, format_millis},
        finding::{AnomalyKind, Severity},
        place::PlaceSummary,
        subject::Subject,
    },
    forward::{SendError, Sink, SinkContext, SinkSettings},
    settings::SettingErrors,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::json;
use tempfile::NamedTempFile;

/// What nobody may say: the part of a URL, the password, the routing key.
const SECRET: &str = "T0K-s3cr3t-never-shown";

/// A file with a secret, as settings name it; it is there as long as this.
struct SecretFile(NamedTempFile);

impl SecretFile {
    fn new(text: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self(file)
    }

    fn setting(&self) -> String {
        format!("file:{}", self.0.path().display())
    }
}

/// The real time, and what a test adds to it.
#[derive(Clone, Default)]
struct Shifted(Arc<AtomicI64>);

impl Shifted {
    fn now(&self) -> Millis {
        clock::wall() + self.0.load(SeqCst)
    }

    fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, SeqCst);
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap())
}

fn context(store: Arc<dyn Store>, time: &Shifted, instance: &str) -> SinkContext {
    let time = time.clone();
    SinkContext {
        store,
        now: Arc::new(move || time.now()),
        log_event: Arc::new(|_| {}),
        instance: instance.to_owned(),
        log_changes: None,
        replace_key: None,
    }
}

/// The settings of a sink that may send to this machine.
fn settings(kind: &str, own: &str) -> Result<SinkSettings, SettingErrors> {
    let mut text = format!("name = \"people\"\ntype = \"{kind}\"\n");
    if !own.contains("allow_networks") {
        text.push_str("allow_networks = [\"127.0.0.0/8\"]\n");
    }
    let _ = write!(text, "{own}");
    SinkSettings::read(text.parse().unwrap())
}

/// A channel that is told events and time by the test.
struct Channel {
    sink: Box<dyn Sink>,
    time: Shifted,
}

impl Channel {
    fn open(kind: &str, own: &str) -> Self {
        let time = Shifted::default();
        let sink = settings(kind, own).unwrap().open(&context(memory(), &time, "one")).unwrap();
        Self { sink, time }
    }

    async fn take(&mut self, events: &[Event]) {
        let events: Vec<Event> =
            events.iter().map(|event| Event { time: self.time.now(), ..event.clone() }).collect();
        self.sink.send(&events).await.unwrap();
    }

    /// Whether something was told after so many seconds.
    async fn after(&mut self, seconds: i64) -> Result<bool, SendError> {
        self.time.pass(seconds);
        self.sink.tick(self.time.now()).await
    }

    /// How many messages are told by now.
    async fn told_after(&mut self, seconds: i64) -> usize {
        self.time.pass(seconds);
        let mut told = 0;
        while self.after(0).await.unwrap() {
            told += 1;
        }
        told
    }
}

fn event(kind: EventType, severity: Severity, key: &str) -> Event {
    let mut event = Event::new(clock::wall(), kind, severity, Some(Subject::key(key)));
    event.id = "0-7".to_owned();
    event.detector = Some("impossible_travel".to_owned());
    event.key_id = Some(key.to_owned());
    event.source_ip = Some("203.0.113.7".to_owned());
    event.place = Some(PlaceSummary {
        city: Some("Bucharest".to_owned()),
        country: Some("RO".to_owned()),
        ..PlaceSummary::default()
    });
    event
}

/// What a detector finds, and the ban of half an hour that it leads to.
fn incident(key: &str) -> [Event; 2] {
    let mut travel = event(EventType::Anomaly(AnomalyKind::ImpossibleTravel), Severity::High, key);
    travel.evidence = serde_json::from_value(
        json!({ "summary": "Used in Bucharest 4 min after Singapore, <b>8,900 km</b> away.\r\nBcc: x@y" }),
    )
    .unwrap();
    let mut ban = event(EventType::TemporaryBan, Severity::Critical, key);
    ban.evidence = serde_json::from_value(
        json!({ "until": format_millis(clock::wall() + 1_800_000), "project": "checkout" }),
    )
    .unwrap();
    ban.action = Some("temporary_ban".to_owned());
    [travel, ban]
}

fn expired(key: &str) -> Event {
    event(EventType::BanExpired, Severity::Low, key)
}
