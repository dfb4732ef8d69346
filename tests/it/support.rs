//! Instances of the service in the process: engines over one store, with their upkeep, and records to ask them about.

use std::{sync::Arc, time::Duration};

use keyward::{
    clock,
    config::{Config, DEFAULT_TOML},
    domain::{
        DAY, Millis,
        actor::Actor,
        decision::Decision,
        event::{Event, EventType},
        finding::Mode,
        policy::{Policy, Preset},
        record::Record,
        subject::Subject,
    },
    engine::{Base, Engine, EngineOptions, LEASE, Stopped},
    geo::Geo,
    intake::{Intake, Peppers, WireRecord, parse},
    pricing::Prices,
    store::{
        EventQuery, Store,
        redis::{RedisOptions, RedisStore},
    },
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::redis_server::Server;

/// How long anything may take to come true, on a machine that compiles meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Documentation addresses that the demo database puts far apart.
pub(crate) const SINGAPORE: &str = "203.0.113.7";
pub(crate) const BUCHAREST: &str = "198.51.100.7";

/// The default policy.
pub(crate) fn policy() -> Policy {
    toml::from_str::<Config>(DEFAULT_TOML).unwrap().policy
}

/// The strict preset: a far move bans at once.
pub(crate) fn strict() -> Policy {
    Policy { preset: Preset::Strict, ..policy() }
}

/// No detector, and one limit alone: tokens per minute.
pub(crate) fn limits_alone(tokens_per_minute: u64) -> Policy {
    let mut policy = policy();
    let detectors = &mut policy.detectors;
    detectors.impossible_travel.mode = Mode::Off;
    detectors.concurrent_locations.mode = Mode::Off;
    detectors.traffic_burst.mode = Mode::Off;
    detectors.request_size.mode = Mode::Off;
    detectors.failure_rate.mode = Mode::Off;
    detectors.credential_stuffing.mode = Mode::Off;
    policy.limits.tokens = [("1min".to_owned(), tokens_per_minute)].into();
    policy
}

/// Engine settings for tests; `deadline` as in production where a test says so.
pub(crate) fn options() -> EngineOptions {
    EngineOptions {
        deadline: Duration::from_secs(10),
        idempotency_capacity: 1_000,
        retry_span: keyward::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 1_000,
        new_subjects_per_minute: 6_000,
        new_subjects_per_minute_per_address: 6_000,
        fold_seconds: 60,
        event_buffer: 1_000,
        flushes: true,
        usage_series: 10_000,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    }
}

/// The deadline that the service has by default.
pub(crate) fn with_production_deadline() -> EngineOptions {
    EngineOptions { deadline: Duration::from_millis(50), ..options() }
}

/// A connection of its own to a keyspace.
pub(crate) async fn redis(url: &str, namespace: &str) -> Arc<dyn Store> {
    let options = RedisOptions { namespace: namespace.to_owned(), partitions: 4, ..RedisOptions::default() };
    Arc::new(RedisStore::connect(url, options).await.unwrap())
}

/// One instance of the service.
pub(crate) struct Instance {
    pub engine: Arc<Engine>,
    intake: Intake,
    upkeep: JoinHandle<Stopped>,
    stop: DropGuard,
}

impl Instance {
    /// An engine with its upkeep running.
    pub(crate) async fn start(store: Arc<dyn Store>, base: impl Into<Base>, options: EngineOptions) -> Self {
        let geo = Arc::new(Geo::open(&[], true).unwrap());
        let engine = Engine::start(store, geo, base, options).await.unwrap();
        let stop = CancellationToken::new();
        let upkeep = tokio::spawn(engine.clone().upkeep(stop.clone()));
        let intake = intake(DAY);
        Self { engine, intake, upkeep, stop: stop.drop_guard() }
    }

    /// Ends the upkeep, which writes what is left.
    pub(crate) async fn shut_down(self) {
        drop(self.stop);
        self.upkeep.await.unwrap();
    }

    /// An instance over the keyspace `kw` of a server, with a connection of its own.
    pub(crate) async fn on(server: &Server, policy: Policy, options: EngineOptions) -> Self {
        Self::start(redis(&server.url(), "kw").await, policy, options).await
    }

    /// Two of them.
    pub(crate) async fn pair(server: &Server, policy: Policy, options: EngineOptions) -> [Self; 2] {
        [Self::on(server, policy.clone(), options.clone()).await, Self::on(server, policy, options).await]
    }

    /// A record of `key` with other fields on top.
    pub(crate) fn record(&self, key: &str, fields: serde_json::Value) -> Record {
        record(&self.intake, key, fields, self.engine.now())
    }

    /// Reports one request of ten tokens and returns the decision.
    pub(crate) async fn ask(&self, key: &str) -> Decision {
        self.ask_with(key, json!({})).await
    }

    /// The same with other fields on top.
    pub(crate) async fn ask_with(&self, key: &str, fields: serde_json::Value) -> Decision {
        let record = self.record(key, fields);
        self.engine.record(&[record], self.engine.now()).await.remove(0)
    }

    /// Bans for good by an operator's word, which must be acknowledged.
    pub(crate) async fn ban(&self, subject: &Subject) {
        self.engine.bans().ban(subject, None, "leaked", &Actor::local(), self.engine.now()).await.unwrap();
    }

    /// Whether this instance answers from its own memory that the subject is banned.
    pub(crate) fn holds(&self, subject: &Subject) -> bool {
        self.engine.standings().known_ban(subject, self.engine.now()).is_some()
    }

    /// Whether an operator is told that a ban could not be written.
    pub(crate) async fn ban_is_refused(&self) -> bool {
        self.engine
            .bans()
            .ban(&Subject::key("refused"), None, "leaked", &Actor::local(), self.engine.now())
            .await
            .is_err()
    }

    /// Waits until the store answers this instance.
    pub(crate) async fn healed(&self) {
        eventually("the instance heals by itself", async || self.engine.health().degraded_since.is_none())
            .await;
    }

    /// Events of one type, newest first; none while the store does not answer.
    pub(crate) async fn events(&self, kind: EventType) -> Vec<Event> {
        let query = EventQuery { kind: Some(kind), limit: 100, ..EventQuery::default() };
        self.engine.store().events(&query).await.map_or_else(|_| Vec::new(), |page| page.items)
    }

    /// Waits until an event of this type is in the log.
    pub(crate) async fn logged(&self, kind: EventType) -> Event {
        eventually("the event is in the log", async || !self.events(kind).await.is_empty()).await;
        self.events(kind).await.remove(0)
    }
}

/// The door of every instance here: timestamps this far from now are taken.
pub(crate) fn intake(max_skew: Millis) -> Intake {
    let prices = Arc::new(Prices::open(None).unwrap());
    Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), prices, max_skew)
}

/// A record of ten tokens by `key` from Singapore, with other fields on top.
pub(crate) fn record(intake: &Intake, key: &str, fields: serde_json::Value, now: Millis) -> Record {
    let mut body = json!({"key_id": key, "endpoint": "/v1/chat", "source_ip": SINGAPORE, "tokens_used": 10});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let wire: WireRecord = parse(&serde_json::to_vec(&body).unwrap()).unwrap();
    intake.record(wire, now).unwrap()
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    within(PATIENCE, what, holds).await;
}

/// Waits until something holds, which must be so in time; says how long it took.
pub(crate) async fn within(limit: Duration, what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let started = clock::instant();
    let mut polls = clock::ticks(Duration::from_millis(10));
    while !holds().await {
        assert!(started.elapsed() < limit, "not so within {limit:?}: {what}");
        polls.tick().await;
    }
    started.elapsed()
}
