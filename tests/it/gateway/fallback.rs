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
    assert_eq!(nanos(&header(&response, "x-cost-usd")), used, "the client pays for its answer");
    assert_eq!(scene.spent().await, held + used, "and for what the silent one may bill");
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
