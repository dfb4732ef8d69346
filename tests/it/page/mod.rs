//! The page under `/ui` in a real browser, over the service as people run it: each view in light and dark, wide and
//! narrow; signing in; acting; the live list; the keyboard; and what axe-core has to say.

mod acts;
mod report;
mod views;

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Served, client},
    browser::Browser,
};

/// Every view that is there without anything being known.
const VIEWS: [&str; 10] = [
    "/ui",
    "/ui/events",
    "/ui/bans",
    "/ui/subjects",
    "/ui/costs",
    "/ui/limits",
    "/ui/detectors",
    "/ui/sinks",
    "/ui/policy",
    "/ui/health",
];

/// A service with one key that was used in Singapore and then in Bucharest, and is banned.
async fn with_a_thief(directory: &Path) -> Served {
    let served = Served::start(directory);
    put(&served, "/v1/projects/analytics", json!({ "budget_usd": "100.00", "owner": "Ada" })).await;
    put(&served, "/v1/keys/nightly-report", json!({ "project": "analytics", "label": "Nightly report" }))
        .await;
    for (tokens, source_ip) in [(900, "203.0.113.7"), (1_200, "203.0.113.7"), (40_000, "198.51.100.7")] {
        let record = json!({
            "key_id": "nightly-report", "endpoint": "/v1/chat/completions", "model": "gpt-4.1", "latency_ms": 840,
            "prompt_tokens": tokens, "completion_tokens": 120, "source_ip": source_ip,
            "user_agent": "openai-python/1.51.0",
        });
        let request = client().post(format!("{}/v1/record", served.url)).json(&record);
        request.send().await.unwrap().error_for_status().unwrap();
    }
    put(&served, "/v1/bans/ip:192.0.2.0%2F24", json!({ "duration_seconds": 3600, "reason": "abuse report" }))
        .await;
    put(&served, "/v1/bans/key:nightly-report", json!({ "duration_seconds": null, "reason": "leaked" }))
        .await;
    served
}

async fn put(served: &Served, path: &str, body: Value) {
    let request = client().request(Method::PUT, format!("{}{path}", served.url)).json(&body);
    request.send().await.unwrap().error_for_status().unwrap();
}

async fn state(served: &Served, subject: &str) -> Value {
    let answer = client().get(format!("{}/v1/bans/{subject}", served.url)).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["state"].take()
}
