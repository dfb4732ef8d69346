//! A day in use, over the in-memory store: what callers see of the engine as a whole.

mod alerts;
mod attribution;
mod estimates;
mod event_forms;
mod feedback;
mod flushing;
mod limit_rules;
mod limits;
mod observe;
mod operator_actions;
mod parts;
mod registry;
mod reports;
mod reservations;
mod settlements;
mod spend;
mod usage;

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    config::{DEFAULT_TOML, STRICT_TOML, default_policy},
    domain::{
        DAY, HOUR, MINUTE, SECOND,
        actor::Actor,
        decision::{Action, Decision, Reason},
        event::{EventType, Verdict},
        finding::AnomalyKind,
        policy::{Policy, Preset},
        record::Record,
        subject::Subject,
    },
    intake::{Intake, Peppers},
    pricing::flat_example,
    store::{
        EventQuery,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

/// Monday 2026-03-02, 09:00 UTC.
const NOW: Millis = 1_772_442_000_000;
const SINGAPORE: &str = "203.0.113.7";
const BUCHAREST: &str = "198.51.100.7";

/// A request of a key from an address, as the door reads it.
pub(super) fn record_of(key: &str, project: Option<&str>, address: &str) -> Record {
    let intake = Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), DAY);
    let body = json!({
        "key_id": key, "project_id": project, "endpoint": "/v1/chat/completions", "source_ip": address,
        "tokens_used": 10,
    });
    intake.record(serde_json::from_value(body).unwrap(), NOW).unwrap()
}

struct Day {
    engine: Arc<Engine>,
    intake: Intake,
    now: Millis,
}

impl Day {
    async fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = default_policy();
        change(&mut policy);
        Self::over(policy, Self::options()).await
    }

    fn options() -> EngineOptions {
        EngineOptions {
            deadline: Duration::from_secs(10),
            idempotency_capacity: 1000,
            retry_span: crate::domain::record::RETRY_SPAN,
            shares_store: false,
            profile_capacity: 1000,
            new_subjects_per_minute: 1000,
            new_subjects_per_minute_per_address: 1000,
            fold_seconds: 60,
            event_buffer: 1000,
            flushes: true,
            usage_series: 1000,
            usage_by_user: false,
            lease: LEASE,
            directory: None,
        }
    }

    /// With the default policy and such options.
    async fn set_up(change: impl FnOnce(&mut EngineOptions)) -> Self {
        let mut options = Self::options();
        change(&mut options);
        Self::over(default_policy(), options).await
    }

    async fn over(policy: Policy, options: EngineOptions) -> Self {
        let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let geo = Arc::new(Geo::open(&[], true).unwrap());
        let engine = Engine::start(store, geo, policy, options).await.unwrap();
        let intake = Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), DAY);
        Self { engine, intake, now: NOW }
    }

    async fn strict() -> Self {
        assert!(DEFAULT_TOML.contains("balanced") && STRICT_TOML.contains("strict"));
        Self::with(|policy| policy.preset = Preset::Strict).await
    }

    fn record(&self, fields: serde_json::Value) -> Record {
        let mut body = json!({
            "key_id": "a", "endpoint": "/v1/chat/completions", "source_ip": SINGAPORE, "tokens_used": 10,
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.intake.record(serde_json::from_value(body).unwrap(), self.now).unwrap()
    }

    async fn ask(&mut self, fields: serde_json::Value) -> Decision {
        let record = self.record(fields);
        self.engine.record(&[record], self.now).await.remove(0)
    }

    async fn used(&self, key: &str) -> u64 {
        let seen = self.engine.store().inspect(&Subject::key(key), self.now).await.unwrap();
        seen.map_or(0, |o| o.counts[0].tokens)
    }

    async fn events(&self, kind: EventType) -> Vec<Event> {
        let waiting = self.engine.shared.outbox.take(self.now + HOUR);
        self.engine.store().append(&waiting).await.unwrap();
        let query = EventQuery { kind: Some(kind), limit: 100, ..EventQuery::default() };
        self.engine.store().events(&query).await.unwrap().items
    }
}

#[tokio::test]
async fn a_quiet_request_goes_on_and_is_counted() {
    let mut day = Day::with(|_| ()).await;
    let decision = day.ask(json!({})).await;
    assert!(decision.allowed && decision.anomalies.is_empty());
    assert_eq!(decision.action, Action::None);
    assert_eq!(decision.limits[0].used, 10);
    assert_eq!(decision.limits[0].reset_seconds, 60);
    assert_eq!(day.used("a").await, 10);
}

#[tokio::test]
async fn strict_bans_an_impossible_traveller_at_once_for_thirty_minutes_and_counts_what_it_used() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += 30 * MINUTE;
    day.ask(json!({})).await;
    let decision = day.ask(json!({"source_ip": BUCHAREST})).await;
    assert_eq!((decision.allowed, decision.action), (false, Action::TemporaryBan));
    assert_eq!(decision.reason, Some(Reason::CriticalAnomalyDetected));
    assert_eq!(decision.retry_after_seconds(), Some(1800));
    assert_eq!(decision.limits[0].used, 20);
    let finding = &decision.anomalies[0];
    assert_eq!(finding.kind, AnomalyKind::ImpossibleTravel);
    assert_eq!(finding.evidence["previous"]["country"], "SG");
    assert_eq!(finding.evidence["current"]["city"], "Bucharest");
    assert!(finding.evidence["distance_km"].as_i64().unwrap() > 8_000);
    assert_eq!(day.used("a").await, 20);
    let again = day.ask(json!({})).await;
    assert_eq!(again.reason, Some(Reason::ApiKeyBanned));
    assert_eq!(day.events(EventType::TemporaryBan).await.len(), 1);
    assert_eq!(day.events(EventType::BannedRequestBlocked).await.len(), 1);
}

#[tokio::test]
async fn the_owner_is_not_banned_again_when_the_ban_is_over() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    assert!(!day.ask(json!({"source_ip": BUCHAREST})).await.allowed);
    day.now += 31 * MINUTE;
    assert!(day.ask(json!({})).await.allowed);
}

#[tokio::test]
async fn a_young_key_may_be_used_where_its_project_is() {
    let mut day = Day::with(|_| ()).await;
    for hour in 0..72 {
        day.now = NOW + hour * HOUR;
        day.ask(json!({"project_id": "p"})).await;
        day.ask(json!({"key_id": "stranger"})).await;
        day.ask(json!({"key_id": "colleague", "project_id": "p", "source_ip": BUCHAREST})).await;
    }
    day.now += MINUTE;
    let colleague = day.ask(json!({"project_id": "p", "source_ip": BUCHAREST})).await;
    assert_eq!(colleague.anomalies, []);
    let stranger = day.ask(json!({"key_id": "stranger", "source_ip": BUCHAREST})).await;
    assert_eq!(stranger.anomalies[0].kind, AnomalyKind::ImpossibleTravel);
}

#[tokio::test]
async fn an_allowed_pair_of_places_is_left_alone() {
    let mut day = Day::strict().await;
    day.engine
        .policy_changes()
        .write_allowlist("pair:SG~RO", json!({"reason": "two offices"}), &Actor::local(), day.now)
        .await
        .unwrap();
    day.ask(json!({})).await;
    assert!(day.ask(json!({"source_ip": BUCHAREST})).await.allowed);
}

#[tokio::test]
async fn balanced_alerts_while_it_learns() {
    let mut day = Day::with(|_| ()).await;
    day.ask(json!({})).await;
    let decision = day.ask(json!({"source_ip": BUCHAREST})).await;
    assert_eq!((decision.allowed, decision.action), (true, Action::Alert));
}

#[tokio::test]
async fn a_new_key_is_no_stranger_in_its_own_home() {
    let mut day = Day::with(|_| ()).await;
    for _ in 0..100 {
        day.now += SECOND;
        let decision = day.ask(json!({})).await;
        assert!(decision.anomalies.is_empty(), "{:?}", decision.anomalies);
    }
}

#[tokio::test]
async fn limits_count_tokens_and_refuse_with_a_true_time() {
    let mut day = Day::with(|policy| {
        policy.limits.tokens.insert("1min".to_owned(), 25);
    })
    .await;
    assert!(day.ask(json!({})).await.allowed && day.ask(json!({})).await.allowed);
    let refused = day.ask(json!({"admit": true})).await;
    assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
    assert_eq!(refused.action, Action::Throttle);
    assert_eq!(day.used("a").await, 20);
    day.now += refused.retry_after_seconds().unwrap() as Millis * 1000;
    assert!(day.ask(json!({"admit": true})).await.allowed);
    assert_eq!(day.events(EventType::RateLimitExceeded).await.len(), 1);
}

#[tokio::test]
async fn a_retry_is_counted_once_and_answered_alike() {
    let mut day = Day::with(|_| ()).await;
    let first = day.ask(json!({"request_id": "r-1"})).await;
    let second = day.ask(json!({"request_id": "r-1"})).await;
    assert_eq!(first.limits, second.limits);
    assert_eq!(day.used("a").await, 10);
    day.ask(json!({"request_id": "r-1", "tokens_used": 11})).await;
    assert_eq!(day.used("a").await, 21);
    let record = day.record(json!({"request_id": "r-2"}));
    day.engine.record(&[record.clone(), record], day.now).await;
    assert_eq!(day.used("a").await, 31);
}

#[tokio::test]
async fn a_ban_half_way_through_a_batch_takes_the_later_admissions_back_and_no_report() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    let batch = [json!({}), json!({"source_ip": BUCHAREST}), json!({"admit": true}), json!({})]
        .map(|f| day.record(f));
    let decisions = day.engine.record(&batch, day.now).await;
    assert_eq!(decisions.iter().map(|d| d.allowed).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(day.used("a").await, 40, "but the admission that was refused");
}

#[tokio::test]
async fn one_address_with_many_failing_unknown_keys_is_banned_and_a_known_key_is_not_counted() {
    let mut day = Day::with(|_| ()).await;
    let mut decision = day.ask(json!({"key_id": "known"})).await;
    for n in 0..10 {
        assert!(decision.allowed);
        day.ask(json!({"key_id": "known", "response_status": 401})).await;
        decision = day.ask(json!({"key_id": format!("guess-{n}"), "response_status": 401})).await;
    }
    assert_eq!(decision.reason, Some(Reason::CriticalAnomalyDetected));
    assert_eq!(decision.anomalies[0].kind, AnomalyKind::CredentialStuffing);
    assert_eq!(day.ask(json!({"key_id": "other"})).await.reason, Some(Reason::IpBanned));
    assert!(day.ask(json!({"key_id": "other", "source_ip": BUCHAREST})).await.allowed);
}

#[tokio::test]
async fn a_provider_outage_accuses_nobody() {
    let mut day = Day::with(|_| ()).await;
    for _ in 0..200 {
        day.now += 500;
        let decision = day.ask(json!({"response_status": 503})).await;
        assert!(decision.allowed && decision.anomalies.is_empty(), "{decision:?}");
    }
}

#[tokio::test]
async fn requests_that_keyward_refused_are_not_the_clients_failures() {
    let mut day = Day::with(|_| ()).await;
    for _ in 0..50 {
        let decision = day.ask(json!({"response_status": 403, "refused_by": "keyward"})).await;
        assert!(decision.anomalies.is_empty());
    }
    assert_eq!(day.used("a").await, 0);
}

#[tokio::test]
async fn an_old_record_is_late_and_charges_nothing() {
    let mut day = Day::with(|_| ()).await;
    let decision = day.ask(json!({"timestamp": "2026-02-01T00:00:00Z"})).await;
    assert!(decision.late && decision.allowed);
    assert_eq!(day.used("a").await, 0);
}

#[tokio::test]
async fn a_check_counts_nothing_and_refuses_what_would_not_fit() {
    let mut day = Day::with(|_| ()).await;
    let fits = day.record(json!({"tokens_used": 1_000_000}));
    assert!(day.engine.check(&fits, false, day.now).await.allowed);
    let too_large = day.record(json!({"tokens_used": 1_000_001}));
    let refused = day.engine.check(&too_large, false, day.now).await;
    assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
    assert_eq!(day.used("a").await, 0);
    assert_eq!(day.events(EventType::RateLimitExceeded).await.len(), 1);
    day.ask(json!({})).await;
}

#[tokio::test]
async fn shadow_is_found_and_not_acted_on_and_off_is_not_looked_for() {
    use crate::domain::finding::Mode;
    for (mode, found) in [(Mode::Shadow, 1), (Mode::Off, 0)] {
        let mut day = Day::with(|policy| {
            policy.preset = Preset::Strict;
            policy.detectors.impossible_travel.mode = mode;
        })
        .await;
        day.ask(json!({})).await;
        let decision = day.ask(json!({"source_ip": BUCHAREST})).await;
        assert!(decision.allowed);
        assert_eq!(decision.anomalies.len(), found);
    }
}

#[tokio::test]
async fn what_is_learned_reaches_the_store_and_flagged_requests_do_not() {
    let mut day = Day::strict().await;
    for _ in 0..5 {
        day.now += MINUTE;
        day.ask(json!({"model": "gpt-4.1", "user_agent": "openai-python/1.5"})).await;
    }
    day.ask(json!({"source_ip": BUCHAREST})).await;
    day.engine.decider.profiles.flush(day.engine.store(), day.now).await.unwrap();
    let profile = day.engine.store().profile(&Subject::key("a")).await.unwrap().unwrap();
    assert_eq!(profile.requests, 5);
    assert_eq!(profile.countries.len(), 1);
    assert_eq!(profile.clients.get("openai-python").unwrap().count, 5);
}

#[tokio::test]
async fn new_keys_are_capped_and_still_answered() {
    let mut day = Day::set_up(|options| options.new_subjects_per_minute = 5).await;
    for n in 0..20 {
        assert!(day.ask(json!({"key_id": format!("k{n}")})).await.allowed);
    }
    assert_eq!(day.used("k4").await, 10);
    assert_eq!(day.used("k5").await, 0);
    assert_eq!(day.events(EventType::CardinalityCapped).await.len(), 2);
}

#[tokio::test]
async fn a_key_that_the_cap_keeps_out_is_held_to_its_limits_all_the_same() {
    let mut day = Day::set_up(|options| options.new_subjects_per_minute = 0).await;
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += u64::from(day.ask(json!({"tokens_used": 400_000})).await.allowed);
    }
    assert_eq!(admitted, 2);
    assert_eq!(day.used("a").await, 0);
}

#[tokio::test]
async fn an_address_stands_as_the_banned_prefix_around_it() {
    let day = Day::with(|_| ()).await;
    let prefix = Subject::parse("ip:203.0.113.0/24").unwrap();
    day.engine.bans().ban(&prefix, None, "a bad neighbourhood", &Actor::local(), day.now).await.unwrap();
    let inside = day.engine.standings().of(&Subject::parse("ip:203.0.113.9").unwrap()).await.unwrap();
    assert!(inside.standing.is_banned_at(day.now));
    assert_eq!(inside.detail.reason, "a bad neighbourhood (by ip:203.0.113.0/24)");
    let outside = day.engine.standings().of(&Subject::parse("ip:203.0.112.9").unwrap()).await.unwrap();
    assert!(!outside.standing.is_banned_at(day.now));
}

#[tokio::test]
async fn what_can_never_fit_is_promised_no_time() {
    let mut day = Day::with(|_| ()).await;
    let refused = day.ask(json!({"tokens_used": 1_000_001})).await;
    assert_eq!((refused.reason, refused.retry_at), (Some(Reason::RateLimitExceeded), None));
}
