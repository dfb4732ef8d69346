//! What requests cost, as callers are answered.

use serde_json::{Value, json};

use super::{Api, Reply};
use crate::domain::{
    money::{NANO_PLACES, decimal},
    subject::Subject,
};

fn body(fields: &Value) -> String {
    let mut body = json!({"key_id": "acme", "endpoint": "/v1/chat/completions", "source_ip": "203.0.113.7"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

/// The cost that head and body agree on, and whether it is by the fallback price.
fn cost(reply: &Reply) -> (String, bool) {
    let answer = reply.good(200);
    assert_eq!(answer["cost_usd"], reply.header("x-cost-usd"), "{answer}");
    let fallback = answer.get("price_fallback");
    assert!(fallback.is_none_or(|f| *f == true), "{answer}");
    (answer["cost_usd"].as_str().unwrap().to_owned(), fallback.is_some())
}

#[tokio::test]
async fn a_record_and_a_check_are_answered_with_what_they_cost() {
    let api = Api::open().await;
    let split = json!({"model": "gpt-4.1", "prompt_tokens": 812, "completion_tokens": 120});
    assert_eq!(cost(&api.post("/v1/record", &body(&split)).await), ("0.007456".into(), false));
    let question = r#"{"key_id":"acme","source_ip":"203.0.113.7","model":"gpt-4.1","estimated_tokens":932}"#;
    assert_eq!(cost(&api.post("/v1/check", question).await), ("0.007456".into(), false));
    let unknown = json!({"model": "no-such-model", "tokens_used": 1_000});
    assert_eq!(cost(&api.post("/v1/record", &body(&unknown)).await), ("0.015".into(), true));
    let own = json!({"model": "no-such-model", "tokens_used": 1_000, "cost_usd": 0.25});
    assert_eq!(cost(&api.post("/v1/record", &body(&own)).await), ("0.25".into(), false));
    let no_model = json!({"tokens_used": 1_000});
    assert_eq!(cost(&api.post("/v1/record", &body(&no_model)).await), ("0".into(), false));
}

#[tokio::test]
async fn a_model_is_shown_with_its_price_and_why() {
    let api = Api::open().await;
    for (model, priced_as, counts_as, because, input) in [
        ("gpt-4.1", json!("gpt-4.1"), "gpt-4.1", "name", "8"),
        ("azure/gpt-4.1", json!("gpt-4.1"), "gpt-4.1", "provider prefix", "8"),
        ("claude-opus-4-7", json!("claude-opus-4.7"), "claude-opus-4.7", "alias", "15"),
        ("gpt-4.1-2025-04-14", json!("gpt-4.1"), "gpt-4.1", "pattern gpt-4.1-20*", "8"),
        (
            "deepseek-v3.2-latest",
            json!("deepseek-v3.2"),
            "deepseek-v3.2",
            "snapshot of deepseek-v3.2",
            "0.42",
        ),
        ("new", Value::Null, "new", "fallback", "15"),
    ] {
        let shown = api.get(&format!("/v1/prices?model={model}")).await.good(200);
        assert_eq!((&shown["model"], &shown["priced_as"]), (&json!(model), &priced_as), "{shown}");
        assert_eq!((&shown["counts_as"], &shown["because"]), (&json!(counts_as), &json!(because)), "{shown}");
        let prices = ["input", "cached_input", "cache_write_1h", "output"].map(|part| shown[part].clone());
        assert_eq!(prices, [input; 4].map(Value::from), "{shown}");
        assert_eq!(
            (&shown["from"], &shown["tiers"], &shown["per_image"]),
            (&Value::Null, &json!([]), &json!("0"))
        );
    }
    for query in ["", "?model=", "?modell=x", &format!("?model={}", "x".repeat(129))] {
        assert_eq!(api.get(&format!("/v1/prices{query}")).await.status, 422, "{query}");
    }
}

#[tokio::test]
async fn a_refused_request_and_a_retry_are_answered_with_the_same_cost() {
    let api = Api::open().await;
    let spent = json!({"model": "deepseek-v3.2", "tokens_used": 1_000, "request_id": "r-1"});
    let first = api.post("/v1/record", &body(&spent)).await;
    assert_eq!(cost(&first), ("0.00042".into(), false));
    assert_eq!(api.post("/v1/record", &body(&spent)).await.text, first.text, "a retry gets the same answer");
    api.put("/v1/bans/key:acme", r#"{"duration_seconds":60,"reason":"test"}"#).await;
    let refused =
        api.post("/v1/record", &body(&json!({"model": "deepseek-v3.2", "tokens_used": 1_000}))).await;
    assert_eq!(refused.good(200)["allowed"], false);
    assert_eq!(cost(&refused), ("0.00042".into(), false), "the money is spent all the same");
}

#[tokio::test]
async fn bad_costs_and_tokens_are_named() {
    let api = Api::open().await;
    for (fields, pointer) in [
        (json!({"cost_usd": -0.01}), "/cost_usd"),
        (json!({"cost_usd": "1,5"}), "/cost_usd"),
        (json!({"cost_usd": 1_000_000.1}), "/cost_usd"),
        (json!({"cost_usd": [1]}), "/cost_usd"),
        (json!({"prompt_tokens": 10, "cached_tokens": 11}), "/cached_tokens"),
        (json!({"cached_tokens": 1}), "/cached_tokens"),
    ] {
        let problem = api.post("/v1/record", &body(&fields)).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{fields}");
    }
}

#[tokio::test]
async fn what_a_key_spent_is_the_sum_of_what_it_was_answered() {
    let api = Api::open().await;
    let records: Vec<String> = (0..60_u64)
        .map(|n| match n % 3 {
            // A third of a nano-dollar each: rounding them together would come to another sum.
            0 => body(&json!({"cost_usd": "0.0000000003"})),
            1 => body(&json!({"model": "deepseek-v3.2", "prompt_tokens": n, "completion_tokens": 1})),
            _ => body(&json!({"model": "no-such-model", "tokens_used": n})),
        })
        .collect();
    let answers = api.post("/v1/record/batch", &format!("[{}]", records.join(","))).await.good(200);
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.iter().filter(|a| a["price_fallback"] == true).count(), 20);
    let answered =
        answers.iter().map(|a| decimal(a["cost_usd"].as_str().unwrap(), NANO_PLACES).unwrap().units);
    let now = api.engine.now();
    let seen = api.engine.subjects().view(&Subject::key("acme"), now).await.unwrap().unwrap();
    let profile = seen.profile.unwrap();
    let kept: u64 = profile.history.days().map(|(_, day)| day.cost_nanos).sum();
    assert_eq!(kept, answered.sum::<u64>());
    assert_eq!(
        kept,
        (0..60)
            .map(|n| match n % 3 {
                0 => 0,
                1 => (n + 1) * 420,
                _ => n * 15_000,
            })
            .sum::<u64>()
    );
}
