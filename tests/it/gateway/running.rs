//! What a stream has cost so far is held against the limits while it runs, and shown to a client that asks.

use reqwest::Response;
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, chat, nanos};
use crate::support::eventually;

/// A service that holds 20 tokens for an answer without a cap, with leases of two seconds.
async fn with_little_held() -> Scene {
    let leases = "[reservations]\nlease_seconds = 2\n";
    Scene::with("output_tokens = 20", |_| format!("{EVERYWHERE}{leases}")).await
}

/// A stream without a cap.
async fn stream(scene: &Scene, directives: &str) -> (Response, u64) {
    let body = chat(&format!("[mock {directives}]"), json!({ "stream": true }));
    let prompt = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000;
    (scene.post("/v1/chat/completions", &body).send().await.unwrap(), prompt)
}

#[tokio::test]
async fn a_stream_that_outgrows_what_is_held_ends_when_its_budget_is_spent() {
    let scene = with_little_held().await;
    // 250 tokens of an answer, and a prompt of less than 200 bytes.
    scene.register(json!({ "budget_usd": "0.0024" })).await;
    let (response, prompt) = stream(&scene, "events=2000 event_delay_ms=5 input=10 output=2000").await;
    let text = response.text().await.unwrap();
    let (_, last) = text.trim_end().rsplit_once("data: ").unwrap();
    let error: Value = serde_json::from_str(last).unwrap();
    assert_eq!(error["error"]["code"], "insufficient_quota", "{last}");
    let words = text.matches("\"content\":").count() as u64;
    // 20, then 64 and 84 more, and 64 more while they fit.
    assert!((168..250).contains(&words), "{words}");
    scene.is_quiet().await;
    assert_eq!(scene.provider.bill.totals().cancelled, 1);
    let held = scene.spent().await;
    assert!(prompt + words * 8_000 <= held && held <= 2_400_000, "{words} words, {held} are held");
    eventually("nothing is held", async || scene.held().await == 0).await;
    assert_eq!(scene.spent().await, held, "what is unknown is charged as it was held");
    scene.stop().await;
}

#[tokio::test]
async fn a_stream_that_outgrows_what_is_held_and_has_budget_left_pays_what_it_used_as_one_request() {
    let scene = with_little_held().await;
    let one = json!([{ "unit": "requests", "window": "1min", "limit": 1 }]);
    scene.register(json!({ "budget_usd": "1000", "limits": one })).await;
    let (response, _) = stream(&scene, "events=300 input=10 output=310").await;
    let text = response.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    eventually("nothing is held", async || scene.held().await == 0).await;
    assert_eq!(scene.spent().await, 10 * 2_000 + 310 * 8_000);
    scene.stop().await;
}

#[tokio::test]
async fn a_cap_that_is_reached_holds_no_more_than_it_says() {
    let scene = with_little_held().await;
    let more = json!({ "stream": true, "max_tokens": 9 });
    let body = chat("[mock input=1000 output=9]", more);
    let held = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000 + 9 * 8_000;
    // Nothing more fits into the budget.
    let budget = (held as f64 / 1e9).to_string();
    scene.register(json!({ "budget_usd": budget })).await;
    let text = scene.post("/v1/chat/completions", &body).send().await.unwrap().text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    scene.stop().await;
}

#[tokio::test]
async fn the_cost_so_far_comes_about_every_second_and_its_last_is_what_was_paid() {
    let scene = Scene::start().await;
    let body = chat(
        "[mock events=60 event_delay_ms=50 input=10 output=60]",
        json!({ "stream": true, "max_tokens": 60 }),
    );
    let request = scene.post("/v1/chat/completions", &body).header("x-keyward-cost", "stream");
    let text = request.send().await.unwrap().text().await.unwrap();
    let comments = text.split(": keyward cost_usd=").skip(1);
    let costs: Vec<u64> = comments.map(|rest| nanos(rest.lines().next().unwrap())).collect();
    assert!(costs.len() >= 3, "{text}");
    let (last, before) = costs.split_last().unwrap();
    assert!(before.is_sorted(), "{costs:?}");
    assert_eq!((*last, scene.spent().await), (10 * 2_000 + 60 * 8_000, *last));
    // Each stands between two events.
    for event in text.split("\n\n").filter(|event| event.contains("cost_usd")) {
        assert!(event.starts_with(": keyward") && event.lines().count() == 1, "{event:?}");
    }
    scene.stop().await;
}
