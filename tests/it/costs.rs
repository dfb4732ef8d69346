//! Costs over days: recorded traffic that names models and tokens, and no money.

use keyward::{
    config::{Config, DEFAULT_TOML},
    domain::{
        DAY, HOUR, MINUTE, Millis,
        event::format_millis,
        money::{NANO_PLACES, decimal},
    },
    geo::Geo,
    intake::Peppers,
    replay::Replay,
};
use serde_json::{Value, json};

/// Monday 2026-03-02, 00:00 UTC.
const MONDAY: Millis = 1_772_409_600_000;
const LIST: &str = "[fallback]\ninput = 9\noutput = 9\n\
    [[prices]]\nmodel = 'small'\ninput = 4\noutput = 4\n\
    [[prices]]\nmodel = 'dear-*'\ninput = 60\noutput = 60\n";

/// Decides about requests: time, model, tokens.
async fn replay(list: &str, requests: impl Iterator<Item = (Millis, &'static str, u64)>) -> Vec<Value> {
    let shelf = tempfile::tempdir().unwrap();
    let mut config: Config = toml::from_str(DEFAULT_TOML).unwrap();
    config.prices.file = shelf.path().join("prices.toml");
    std::fs::write(&config.prices.file, list).unwrap();
    let geo = std::sync::Arc::new(Geo::open(&[], true).unwrap());
    let peppers = Peppers::parse("0123456789abcdef0123").unwrap();
    let mut replay = Replay::new(&config, geo, peppers).await.unwrap();
    let mut input = Vec::new();
    for (time, model, tokens) in requests {
        let record = json!({
            "key_id": "a", "endpoint": "/v1/chat/completions", "source_ip": "203.0.113.7", "model": model,
            "tokens_used": tokens, "timestamp": format_millis(time),
        });
        input.extend_from_slice(format!("{record}\n").as_bytes());
    }
    let mut output = Vec::new();
    replay.run(input.as_slice(), &mut output, |_| ()).await.unwrap();
    output
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

/// Ten working hours a day for eleven days of one model, and a twelfth of another.
fn days(last: &'static str) -> impl Iterator<Item = (Millis, &'static str, u64)> {
    (0..12).flat_map(move |day| {
        let model = if day == 11 { last } else { "small" };
        (0..100).map(move |n| (MONDAY + day * DAY + 8 * HOUR + n * 6 * MINUTE, model, 2_000))
    })
}

fn spikes(answers: &[Value]) -> usize {
    let is_spike = |finding: &Value| finding["type"] == "COST_SPIKE";
    answers.iter().filter(|answer| answer["anomalies"].as_array().unwrap().iter().any(is_spike)).count()
}

#[tokio::test]
async fn a_dearer_model_is_a_cost_spike_though_nobody_reports_a_cost() {
    let answers = replay(LIST, days("dear-1")).await;
    assert!(spikes(&answers) > 0, "{}", answers.last().unwrap());
    assert_eq!(spikes(&answers[..1_100]), 0, "the days before were like each other");
    let nanos = |answer: &Value| decimal(answer["cost_usd"].as_str().unwrap(), NANO_PLACES).unwrap().units;
    assert_eq!(answers.iter().map(nanos).sum::<u64>(), 1_100 * 2_000 * 4_000 + 100 * 2_000 * 60_000);
    assert_eq!(spikes(&replay(LIST, days("small")).await), 0, "the same model is none");
}

#[tokio::test]
async fn a_replay_takes_the_prices_of_its_configuration() {
    let now = [(MONDAY, "small", 1_000), (MONDAY, "new", 1_000)];
    let first = replay(LIST, now.into_iter()).await;
    assert_eq!((&first[0]["cost_usd"], first[0].get("price_fallback")), (&json!("0.004"), None));
    assert_eq!((&first[1]["cost_usd"], &first[1]["price_fallback"]), (&json!("0.009"), &json!(true)));
    let other = replay(&LIST.replace("input = 4", "input = 0.000001"), now.into_iter()).await;
    assert_eq!(other[0]["cost_usd"], "0.000000001");
}
