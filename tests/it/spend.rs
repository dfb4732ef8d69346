//! A key that spends far more than it ever did, watched by two instances on one Redis.

use std::sync::Arc;

use keyward::{
    config::{Config, DEFAULT_TOML},
    domain::{
        DAY, HOUR, MINUTE, Millis,
        event::{Event, EventType, EvidenceAmount, SpendAnomaly},
        finding::Severity,
        subject::Subject,
        usage::{Bucket, Totals, UsageBatch, UsageDelta, UsageKey},
        window::Unit,
    },
    engine::Base,
    store::{EventQuery, Store},
};

use crate::{
    redis_server::{self, namespace},
    support::*,
};

fn used(key: &str, minute: Millis, dollars: u64) -> UsageDelta {
    let totals =
        Totals { requests: 1, tokens: dollars, cost_nanos: dollars * 1_000_000_000, ..Totals::default() };
    UsageDelta {
        minute,
        key: UsageKey { key: Some(key.into()), ..UsageKey::default() },
        measured: totals.into(),
    }
}

/// How often days are judged by default.
const INTERVAL: Millis = 5 * MINUTE;

/// Two weeks of a hundred dollars a day, and a thousand in each of the last three intervals and in the
/// present one, which may end meanwhile; the check before told it.
async fn books(store: &Arc<dyn Store>, key: &str, now: Millis) {
    let last = now - now % INTERVAL;
    let first = Bucket::Day.start(last - 3 * INTERVAL);
    let usual = (1..=14).map(|days| used(key, first - days * DAY + 12 * HOUR, 100));
    let deltas = usual.chain((0..=3).map(|back| used(key, last - back * INTERVAL, 1_000))).collect();
    store.add_usage(&UsageBatch { instance: "books".into(), seq: 1, now, deltas }).await.unwrap();
    let dollars = |dollars: u64| EvidenceAmount::of(Unit::CostUsd, dollars * 1_000_000_000);
    let told = SpendAnomaly {
        summary: "Spent $1000, usually $100 a day.".to_owned(),
        day: Bucket::Day.start(last - INTERVAL - 1),
        checked_at: last - INTERVAL,
        interval_seconds: None,
        unit: Unit::CostUsd,
        observed: dollars(1_000),
        baseline: dollars(100),
        threshold: dollars(300),
        samples: 7,
        yesterday: None,
        signs: Vec::new(),
    };
    let subject = Some(Subject::key(key));
    let event = Event::new(last - INTERVAL + 10_000, EventType::SpendAnomaly, Severity::Critical, subject);
    store.append(&[event.with(&told)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_stays_critical_is_cut_off_once_by_two_instances_on_redis() {
    let (url, namespace) = (redis_server::shared().url(), namespace());
    let config: Config = toml::from_str(DEFAULT_TOML).unwrap();
    let (first, second) = (redis(&url, &namespace).await, redis(&url, &namespace).await);
    let now = keyward::clock::Clock::default().now();
    books(&first, "k1:thief", now).await;
    let base = Base { has_emergency_hook: true, ..Base::from(&config) };
    let instances = [
        Instance::start(first.clone(), base.clone(), options()).await,
        Instance::start(second, base, options()).await,
    ];
    let subject = Subject::key("k1:thief");
    let events = async |kind| {
        let query = EventQuery {
            kind: Some(kind),
            subject: Some(subject.clone()),
            limit: 10,
            ..EventQuery::default()
        };
        first.events(&query).await.unwrap().items
    };
    eventually("the key is refused everywhere", async || {
        let banned = |instance: &Instance| {
            instance.engine.standings().known_ban(&subject, instance.engine.now()).is_some()
        };
        instances.iter().all(banned)
    })
    .await;
    for instance in instances {
        assert!(!instance.ask("k1:thief").await.allowed && instance.ask("k1:owner").await.allowed);
        instance.shut_down().await;
    }
    for kind in [EventType::KeyCutOff, EventType::PermanentBan] {
        assert_eq!(events(kind).await.len(), 1, "{kind}");
    }
    let told = events(EventType::SpendAnomaly).await;
    let mut days: Vec<_> =
        told.iter().map(|event| event.evidence.as_json()["day"].as_str().unwrap()).collect();
    days.dedup();
    assert_eq!(days.len(), told.len(), "each day once: {told:?}");
    let cut = &events(EventType::KeyCutOff).await[0];
    assert_eq!(cut.evidence.as_json()["checks"].as_array().unwrap().len(), 3);
}
