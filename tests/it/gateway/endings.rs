//! However a request ends: the provider is left at once, the client is not deceived, and what is unknown is charged.

use std::time::Duration;

use keyward::{domain::actor::Actor, store::DocumentKind};
use reqwest::Response;
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Provider, Scene, chat, upstream};
use crate::support::{eventually, within};

const LONG: &str = "[mock events=2000 event_delay_ms=20 input=10 output=40]";

/// The rest of a stream; an error where its connection broke.
async fn rest(response: &mut Response) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(text).unwrap(), true),
            Err(_) => return (String::from_utf8(text).unwrap(), false),
        }
    }
}

/// The body of a stream's request, and what is held for it.
fn stream(prompt: &str) -> (Value, u64) {
    let body = chat(prompt, json!({ "stream": true, "max_tokens": 50 }));
    let held = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000 + 50 * 8_000;
    (body, held)
}

async fn begun(scene: &Scene, path: &str, body: &Value) -> Response {
    let mut response = scene.post(path, body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.chunk().await.unwrap().unwrap();
    response
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once_and_its_whole_reservation_is_charged() {
    let scene = Scene::start().await;
    let (body, held) = stream(LONG);
    drop(begun(&scene, "/v1/chat/completions", &body).await);
    let second = Duration::from_secs(1);
    within(second, "the provider is left", async || scene.provider.bill.totals().cancelled == 1).await;
    assert_eq!(scene.spent().await, held);
    scene.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_begins_is_noticed_too() {
    let scene = Scene::start().await;
    let body = chat("[mock delay_ms=600000]", json!({ "max_tokens": 50 }));
    let asking = tokio::spawn(scene.post("/v1/chat/completions", &body).send());
    eventually("the provider is asked", async || scene.provider.bill.totals().open == 1).await;
    asking.abort();
    let second = Duration::from_secs(1);
    within(second, "the provider is left", async || scene.provider.bill.totals().cancelled == 1).await;
    scene.is_quiet().await;
    assert_eq!(scene.provider.bill.seen().len(), 1, "nobody is asked once more for a client that is gone");
    scene.stop().await;
}

/// A service before a provider that stops billing when its client leaves.
async fn before_one_that_stops() -> (Scene, Provider) {
    let provider = Provider::start().await;
    let url = provider.url.clone();
    let scene = Scene::with("", |path| {
        let route = "[[gateway.routes]]\nmodel = \"*\"\nupstreams = [\"stops\"]\n";
        format!("{}bills_after_cancel = false\n{route}", upstream("stops", "openai", &url, path))
    })
    .await;
    (scene, provider)
}

#[tokio::test]
async fn where_the_provider_stops_billing_a_client_that_leaves_before_a_stream_begins_pays_for_its_prompt() {
    let (scene, provider) = before_one_that_stops().await;
    for is_stream in [true, false] {
        let before = scene.spent().await;
        let more = json!({ "max_tokens": 50, "stream": is_stream });
        let body = chat("[mock delay_ms=600000]", more);
        let prompt = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000;
        let asking = tokio::spawn(scene.post("/v1/chat/completions", &body).send());
        eventually("the provider is asked", async || provider.bill.totals().open == 1).await;
        asking.abort();
        eventually("nothing is held", async || scene.held().await == 0).await;
        // How much there is of a whole answer by then is not known.
        let answer = if is_stream { 0 } else { 50 * 8_000 };
        assert_eq!(scene.spent().await - before, prompt + answer, "stream: {is_stream}");
        eventually("the provider is left", async || provider.bill.totals().open == 0).await;
    }
    scene.stop().await;
}

#[tokio::test]
async fn where_the_provider_stops_billing_a_client_that_leaves_pays_for_what_came() {
    let (scene, _provider) = before_one_that_stops().await;
    let (body, held) = stream(LONG);
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    let mut events = 1;
    while events < 10 {
        events +=
            response.chunk().await.unwrap().unwrap().windows(5).filter(|bytes| bytes == b"data:").count();
    }
    drop(response);
    let is_settled = async || scene.spent().await < held;
    within(Duration::from_secs(5), "it is settled", is_settled).await;
    let prompt = held - 50 * 8_000;
    let answer = (scene.spent().await - prompt) / 8_000;
    assert!((10..40).contains(&answer), "{answer}");
    scene.stop().await;
}

#[tokio::test]
async fn a_ban_ends_a_stream_within_300_ms_with_an_error_that_clients_read() {
    let scene = Scene::start().await;
    let message = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 50, "stream": true,
        "messages": [{ "role": "user", "content": LONG }],
    });
    let (body, _) = stream(LONG);
    let mut openai = begun(&scene, "/v1/chat/completions", &body).await;
    let mut anthropic = begun(&scene, "/v1/messages", &message).await;
    scene.ban().await;
    let banned = keyward::clock::instant();
    let (of_openai, of_anthropic) = tokio::join!(rest(&mut openai), rest(&mut anthropic));
    let took = banned.elapsed();
    assert!(took < Duration::from_millis(300), "{took:?}");
    for ((text, is_clean), name) in [(of_openai, ""), (of_anthropic, "event: error\n")] {
        let (_, last) = text.trim_end().rsplit_once("\n\n").unwrap();
        let data = last.strip_prefix(name).unwrap().strip_prefix("data: ").unwrap();
        let error: Value = serde_json::from_str(data).unwrap();
        assert_eq!(error["error"]["type"], "permission_error", "{text}");
        assert!(is_clean && !text.contains("[DONE]") && !text.contains("message_stop"));
    }
    scene.is_quiet().await;
    assert_eq!(scene.provider.bill.totals().cancelled, 2);
    assert_eq!(scene.chat("again", json!({})).await.status(), 403);
    scene.stop().await;
}

#[tokio::test]
async fn a_key_that_is_taken_out_of_the_registry_ends_its_streams() {
    let scene = Scene::start().await;
    let (body, _) = stream(LONG);
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    scene.register(json!({ "expires": "2020-01-01T00:00:00Z" })).await;
    let (text, _) = rest(&mut response).await;
    assert!(text.contains("\"code\":\"key_not_allowed\""), "{text}");
    scene.stop().await;
}

#[tokio::test]
async fn a_key_that_is_deleted_ends_its_streams_within_300_ms() {
    let scene = Scene::start().await;
    let (body, _) = stream(LONG);
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    let engine = &scene.running.engine;
    let (by, now) = (Actor::local(), engine.now());
    engine.registry_changes().delete(DocumentKind::Key, &scene.key_id, &by, now).await.unwrap();
    let deleted = keyward::clock::instant();
    let (text, is_clean) = rest(&mut response).await;
    let took = deleted.elapsed();
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert!(is_clean && text.contains("\"code\":\"invalid_api_key\"") && !text.contains("[DONE]"), "{text}");
    scene.is_quiet().await;
    assert_eq!(scene.provider.bill.totals().cancelled, 1);
    scene.stop().await;
}

#[tokio::test]
async fn the_memory_of_a_request_is_free_again_once_its_answer_begins() {
    let scene = Scene::with("body_memory_mib = 32", |_| EVERYWHERE.to_owned()).await;
    let large = "x".repeat(20 * 1024 * 1024);
    let (body, _) = stream(&format!("{LONG}{large}"));
    let flowing = begun(&scene, "/v1/chat/completions", &body).await;
    let another = chat(&large, json!({ "max_tokens": 1 }));
    let has_room = async || {
        let response = scene.post("/v1/chat/completions", &another).send().await.unwrap();
        response.status() == 200
    };
    eventually("there is room for another as large", has_room).await;
    drop(flowing);
    scene.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_answer_and_is_charged_as_it_was_held() {
    let scene = Scene::start().await;
    let (body, held) = stream("[mock cut=5 events=20 output=40]");
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    let (text, _) = rest(&mut response).await;
    assert!(text.contains("\"type\":\"server_error\"") && !text.contains("[DONE]"), "{text}");
    assert_eq!(scene.spent().await, held);
    scene.stop().await;
}

#[tokio::test]
async fn an_error_within_a_stream_goes_on_as_it_is_and_nothing_follows_it() {
    let scene = Scene::start().await;
    let (body, held) = stream("[mock error_after=3 output=40]");
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    let (text, _) = rest(&mut response).await;
    assert!(text.trim_end().ends_with("}}") && text.contains("asked for 529"), "{text}");
    scene.spends(held).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_stream_that_flows_is_waited_for_however_long_it_takes() {
    let scene =
        Scene::with("idle_timeout_ms = 2000\nstream_first_byte_timeout_ms = 2000", |_| EVERYWHERE.to_owned())
            .await;
    let (slow, _) = stream("[mock events=30 event_delay_ms=100 input=10 output=5]");
    let mut response = begun(&scene, "/v1/chat/completions", &slow).await;
    let (text, _) = rest(&mut response).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "no total limits a stream that flows: {text}");
    scene.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_when_the_service_stops_is_settled() {
    let scene = Scene::start().await;
    let (body, _) = stream("[mock events=20 event_delay_ms=20 input=10 output=5]");
    let mut response = begun(&scene, "/v1/chat/completions", &body).await;
    let url = scene.url.clone();
    let stopping = tokio::spawn(scene.stop());
    let (text, _) = rest(&mut response).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    stopping.await.unwrap();
    assert!(crate::app::client().get(url).send().await.is_err());
}
