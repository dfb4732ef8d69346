//! Alert rules over a scripted day on two instances.

use super::*;
use crate::engine::Base;

const RULES: &str = r#"
alerts = [
  { metric = "request_count", operator = "lt", threshold = 2, scope = "project", severity = "low" },
  { metric = "cost_per_hour", operator = "gt", threshold = "0.5", scope = "project", severity = "high" },
]
"#;

async fn two(rules: &str) -> (Day, Arc<Engine>) {
    let day = Day::with(|policy| policy.limits = Default::default()).await;
    let config: crate::config::Config = toml::from_str(rules).unwrap();
    let policy = Policy { limits: Default::default(), ..default_policy() };
    let base = Base { policy, registry: Arc::default(), alerts: config.alerts };
    let start = || {
        let options = EngineOptions { usage_series: 1000, ..day.engine.options.clone() };
        Engine::start(day.engine.store.clone(), day.engine.geo.clone(), base.clone(), options)
    };
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    (Day { engine: first, ..day }, second)
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
            second.watch_rules(day.now).await.unwrap();
            day.engine.watch_rules(day.now).await.unwrap();
        }
    }
    let mut told = Vec::new();
    for engine in [&*day.engine, second] {
        let waiting = engine.outbox.take(day.now + DAY);
        let alerts = waiting.into_iter().filter(|event| event.kind == EventType::AlertRule);
        told.extend(alerts.map(|event| {
            assert_eq!(event.count, 1);
            let text = |name: &str| event.evidence[name].as_str().unwrap().to_owned();
            (text("metric"), event.severity.name().to_owned(), text("start")[14..16].parse().unwrap())
        }));
    }
    told.sort_by_key(|(metric, severity, minute)| (*minute, metric.clone(), severity.clone()));
    told
}

#[tokio::test]
async fn every_default_rule_fires_once_and_once_only() {
    let (mut day, second) = two(DEFAULT_TOML).await;
    // 6 a minute; 12; 60; then 6 a minute until the hour is dear, and far more at its end.
    let mut minutes = vec!["1", "2", "10"];
    minutes.extend(["1"; 8]);
    minutes.extend(["70"; 2]);
    let told = spend(&mut day, &second, &minutes).await;
    let named: Vec<(&str, &str, i64)> = told.iter().map(|(m, s, at)| (m.as_str(), s.as_str(), *at)).collect();
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

#[tokio::test]
async fn what_is_too_little_is_told_when_its_minute_is_over() {
    let rules = DEFAULT_TOML.split_once("alerts = [").unwrap();
    let (_, rest) = rules.1.split_once("]\n").unwrap();
    let (mut day, second) = two(&format!("{}{RULES}{rest}", rules.0)).await;
    day.ask(json!({"project_id": "p", "cost_usd": 0.5})).await;
    day.now += 30 * SECOND;
    day.engine.watch_rules(day.now).await.unwrap();
    assert!(day.events(EventType::AlertRule).await.is_empty(), "half a dollar is not above half a dollar");
    day.now += 40 * SECOND;
    for engine in [&*day.engine, &*second] {
        engine.watch_rules(day.now).await.unwrap();
    }
    let told = day.events(EventType::AlertRule).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].subject, Some(Subject::project("p")));
    let summary = "request_count of project:p is 1; the rule's threshold is 2.";
    assert_eq!(told[0].evidence["summary"], summary);
}
