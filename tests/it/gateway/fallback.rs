//! Before the first byte of an answer another attempt is made, and never after it.

use std::time::Duration;

use axum::{Router, routing::post};
use keyward::{
    domain::{event::EventType, finding::Severity},
    store::EventQuery,
};
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Provider, Scene, chat, header, nanos, serve, upstream};
use crate::support::eventually;

/// A second provider, and a route to it that is taken when the first fails.
async fn with_second(settings: &str) -> (Scene, Provider) {
    let second = Provider::start().await;
    let url = second.url.clone();
    let scene = Scene::with(settings, |path| {
        let route =
            "[[gateway.routes]]\nmodel = \"gpt-*\"\nupstreams = [\"openai\"]\nfallback = [\"second\"]\n";
        format!("{}{route}", upstream("second", "openai", &url, path))
    })
    .await;
    (scene, second)
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_once_more_and_no_more_than_three_times() {
    let scene = Scene::start().await;
    let response = scene.chat("[mock status=500]", json!({})).await;
    assert_eq!(response.status(), 500);
    assert!(response.text().await.unwrap().contains("asked for 500"), "the last answer goes on as it is");
    assert_eq!(scene.provider.bill.seen().len(), 3);
    assert_eq!(scene.spent().await, 0);
    scene.stop().await;
}

#[tokio::test]
async fn a_provider_that_asks_to_be_left_alone_for_longer_than_a_client_waits_is_not_asked_again() {
    let scene = Scene::start().await;
    let response = scene.chat("[mock status=429 retry_after=60]", json!({})).await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (429, "60".to_owned()));
    assert_eq!(scene.provider.bill.seen().len(), 1);
    scene.stop().await;
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_is_made() {
    let scene = Scene::with("max_attempts = 2", |_| EVERYWHERE.to_owned()).await;
    let began = keyward::clock::instant();
    assert_eq!(scene.chat("[mock status=429 retry_after=1]", json!({})).await.status(), 429);
    assert_eq!(scene.provider.bill.seen().len(), 2);
    assert!(began.elapsed() >= Duration::from_secs(1));
    scene.stop().await;
}

#[tokio::test]
async fn a_ban_is_felt_also_while_the_provider_asks_to_be_left_alone() {
    let scene = Scene::start().await;
    let body = chat("[mock status=429 retry_after=25]", json!({}));
    let asking = tokio::spawn(scene.post("/v1/chat/completions", &body).send());
    eventually("the provider has answered", async || scene.provider.bill.totals().errors == 1).await;
    scene.ban().await;
    let banned = keyward::clock::instant();
    assert_eq!(asking.await.unwrap().unwrap().status(), 403);
    assert!(banned.elapsed() < Duration::from_secs(5), "{:?}", banned.elapsed());
    assert_eq!((scene.provider.bill.seen().len(), scene.spent().await), (1, 0));
    scene.stop().await;
}

#[tokio::test]
async fn a_silent_provider_falls_back_within_its_time_and_what_it_may_bill_is_charged() {
    let silent = post(|| async { std::future::pending::<()>().await });
    let (url, _serving) = serve(Router::new().route("/v1/chat/completions", silent)).await;
    let scene = Scene::with("first_byte_timeout_ms = 300", |path| {
        let route = "[[gateway.routes]]\nmodel = \"gpt-4.1\"\nupstreams = [\"silent\"]\nfallback = [\"openai\"]\n\
                     [[gateway.routes]]\nmodel = \"gpt-*\"\nupstreams = [\"silent\"]\n";
        format!("{}{route}", upstream("silent", "openai", &url, path))
    })
    .await;
    let of = |model: &str| chat("[mock input=10 output=5]", json!({ "max_tokens": 50, "model": model }));
    let held = serde_json::to_vec(&of("gpt-4.1")).unwrap().len() as u64 * 2_000 + 50 * 8_000;
    let response = scene.post("/v1/chat/completions", &of("gpt-4.1")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let used = 10 * 2_000 + 5 * 8_000;
    let cost = nanos(&header(&response, "x-cost-usd"));
    assert_eq!(cost, held + used, "the client pays for its answer, and for what the silent one may bill");
    assert_eq!(scene.spent().await, cost);
    let response = scene.post("/v1/chat/completions", &of("gpt-4.1-mini")).send().await.unwrap();
    assert_eq!(response.status(), 504);
    scene.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_falls_back_and_costs_nothing() {
    let scene = Scene::with("", |path| {
        let route =
            "[[gateway.routes]]\nmodel = \"gpt-*\"\nupstreams = [\"gone\"]\nfallback = [\"openai\"]\n";
        format!("{}{route}", upstream("gone", "openai", "http://127.0.0.1:1", path))
    })
    .await;
    let response = scene.chat("[mock input=10 output=5]", json!({ "max_tokens": 50 })).await;
    assert_eq!(response.status(), 200);
    assert_eq!(nanos(&header(&response, "x-cost-usd")), 10 * 2_000 + 5 * 8_000);
    assert_eq!(scene.spent().await, 10 * 2_000 + 5 * 8_000);
    scene.stop().await;
}

#[tokio::test]
async fn what_never_had_a_connection_costs_nothing_however_long_it_took() {
    // It never answers the greeting of TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let settings = "first_byte_timeout_ms = 300\nmax_attempts = 1\nconnect_timeout_ms = 10000";
    let scene = Scene::with(settings, |path| {
        let route = "[[gateway.routes]]\nmodel = \"*\"\nupstreams = [\"gone\"]\n";
        format!("{}{route}", upstream("gone", "openai", &url, path))
    })
    .await;
    assert_eq!(scene.chat("hi", json!({ "max_tokens": 50 })).await.status(), 504);
    assert_eq!(scene.spent().await, 0);
    scene.stop().await;
}

/// A provider before which one model has no room for a minute, and another has.
async fn limited(settings: &str) -> Scene {
    let limited = post(|body: axum::body::Bytes| async move {
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let is_small = asked["model"] == "gpt-4.1-mini";
        let answer = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}});
        let response = axum::response::Response::builder().header("content-type", "application/json");
        let response = if is_small { response } else { response.status(429).header("retry-after", "60") };
        response.body(axum::body::Body::from(answer.to_string())).unwrap()
    });
    let (url, _serving) = serve(Router::new().route("/v1/chat/completions", limited)).await;
    Scene::with(settings, |path| {
        let route = "[[gateway.routes]]\nmodel = \"gpt-4.1\"\nupstreams = [\"limited\"]\nfallback = [{ name = \
                     \"limited\", model = \"gpt-4.1-mini\" }]\n";
        format!("{}{route}", upstream("limited", "openai", &url, path))
    })
    .await
}

#[tokio::test]
async fn a_smaller_model_of_the_same_provider_is_asked_with_room_for_one_request_alone() {
    let scene = limited("").await;
    let body = chat("hi", json!({ "max_tokens": 50 }));
    let held = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000 + 50 * 8_000;
    // Less than two of them.
    let budget = format!("0.{:09}", held * 3 / 2);
    let limits = json!([{ "unit": "requests", "window": "1min", "limit": 1 }]);
    scene.register(json!({ "budget_usd": budget, "limits": limits })).await;
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    assert_eq!(scene.held().await, 0);
    assert_eq!(scene.chat("hi", json!({})).await.status(), 429, "it counted as one");
    scene.stop().await;
}

#[tokio::test]
async fn a_model_that_the_key_may_not_use_is_no_fallback_for_it() {
    let scene = limited("").await;
    scene.register(json!({ "budget_usd": "1", "allowed_models": ["gpt-4.1"] })).await;
    let response = scene.chat("hi", json!({})).await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (429, "60".to_owned()));
    scene.register(json!({ "budget_usd": "1", "allowed_models": ["gpt-4.1-mini"] })).await;
    let refused = scene.chat("hi", json!({})).await;
    assert_eq!(refused.status(), 403, "what it asks for is another model, and none takes its place");
    scene.stop().await;
}

#[tokio::test]
async fn an_error_in_a_stream_that_answers_200_falls_back_as_any_other_does() {
    let (scene, second) = with_second("").await;
    let response = scene.chat("[mock error_after=0]", json!({ "stream": true })).await;
    assert_eq!(response.status(), 502);
    assert_eq!((scene.provider.bill.seen().len(), second.bill.seen().len()), (2, 1));
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    scene.stop().await;
}

#[tokio::test]
async fn a_provider_that_refuses_our_key_is_no_failure_of_the_clients() {
    let (scene, second) = with_second("").await;
    let response = scene.chat("[mock status=401]", json!({})).await;
    assert_eq!(response.status(), 502);
    assert!(!response.text().await.unwrap().contains("invalid_api_key"));
    assert_eq!((scene.provider.bill.seen().len(), second.bill.seen().len()), (1, 1), "each is asked once");
    let engine = &scene.running.engine;
    let query = || EventQuery {
        kind: Some(EventType::ProviderCredentialRefused),
        limit: 10,
        ..EventQuery::default()
    };
    let logged = async || engine.store().events(&query()).await.unwrap().items;
    eventually("the event is in the log", async || logged().await.len() == 2).await;
    for event in logged().await {
        let is_ours = event.detector.is_some_and(|detector| detector.starts_with("gateway:"));
        assert!(is_ours && event.severity == Severity::Critical);
    }
    scene.stop().await;
}
