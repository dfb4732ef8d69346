//! A policy that only observes, as callers and operators see it.

use serde_json::json;

use super::Api;
use crate::{config::default_policy, domain::enforcement::Enforcement, http::Auth};

async fn watching() -> Api {
    let mut policy = default_policy();
    policy.enforcement = Enforcement::Observe;
    policy.limits.tokens.insert("1min".to_owned(), 100);
    Api::with(Auth::default(), policy).await
}

#[tokio::test]
async fn a_record_beyond_a_limit_is_let_through_and_says_what_would_have_been() {
    let api = watching().await;
    api.record("acme", 100).await.good(200);
    let reply = api.record("acme", 1).await;
    let answer = reply.good(200);
    assert_eq!((&answer["allowed"], &answer["action"]), (&json!(true), &json!("none")));
    assert!(answer.get("reason").is_none() && answer.get("retry_after_seconds").is_none(), "{answer}");
    assert!(reply.headers.get("retry-after").is_none());
    let would = &answer["would"];
    assert_eq!((&would["allowed"], &would["action"]), (&json!(false), &json!("throttle")));
    assert_eq!(would["reason"], "RATE_LIMIT_EXCEEDED");
    assert!((1..=62).contains(&would["retry_after_seconds"].as_u64().unwrap()), "{would}");
}

#[tokio::test]
async fn checks_and_batches_refuse_nothing_either() {
    let api = watching().await;
    let question = r#"{"key_id":"acme","source_ip":"203.0.113.7","estimated_tokens":60,"reserve":true}"#;
    let held = api.post("/v1/check", question).await.good(200);
    assert!(held["reservation_id"].is_string() && held.get("would").is_none(), "{held}");
    let unfit = api.post("/v1/check", question).await.good(200);
    assert_eq!((&unfit["allowed"], &unfit["would"]["reason"]), (&json!(true), &json!("RATE_LIMIT_EXCEEDED")));
    assert!(unfit.get("reservation_id").is_none(), "{unfit}");
    let record = json!({"key_id": "acme", "source_ip": "203.0.113.7", "endpoint": "/x", "tokens_used": 101});
    let batch = json!([record, record]).to_string();
    let answers = api.post("/v1/record/batch", &batch).await.good(200);
    for answer in answers.as_array().unwrap() {
        assert_eq!(
            (&answer["allowed"], &answer["would"]["allowed"]),
            (&json!(true), &json!(false)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn whether_anything_is_refused_is_shown_and_changed_with_the_policy() {
    let api = watching().await;
    assert_eq!(api.get("/readyz").await.good(200)["enforcement"], "observe");
    api.put("/v1/bans/key:acme", r#"{"duration_seconds":null,"reason":"leaked"}"#).await.good(201);
    let observed = api.record("acme", 1).await.good(200);
    assert_eq!(
        (&observed["allowed"], &observed["would"]["reason"]),
        (&json!(true), &json!("API_KEY_BANNED"))
    );
    let mut policy = api.get("/v1/policy").await.good(200);
    policy["enforcement"] = "enforce".into();
    assert_eq!(api.put("/v1/policy", &policy.to_string()).await.good(200)["enforcement"], "enforce");
    assert_eq!(api.get("/readyz").await.good(200)["enforcement"], "enforce");
    let refused = api.record("acme", 1).await.good(200);
    assert_eq!((&refused["allowed"], &refused["reason"]), (&json!(false), &json!("API_KEY_BANNED")));
    assert!(refused.get("would").is_none(), "{refused}");
    policy.as_object_mut().unwrap().remove("enforcement");
    let problem = api.put("/v1/policy", &policy.to_string()).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/enforcement");
}
