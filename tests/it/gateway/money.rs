//! What is charged is what was used, to the nano-dollar, and no budget is exceeded.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use futures::future::join_all;
use serde_json::json;

use super::scene::{Scene, chat};
use crate::support::{eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn of_256_callers_at_once_exactly_as_many_are_served_as_the_budget_pays_for() {
    let scene = Arc::new(Scene::start().await);
    // The prompt says that it has as many tokens as the request has bytes, so that the estimate is what is used.
    let prompt =
        |tokens: usize| chat(&format!("[mock input={tokens} output=50]"), json!({ "max_tokens": 50 }));
    let bytes = serde_json::to_vec(&prompt(100)).unwrap().len();
    let body = prompt(bytes);
    assert_eq!(serde_json::to_vec(&body).unwrap().len(), bytes);
    let cost = bytes as u64 * 2_000 + 50 * 8_000;
    let budget = cost * 100 + cost / 2;
    let budget = format!("{}.{:09}", budget / 1_000_000_000, budget % 1_000_000_000);
    scene.register(json!({ "project": "shop", "budget_usd": budget })).await;
    let statuses = join_all((0..256).map(|_| async {
        scene.post("/v1/chat/completions", &body).send().await.unwrap().status().as_u16()
    }))
    .await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((served, refused), (100, 156));
    assert_eq!(scene.spent().await, 100 * cost);
    let bill = scene.provider.bill.totals();
    assert_eq!(bill.input_tokens * 2_000 + bill.output_tokens * 8_000, 100 * cost);
}

#[tokio::test]
async fn writes_to_caches_cost_what_they_cost_and_are_held_before() {
    let scene = Scene::start().await;
    let body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 10,
        "messages": [{ "role": "user", "content": [{
            "type": "text", "cache_control": { "type": "ephemeral", "ttl": "1h" },
            "text": "[mock input=1000 output=10 cached=100 cache_write=200 cache_write_1h=300]",
        }] }],
    });
    let response = scene.post("/v1/messages", &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    // 400 at 3, 100 at 0.3, 200 at 3.75, 300 at 6 and 10 at 15 dollars per million.
    let cost = 400 * 3_000 + 100 * 300 + 200 * 3_750 + 300 * 6_000 + 10 * 15_000;
    assert_eq!(scene.spent().await, cost);
    let bytes = serde_json::to_vec(&body).unwrap().len() as u64;
    // Less than the whole prompt costs where it is written to a cache for an hour.
    let budget = format!("0.{:09}", cost + bytes * 6_000);
    scene.register(json!({ "budget_usd": budget })).await;
    assert_eq!(scene.post("/v1/messages", &body).send().await.unwrap().status(), 429);
    scene.stop().await;
}

#[tokio::test]
async fn as_many_answers_as_are_asked_for_are_held_and_each_has_the_window_for_itself() {
    let models = "models = [{ model = \"gpt-4.1*\", context_window = 1000, max_output_tokens = 100 }]";
    let scene = Scene::with(models, |_| super::scene::EVERYWHERE.to_owned()).await;
    let four = chat("[mock input=10 output=20]", json!({ "max_tokens": 400, "n": 4 }));
    let response = scene.post("/v1/chat/completions", &four).send().await.unwrap();
    assert_eq!(response.status(), 200, "4 times 400 tokens fit, each beside the prompt");
    let spent = scene.spent().await;
    // Less than four answers of 100 tokens cost, and more than one does.
    let budget = spent + 4 * 100 * 8_000;
    scene.register(json!({ "budget_usd": format!("0.{budget:09}") })).await;
    assert_eq!(scene.chat("[mock output=20]", json!({ "n": 4 })).await.status(), 429);
    assert_eq!(scene.chat("[mock output=20]", json!({ "n": 1 })).await.status(), 200);
    scene.stop().await;
}

#[tokio::test]
async fn usage_that_never_came_is_charged_as_it_was_held_and_flagged() {
    let scene = Scene::start().await;
    let body = chat("[mock no_usage]", json!({ "max_tokens": 50 }));
    let bytes = serde_json::to_vec(&body).unwrap().len() as u64;
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(response.headers()["x-keyward-usage"], "estimated");
    assert_eq!(scene.spent().await, bytes * 2_000 + 50 * 8_000);
    scene.stop().await;
}

#[tokio::test]
async fn an_error_of_the_provider_costs_nothing_and_goes_on_as_it_is() {
    let scene = Scene::start().await;
    let response = scene.chat("[mock status=422]", json!({})).await;
    assert_eq!(response.status(), 422);
    assert!(response.text().await.unwrap().contains("The mock provider was asked for 422."));
    assert_eq!(scene.spent().await, 0);
    scene.stop().await;
}

#[tokio::test]
async fn what_a_stream_may_use_is_held_while_it_flows() {
    let scene = Scene::start().await;
    let directives = "[mock events=200 event_delay_ms=20 input=10 output=40]";
    let body = chat(directives, json!({ "stream": true, "max_tokens": 50 }));
    let bytes = serde_json::to_vec(&body).unwrap().len() as u64;
    let mut response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    assert_eq!(scene.spent().await, bytes * 2_000 + 50 * 8_000);
    while response.chunk().await.unwrap().is_some() {}
    within(std::time::Duration::from_secs(5), "it is settled", async || {
        scene.spent().await == 10 * 2_000 + 40 * 8_000
    })
    .await;
    scene.stop().await;
}

/// Requests of one run of random endings.
const ENDINGS: u64 = 80;

/// A number that seems random (SplitMix64).
fn random(seed: u64, n: u64) -> u64 {
    let mut mixed = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Makes one request that ends in a random way; returns what is held for it where its end is unknown, else 0.
async fn ends_somehow(scene: &Scene, random: u64) -> u64 {
    let stays = 3 + random / 16 % 12;
    let bills_full = if (random / 1_024).is_multiple_of(2) { " bills_full" } else { "" };
    let (ending, is_stream, is_unknown) = match random % 8 {
        0 => (String::new(), false, false),
        1 => (String::new(), true, false),
        2 => (format!("cut={stays}"), true, true),
        3 => ("no_usage".to_owned(), (random / 16).is_multiple_of(2), true),
        4 => (format!("error_after={stays}"), true, true),
        5 => ("status=400".to_owned(), (random / 16).is_multiple_of(2), false),
        _ => (String::new(), true, true),
    };
    let directives = format!("[mock input=30 output=40 events=30 event_delay_ms=5 {ending}{bills_full}]");
    let body = chat(&directives, json!({ "stream": is_stream, "max_tokens": 50 }));
    let held = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000 + 50 * 8_000;
    let mut response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    let leaves = random % 8 > 5;
    let mut parts = 0;
    while !(leaves && parts >= stays) && matches!(response.chunk().await, Ok(Some(_))) {
        parts += 1;
    }
    if is_unknown { held } else { 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_requests_end_the_ledger_is_never_below_the_bill_and_above_it_by_what_is_unknown_at_most() {
    let seed = RandomState::new().hash_one(0);
    let scene = Scene::start().await;
    let unknown: u64 =
        join_all((0..ENDINGS).map(|n| ends_somehow(&scene, random(seed, n)))).await.iter().sum();
    scene.is_quiet().await;
    let bill = scene.provider.bill.totals();
    let bill = bill.input_tokens * 2_000 + bill.output_tokens * 8_000;
    // What is still held counts as spent: the ledger is read once everything is settled.
    eventually("nothing is held", async || scene.held().await == 0).await;
    let (spent, most) = (scene.spent().await, bill + unknown);
    assert!((bill..=most).contains(&spent), "{spent} is not from {bill} to {most}, seed {seed}");
    scene.stop().await;
}
