//! The wire form of every event that the engine makes.

use super::*;
use crate::{
    domain::{
        alert::{Alert, AlertRule, AlertState, Bar, Fired, Metric, Operator, Watched},
        decision::{LimitStatus, Would},
        event::{ClockSource, JumpStage, golden::check},
        finding::{Finding, Mode, Severity},
        limit::{LimitMode, Span},
        registry::{Entry, KeyEntry, NotAllowed, Project},
        spend::{Amount, CheckInterval, Judgement, Sign},
        standing::{Origin, Standing, StandingState},
        window::Unit,
    },
    engine::{
        decide::{frame::Frame, stages::Purpose},
        events, service_events,
    },
    store::{DeadLetterAct, DocumentKind},
};

/// What events about one request are made of.
struct Request {
    record: Record,
    place: Option<Arc<crate::domain::place::Place>>,
    policy: Arc<ActivePolicy>,
}

impl Request {
    async fn new() -> Self {
        let day = Day::with(|_| ()).await;
        let record = day.record(json!({
            "request_id": "r-1", "key_id": "k1:9f2c", "project_id": "shop", "model": "gpt-4.1", "cost_usd": 0.5,
        }));
        let (place, policy) = (day.engine.geo.lookup(record.source_ip), day.engine.policy());
        Self { record, place, policy }
    }

    fn frame(&self) -> Frame<'_> {
        Frame::new(&self.record, self.place.as_deref(), &self.policy, Purpose::Record, NOW)
    }
}

fn finding() -> Finding {
    Finding {
        kind: AnomalyKind::ImpossibleTravel,
        severity: Severity::Critical,
        score: 0.998,
        mode: Mode::Enforce,
        recommendation: "Ask the key's owner whether they use this place.".to_owned(),
        evidence: crate::detect::Evidence::new(
            "Too far in too short a time.".to_owned(),
            18528.25,
            0.0,
            1000.0,
            42,
        )
        .with("previous", json!({ "city": "Singapore", "latitude": 1.2897, "longitude": 103.8501 }))
        .with("new", ["country", "network"])
        .into_json(),
        accused: Default::default(),
        about: Default::default(),
    }
}

fn banned(until: Option<Millis>) -> Standing {
    let state =
        if until.is_some() { StandingState::TemporarilyBanned } else { StandingState::PermanentlyBanned };
    Standing { state, since: NOW, until, strikes: 1.23456, ..Standing::default() }
}

#[tokio::test]
async fn findings_and_what_the_ladder_does_are_written_as_their_golden_files_say() {
    let request = Request::new().await;
    let (frame, key, found) = (request.frame(), &request.record.key, finding());
    check("", &frame.anomaly(&found, key, Action::TemporaryBan));
    check("", &frame.high_severity(&found, key, Action::TemporaryBan));
    let hour = Some(NOW + HOUR);
    let throttled = Standing { state: StandingState::Throttled, ..banned(hour) };
    for (kind, standing) in [
        (EventType::Throttled, throttled),
        (EventType::TemporaryBan, banned(hour)),
        (EventType::PermanentBan, banned(None)),
    ] {
        check("", &frame.response(kind, key, &standing, &found));
    }
    check("", &frame.spared(&request.record.address, &banned(hour)));
    check("", &frame.blocked(key, &banned(hour)));
    let by_operator = Standing { origin: Origin::Operator, ..banned(None) };
    check("for_good", &frame.blocked(key, &by_operator));
}

#[tokio::test]
async fn refusals_and_notices_about_a_request_are_written_as_their_golden_files_say() {
    let request = Request::new().await;
    let frame = request.frame();
    let limit = |unit, limit, used| LimitStatus {
        scope: Some("project".into()),
        model: None,
        window: Span::Sliding(MINUTE),
        unit,
        limit,
        used,
        reset_seconds: 60,
        mode: LimitMode::Enforce,
        block_seconds: None,
    };
    let ruled = Would::refuse(Action::Throttle, Reason::RateLimitExceeded, None, NOW);
    check("", &frame.limited(&limit(Unit::Requests, 600, 600), ruled));
    let dollars =
        LimitStatus { model: Some("gpt-*".into()), ..limit(Unit::CostUsd, 10_000_000_000, 9_500_000_000) };
    check("dollars", &frame.limited(&dollars, ruled));
    let shadow = LimitStatus { mode: LimitMode::Shadow, ..limit(Unit::Requests, 600, 601) };
    let block = LimitStatus { block_seconds: Some(60), ..limit(Unit::Tokens, 600, 20) };
    check("block", &frame.limited(&block, ruled));
    check("shadow", &frame.shadowed(&shadow, ruled));
    check("", &frame.not_allowed(NotAllowed::UnknownKey));
    check("", &frame.not_allowed(NotAllowed::Model));
    check("", &frame.mismatch(Some(&Subject::project("mail"))));
    check("", &frame.capped());
}

#[tokio::test]
async fn the_use_of_a_budget_and_of_a_limit_is_written_as_the_golden_files_say() {
    let mut day = Day::with(|_| ()).await;
    let tokens = json!({ "unit": "input_tokens", "window": "1hour", "limit": 2000, "model": "gpt-*" });
    let mut limits = json!([tokens]);
    limits[0]["alert_at"] = json!([90]);
    let project: Project = serde_json::from_value(json!({ "budget_usd": "10", "limits": limits })).unwrap();
    let entry = Entry::Project(project.checked().unwrap());
    day.engine.registry_changes().put("shop", &entry, &Actor::local(), day.now).await.unwrap();
    let (key, project) = ("k1:9f2c", "shop");
    day.ask(json!({ "request_id": "r-1", "key_id": key, "project_id": project, "cost_usd": 8.25 })).await;
    let used = day.events(EventType::BudgetUsed).await;
    check("", used.iter().max_by_key(|event| event.severity).unwrap());
    let tokens = json!({
        "request_id": "r-1", "key_id": key, "project_id": project, "model": "gpt-4.1", "prompt_tokens": 1900,
        "completion_tokens": 0, "tokens_used": 1900,
    });
    day.ask(tokens).await;
    check("", &day.events(EventType::LimitUsed).await[0]);
}

#[test]
fn alert_rules_are_written_as_their_golden_files_say() {
    let rule = |scope, bar| AlertRule {
        name: None,
        window: None,
        metric: Metric::CostPerHour,
        operator: Operator::Gt,
        bar,
        scope,
        severity: Severity::High,
        minimum_requests: 0,
    };
    let threshold = Bar::Threshold(serde_json::from_value(json!("0.5")).unwrap());
    let times = Bar::TimesBaseline(serde_json::from_value(json!(3)).unwrap());
    let fired = |baseline| Fired { observed: "0.75".to_owned(), threshold: "0.5".to_owned(), baseline };
    let project = rule(Watched::Project, threshold.clone());
    check("", &events::alert(&project, Some("shop"), &fired(None), NOW, NOW + MINUTE));
    let model = rule(Watched::Model, times);
    let baseline = Some(("0.25".to_owned(), 4));
    check("baseline", &events::alert(&model, Some("gpt-4.1"), &fired(baseline), NOW, NOW + MINUTE));
    let everything = rule(Watched::Everything, threshold.clone());
    check("everything", &events::alert(&everything, None, &fired(None), NOW, NOW + MINUTE));
    let cleared = Alert {
        state: AlertState::Cleared,
        since: NOW,
        observed: "0.75".to_owned(),
        threshold: "0.5".to_owned(),
        holds_until: NOW,
    };
    let named = AlertRule {
        name: Some("shop is dear".to_owned()),
        window: Some("5min".to_owned().try_into().unwrap()),
        metric: Metric::Cost,
        ..project
    };
    check("cleared", &events::alert_cleared(&named, Some("shop"), &cleared, NOW + MINUTE));
    check("crowd", &events::crowd(&rule(Watched::Key, threshold), 1_000, NOW, NOW + MINUTE));
}

#[test]
fn what_keys_spend_is_written_as_its_golden_files_say() {
    let key = Subject::key("k1:9f2c");
    let sign = |name, observed| Sign { name, amount: Amount::Cost, observed, limit: 2_500 };
    let found = |amount| Judgement {
        amount,
        observed: 390_000_000_000,
        mean: 100_000_000_000,
        threshold: 300_000_000_000,
        days: 7,
        yesterday: Some(90_000_000_000),
        signs: vec![sign("z", None), sign("times_mean", Some(3_900))],
    };
    let cost = found(Amount::Cost);
    let five = CheckInterval::of_minutes(5).unwrap();
    check("", &events::spend_anomaly(&key, &cost, NOW - 9 * HOUR, (NOW, five), "p", NOW + MINUTE));
    let tokens = Judgement { yesterday: None, ..found(Amount::Tokens) };
    check("tokens", &events::spend_anomaly(&key, &tokens, NOW - 9 * HOUR, (NOW, five), "p", NOW + MINUTE));
    let checks = [(NOW, 390_000_000_000), (NOW - 5 * MINUTE, 380_000_000_000)];
    let cut = events::key_cut_off(&key, &cost, (NOW - 9 * HOUR, five, &checks), None, "p", NOW + MINUTE);
    check("", &cut);
    check("in_theory", &events::cut_off_in_theory(cut.clone(), NOW + MINUTE));
    check("cut_off", &events::banned_by_spend(&cut, &banned(None)));
    let spared = Some("shadow");
    let cut = events::key_cut_off(&key, &cost, (NOW - 9 * HOUR, five, &checks), spared, "p", NOW + MINUTE);
    check("shadow", &cut);
}

#[test]
fn what_the_service_says_of_itself_is_written_as_its_golden_files_say() {
    check("", &events::degraded("the store is unavailable: no answer within the deadline", NOW));
    check("", &events::recovered(NOW, 7, NOW + 41 * SECOND));
    let clock = |clock, stage| service_events::clock_jumped(clock, 7_200_000, stage, NOW);
    check("", &clock(ClockSource::Store, JumpStage::Held));
    check("over", &clock(ClockSource::Store, JumpStage::Over));
    check("followed", &clock(ClockSource::Machine, JumpStage::Followed));
    check("", &service_events::data_missing("The database lacks 24 of 300 bans.".to_owned(), Some(24), NOW));
    check("", &service_events::answers_degraded(31, 1_204, NOW));
    let error = "the store refuses to write: no permissions".to_owned();
    check("", &service_events::upkeep_failed(error, NOW, NOW + 10 * SECOND));
    let changed = ["auth.tokens", "policy.ladder.grace_seconds"].map(str::to_owned).to_vec();
    check("", &service_events::settings_reloaded(changed, vec!["server.listen".to_owned()], NOW));
    let mistake =
        "keyward.toml, line 9: `policy.preset` must be one of balanced, strict, not \"stritc\"".to_owned();
    check("", &service_events::reload_failed(vec![mistake], NOW));
    check("restored", &events::restored(DocumentKind::Plan, "free", NOW));
    let outbox = super::super::outbox::EventOutbox::new(0, 1);
    for _ in 0..3 {
        outbox.push(events::degraded("gone", NOW));
    }
    check("", &outbox.take(NOW)[1]);
    let ids = ["e0-1-0".to_owned(), "e0-2-0".to_owned()];
    let by = Actor::token("ops");
    check("", &events::dead_letters("siem", DeadLetterAct::Redeliver, (&ids, 2), &by, NOW));
    check("discard", &events::dead_letters("siem", DeadLetterAct::Discard, (&ids, 2), &by, NOW));
}

#[tokio::test]
async fn what_people_do_is_written_as_its_golden_files_say() {
    let mut day = Day::strict().await;
    day.ask(json!({"request_id": "r-1"})).await;
    day.now += 30 * MINUTE;
    day.ask(json!({"request_id": "r-2", "source_ip": BUCHAREST})).await;
    let travel = day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    let (engine, by, now) = (&day.engine, Actor::token("ops"), day.now);
    engine.feedback().give(&travel.id, Verdict::Benign, "their VPN", &by, now).await.unwrap();
    let mut given = day.events(EventType::FeedbackGiven).await.remove(0);
    let lifted = day.events(EventType::BanLifted).await.remove(0);
    for (event, names) in [(&mut given, ["event", "judged"].as_slice()), (&mut lifted.clone(), &["event"])] {
        // Ids are new with each run.
        for name in names {
            assert!(!event.evidence[name].is_null());
        }
    }
    let known = |mut event: Event| {
        event.evidence["event"] = "e0-1".into();
        if let Some(judged) = event.evidence.get_mut("judged") {
            (judged["id"], judged["policy_version"]) = ("e0-1".into(), "p-1".into());
        }
        event
    };
    check("", &known(given));
    check("benign", &known(lifted));
    let key = Subject::key("k1:9f2c");
    engine.bans().ban(&key, Some(HOUR), "leaked", &by, now).await.unwrap();
    check("operator", &day.events(EventType::TemporaryBan).await[0]);
    engine.bans().lift(&key, "found", &by, now).await.unwrap();
    check("", &day.events(EventType::BanLifted).await[0]);
    engine.bans().ban(&key, None, "leaked", &by, now).await.unwrap();
    check("operator", &day.events(EventType::PermanentBan).await[0]);
    engine.subjects().forget(&key, "asked for by its owner", &by, now).await.unwrap();
    check("", &day.events(EventType::SubjectForgotten).await[0]);
}

#[tokio::test]
async fn changes_of_policy_allowlist_and_registry_are_written_as_their_golden_files_say() {
    let day = Day::with(|_| ()).await;
    let (engine, by) = (&day.engine, Actor::token("ops"));
    let changed = || async { day.events(EventType::PolicyChanged).await.remove(0) };
    let mut policy = Policy::clone(&engine.policy().policy);
    policy.ladder.grace_seconds += 1;
    engine.policy_changes().set_policy(&policy, &by, NOW).await.unwrap();
    let mut event = changed().await;
    for name in ["version", "former_version"] {
        assert_eq!(event.evidence[name].as_str().map(str::len), Some(16));
        event.evidence[name] = name.into();
    }
    check("policy", &event);
    let entry = json!({ "reason": "office" });
    engine.policy_changes().write_allowlist("pair:SG~RO", entry, &by, NOW + 1).await.unwrap();
    check("allowlist", &changed().await);
    engine
        .policy_changes()
        .write_allowlist("pair:SG~RO", serde_json::Value::Null, &by, NOW + 2)
        .await
        .unwrap();
    check("allowlist_deleted", &changed().await);
    let key: KeyEntry = serde_json::from_value(json!({ "allowed_models": ["gpt-*"] })).unwrap();
    let entry = Entry::Key(key.checked().unwrap());
    engine.registry_changes().put("k1:9f2c", &entry, &by, NOW + 3).await.unwrap();
    check("key", &changed().await);
    engine.registry_changes().delete(DocumentKind::Key, "k1:9f2c", &by, NOW + 4).await.unwrap();
    check("key_deleted", &changed().await);
}
