//! Alert rules over a scripted day on two instances.

use super::*;
use crate::domain::alert::AlertState;
use crate::engine::{
    Base,
    background::alerts::{FEW, MANY},
};

const RULES: &str = r#"
  { metric = "request_count", operator = "lt", threshold = 2, scope = "project", severity = "low" },
  { metric = "cost_per_hour", operator = "gt", threshold = "0.5", scope = "project", severity = "high" },
"#;

async fn two(rules: &str) -> (Day, Arc<Engine>) {
    let day = Day::with(|policy| policy.limits = Default::default()).await;
    let config: crate::config::Config = toml::from_str(rules).unwrap();
    let policy = Policy { limits: Default::default(), ..default_policy() };
    let base = Base {
        policy,
        registry: Arc::default(),
        alerts: config.alerts,
        spend: None,
        has_emergency_hook: false,
    };
    let start = || {
        let options = EngineOptions { usage_series: 1000, ..day.engine.options.clone() };
        Engine::start(day.engine.shared.store.clone(), day.engine.geo.clone(), base.clone(), options)
    };
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    (Day { engine: first, ..day }, second)
}

impl Engine {
    pub(super) async fn watch_all(&self, now: Millis) -> Result<(), StoreError> {
        self.upkeep.alerts.watch(&FEW, now).await?;
        self.upkeep.alerts.watch(&MANY, now).await
    }
}

/// Spends so much at each minute, in turn on both instances, while both look at the rules every ten seconds.
async fn spend(day: &mut Day, second: &Engine, minutes: &[&str]) -> Vec<(String, String, i64)> {
    for cost in minutes {
        for (n, part) in (0..6).zip([cost, cost].into_iter().cycle()) {
            let body = json!({"key_id": format!("k{n}"), "project_id": "p", "cost_usd": part.parse::<f64>().unwrap()});
            let record = day.record(body);
            let engine = if n % 2 == 0 { &*day.engine } else { second };
            engine.record(&[record], day.now).await;
            day.now += 10 * SECOND;
            second.watch_all(day.now).await.unwrap();
            day.engine.watch_all(day.now).await.unwrap();
        }
    }
    let mut logged = Vec::new();
    for engine in [&*day.engine, second] {
        let waiting = engine.shared.outbox.take(day.now + DAY);
        let mut alerts: Vec<Event> =
            waiting.into_iter().filter(|event| event.kind == EventType::AlertRule).collect();
        alerts.retain(|event| event.evidence["state"] == "firing");
        logged.extend(alerts.into_iter().map(|event| {
            assert_eq!(event.count, 1);
            let text = |name: &str| event.evidence[name].as_str().unwrap().to_owned();
            (text("metric"), event.severity.name().to_owned(), text("start")[14..16].parse().unwrap())
        }));
    }
    logged.sort_by_key(|(metric, severity, minute)| (*minute, metric.clone(), severity.clone()));
    logged
}

#[tokio::test]
async fn every_default_rule_fires_once_and_once_only() {
    let (mut day, second) = two(DEFAULT_TOML).await;
    // 6 a minute; 12; 60; then 6 a minute until the hour is dear, and far more at its end.
    let mut minutes = vec!["1", "2", "10"];
    minutes.extend(["1"; 8]);
    minutes.extend(["70"; 2]);
    let logged = spend(&mut day, &second, &minutes).await;
    let named: Vec<(&str, &str, i64)> =
        logged.iter().map(|(m, s, at)| (m.as_str(), s.as_str(), *at)).collect();
    let expected = [
        ("cost_per_hour", "critical", 0),
        ("cost_per_hour", "medium", 0),
        ("cost_per_minute", "medium", 1),
        ("cost_per_minute", "critical", 2),
        ("cost_per_minute", "medium", 2),
        ("cost_per_minute", "critical", 11),
        ("cost_per_minute", "medium", 11),
        ("cost_per_minute", "critical", 12),
        ("cost_per_minute", "medium", 12),
    ];
    assert_eq!(named, expected);
}

/// The rules in place of the default ones.
async fn with_rules(rules: &str) -> (Day, Arc<Engine>) {
    let (before, after) = DEFAULT_TOML.split_once("alerts = [").unwrap();
    let (_, after) = after.split_once("]\n").unwrap();
    two(&format!("{before}alerts = [{rules}]\n{after}")).await
}

/// What was logged, in its order: by whom, and the evidence.
async fn logged(day: &Day, second: &Engine) -> Vec<Event> {
    let mut events: Vec<Event> = [&*day.engine, second]
        .into_iter()
        .flat_map(|engine| engine.shared.outbox.take(day.now + DAY))
        .collect();
    events.retain(|event| event.kind == EventType::AlertRule);
    events.sort_by_key(|event| (event.time, event.evidence["summary"].to_string()));
    events
}

#[tokio::test]
async fn keys_and_models_are_watched_apart_and_logged_once() {
    let rules = r#"
      { metric = "requests_per_hour", operator = "gt", threshold = 2, scope = "key", severity = "low" },
      { metric = "tokens_per_day", operator = "gt", threshold = 25, scope = "model", severity = "low" },
      { metric = "requests_per_day", operator = "gt", threshold = 2, scope = "model", severity = "low" },
    "#;
    let (mut day, second) = with_rules(rules).await;
    for (key, model) in [("a", "m"), ("a", "m"), ("a", "m"), ("b", "n"), ("b", "n"), ("c", "m")] {
        day.ask(json!({"key_id": key, "model": model})).await;
        for engine in [&*day.engine, &second] {
            engine.watch_all(day.now).await.unwrap();
        }
    }
    let logged = logged(&day, &second).await;
    let summaries: Vec<_> = logged.iter().map(|event| event.evidence["summary"].as_str().unwrap()).collect();
    let expected = [
        "requests_per_day of model m is 3; the rule's threshold is 2.",
        "requests_per_hour of key:a is 3; the rule's threshold is 2.",
        "tokens_per_day of model m is 30; the rule's threshold is 25.",
    ];
    assert_eq!(summaries, expected);
    assert_eq!((&logged[1].subject, logged[1].key_id.as_deref()), (&Some(Subject::key("a")), Some("a")));
    assert_eq!((&logged[2].subject, &logged[2].evidence["model"]), (&None, &json!("m")));
}

#[tokio::test]
async fn a_multiple_of_the_same_hour_of_the_weeks_before_is_logged_and_too_short_a_history_is_not() {
    let rules = r#"
      { metric = "cost_per_hour", operator = "gt", times_baseline = "3", scope = "project", severity = "high" },
      { metric = "requests_per_day", operator = "gt", times_baseline = 2, scope = "key", severity = "high" },
    "#;
    let (mut day, second) = with_rules(rules).await;
    let late = |project: &str, at: Millis, cost: f64| {
        json!({
            "project_id": project, "key_id": project, "cost_usd": cost,
            "timestamp": crate::domain::event::format_millis(at),
        })
    };
    // Two weeks of `old` are known, one of `young`; the hour before is no measure.
    for (project, at, cost) in [
        ("old", NOW - 14 * DAY, 1.0),
        ("old", NOW - 7 * DAY + HOUR / 2, 3.0),
        ("young", NOW - 7 * DAY, 1.0),
        ("young", NOW - 7 * DAY - HOUR, 1.0),
    ] {
        day.ask(late(project, at, cost)).await;
    }
    day.now += 10 * MINUTE;
    for (cost, expected) in [(3.0, 0), (3.0, 0), (0.1, 1), (9.0, 0)] {
        for project in ["old", "young"] {
            day.ask(json!({"project_id": project, "key_id": project, "cost_usd": cost})).await;
        }
        for engine in [&*day.engine, &second] {
            engine.watch_all(day.now).await.unwrap();
        }
        let logged = logged(&day, &second).await;
        let costs: Vec<_> = logged.iter().filter(|e| e.evidence["metric"] == "cost_per_hour").collect();
        assert_eq!(costs.len(), expected, "{cost}");
        for event in costs {
            let summary = "cost_per_hour of project:old is 6.1; the rule's threshold is 6, from a mean of 2 over 2 \
                           weeks.";
            assert_eq!(event.evidence["summary"], summary);
            assert_eq!(
                (&event.evidence["samples"], &event.evidence["times_baseline"]),
                (&json!(2), &json!("3"))
            );
        }
    }
}

#[tokio::test]
async fn a_rule_that_fires_at_very_many_says_so_once() {
    let rules =
        r#"{ metric = "request_count", operator = "gt", threshold = 0, scope = "key", severity = "low" }"#;
    let (day, second) = with_rules(rules).await;
    let deltas = (0..1_300).map(|n| crate::domain::usage::UsageDelta {
        minute: NOW,
        key: crate::domain::usage::UsageKey { key: Some(format!("k{n}").into()), ..Default::default() },
        measured: crate::domain::usage::Totals { requests: 1, ..Default::default() }.into(),
    });
    let batch =
        crate::domain::usage::UsageBatch { instance: "x".into(), seq: 1, now: NOW, deltas: deltas.collect() };
    day.engine.shared.store.add_usage(&batch).await.unwrap();
    for engine in [&*second, &day.engine, &second] {
        engine.watch_all(day.now).await.unwrap();
    }
    let logged = [&*day.engine, &*second]
        .into_iter()
        .flat_map(|e| e.shared.outbox.take(day.now + DAY))
        .collect::<Vec<_>>();
    let crowd =
        logged.iter().filter(|event| event.subject.is_none() && event.evidence["more_than"] == 1_000).count();
    // The outbox of these tests holds a thousand.
    assert_eq!(crowd, 1);
}

#[tokio::test]
async fn what_is_too_little_is_logged_when_its_minute_is_over() {
    let (mut day, second) = with_rules(RULES).await;
    day.ask(json!({"project_id": "p", "cost_usd": 0.5})).await;
    day.now += 30 * SECOND;
    day.engine.watch_all(day.now).await.unwrap();
    assert!(day.events(EventType::AlertRule).await.is_empty(), "half a dollar is not above half a dollar");
    day.now += 40 * SECOND;
    for engine in [&*day.engine, &*second] {
        engine.watch_all(day.now).await.unwrap();
    }
    let logged = day.events(EventType::AlertRule).await;
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0].subject, Some(Subject::project("p")));
    let summary = "request_count of project:p is 1; the rule's threshold is 2.";
    assert_eq!(logged[0].evidence["summary"], summary);
}

/// How often rules fired by what was logged so far, over instances that all write to the log at once.
async fn in_log(day: &Day, engines: &[&Engine]) -> usize {
    for engine in engines {
        day.engine.store().append(&engine.shared.outbox.take(day.now + DAY)).await.unwrap();
    }
    let events = day.events(EventType::AlertRule).await;
    events.iter().filter(|event| event.evidence["state"] == "firing").count()
}

#[tokio::test]
async fn a_rule_fires_once_also_across_a_restart_and_for_who_was_away() {
    let rules = r#"
      { metric = "cost_per_hour", operator = "gt", threshold = "0.5", scope = "everything", severity = "low" },
      { metric = "cost_per_hour", operator = "gt", threshold = "0.6", scope = "everything", severity = "low" },
      { metric = "cost_per_day", operator = "gt", threshold = "0.5", scope = "project", severity = "low" },
      { metric = "tokens_per_hour", operator = "gt", threshold = 5, scope = "key", severity = "low" },
      { metric = "requests_per_day", operator = "gt", times_baseline = "1", scope = "key", severity = "low" },
      { metric = "tokens_per_day", operator = "gt", threshold = 5, scope = "model", severity = "low" },
    "#;
    let (mut day, second) = with_rules(rules).await;
    second.watch_all(day.now).await.unwrap();
    let ask = json!({"key_id": "a:b", "project_id": "p", "model": "m", "cost_usd": 0.7});
    day.ask(ask.clone()).await;
    day.engine.watch_all(day.now).await.unwrap();
    assert_eq!(in_log(&day, &[]).await, 5, "all but the one without a history");
    // Claims have expired, and `second` saw nothing of it.
    day.now += 3 * MINUTE;
    let start = || {
        let (store, geo) = (day.engine.shared.store.clone(), day.engine.geo.clone());
        Engine::start(store, geo, Base::clone(&second.in_force.base()), day.engine.options.clone())
    };
    let third = start().await.unwrap();
    for engine in [&*third, &*second, &*day.engine] {
        engine.watch_all(day.now).await.unwrap();
    }
    assert_eq!(in_log(&day, &[&second, &third]).await, 5);
    // The next hour is logged, once, and the day is not.
    day.now += HOUR;
    day.ask(ask).await;
    for engine in [&*third, &*second, &*day.engine] {
        engine.watch_all(day.now).await.unwrap();
    }
    assert_eq!(in_log(&day, &[&second, &third]).await, 8);
}

#[tokio::test]
async fn a_rule_that_fired_at_very_many_stays_quiet_after_a_restart() {
    let rules = r#"{ metric = "requests_per_hour", operator = "gt", threshold = 0, scope = "key", severity = "low" }"#;
    let (mut day, second) = with_rules(rules).await;
    let rule = &second.in_force.base().alerts[0].clone();
    let logged = [crate::engine::events::crowd(
        rule,
        1_000,
        crate::domain::usage::Bucket::Hour.start(day.now),
        day.now,
    )];
    day.engine.store().append(&logged).await.unwrap();
    day.ask(json!({"key_id": "a"})).await;
    day.now += 3 * MINUTE;
    for engine in [&*second, &*day.engine] {
        engine.watch_all(day.now).await.unwrap();
    }
    assert_eq!(in_log(&day, &[&second]).await, 1);
}

/// What both instances tell of rules: by whom, with the state and the sum.
async fn states(day: &Day, second: &Engine) -> Vec<(String, String, String)> {
    let text = |event: &Event, name: &str| event.evidence[name].as_str().unwrap().to_owned();
    let logged = logged(day, second).await;
    logged.iter().map(|event| (text(event, "name"), text(event, "state"), text(event, "observed"))).collect()
}

#[tokio::test]
async fn a_window_slides_by_minutes_fires_once_and_is_cleared_once() {
    let low = |fields: &str| format!("{{ {fields}, severity = 'low' }},");
    let dear = low(
        "name = 'dear', metric = 'cost', window = '3min', operator = 'gt', threshold = 5, scope = 'project'",
    );
    let quiet = "name = 'quiet', metric = 'requests', window = '2min', operator = 'lt', threshold = 1";
    let rules = dear + &low(&format!("{quiet}, scope = 'everything'"));
    let (mut day, second) = with_rules(&rules).await;
    let mut seen = Vec::new();
    // Three dollars a minute for three minutes, and then nothing; every ten seconds both look.
    for minute in 0..10 {
        if minute < 3 {
            day.ask(json!({"project_id": "p", "cost_usd": "3"})).await;
        }
        for _ in 0..6 {
            for engine in [&*day.engine, &*second] {
                engine.watch_all(day.now).await.unwrap();
            }
            let now_logged = states(&day, &second).await.into_iter();
            seen.extend(now_logged.map(|(name, state, observed)| (minute, name, state, observed)));
            day.now += 10 * SECOND;
        }
    }
    let seen: Vec<(i32, &str, &str, &str)> =
        seen.iter().map(|(at, name, state, observed)| (*at, &**name, &**state, &**observed)).collect();
    let expected = [
        // Before the first request nothing was used for two whole minutes.
        (0, "quiet", "firing", "0"),
        (1, "dear", "firing", "6"),
        (3, "quiet", "cleared", "0"),
        (5, "quiet", "firing", "0"),
        // In minute 3 the window still holds two of the three; cleared two minutes later.
        (6, "dear", "cleared", "6"),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn every_rule_is_listed_and_a_new_instance_knows_what_fires() {
    let low = |fields: &str| format!("{{ {fields}, severity = 'low' }},");
    let dear =
        "name = 'dear', metric = 'cost', window = '1hour', operator = 'gt', threshold = '0.5', scope = 'key'";
    let daily = "metric = 'cost_per_day', operator = 'gt', threshold = 100, scope = 'everything'";
    let (mut day, second) = with_rules(&(low(dear) + &low(daily))).await;
    day.ask(json!({"key_id": "a", "cost_usd": "0.75"})).await;
    for engine in [&*day.engine, &*second] {
        engine.watch_all(day.now).await.unwrap();
    }
    let fired = day.now;
    assert_eq!(in_log(&day, &[&second]).await, 1);
    day.now += 5 * MINUTE;
    let start = Engine::start(
        day.engine.shared.store.clone(),
        day.engine.geo.clone(),
        Base::clone(&second.in_force.base()),
        day.engine.options.clone(),
    );
    let third = start.await.unwrap();
    for engine in [&*third, &*second, &*day.engine] {
        engine.watch_all(day.now).await.unwrap();
        let listed = engine.alerts();
        let shown: Vec<_> = listed
            .iter()
            .map(|alert| {
                (
                    alert.rule.title(),
                    alert.state,
                    alert.since,
                    alert.name.as_deref(),
                    alert.observed.as_deref(),
                )
            })
            .collect();
        let day_rule = "cost_per_day gt 100 of everything, low".to_owned();
        let expected = [
            ("dear".to_owned(), AlertState::Firing, Some(fired), Some("a"), Some("0.75")),
            (day_rule, AlertState::Pending, None, None, Some("0.75")),
        ];
        assert_eq!(shown, expected);
    }
    assert_eq!(in_log(&day, &[&second, &third]).await, 1, "nobody says it twice");
}
