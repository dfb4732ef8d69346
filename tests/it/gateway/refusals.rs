//! Each refusal has the status and the shape that SDKs read as a typed error, and nothing of it reaches a provider.

use reqwest::Response;
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, VIRTUAL, chat, header};

/// Status, type and code of an error of OpenAI's shape.
async fn openai(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let error: Value = response.json().await.unwrap();
    let text = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    assert!(!text("message").is_empty(), "{error}");
    (status, text("type"), text("code"))
}

fn expected(status: u16, kind: &str, code: &str) -> (u16, String, String) {
    (status, kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn a_key_that_is_missing_unknown_or_not_the_only_one_is_refused() {
    let scene = Scene::start().await;
    let url = format!("{}/v1/chat/completions", scene.url);
    let body = chat("hi", json!({}));
    let post = || scene.client.post(&url).json(&body);
    let of = async |request: reqwest::RequestBuilder| openai(request.send().await.unwrap()).await;
    let invalid = expected(401, "invalid_request_error", "invalid_api_key");
    assert_eq!(of(post()).await, invalid);
    assert_eq!(of(post().bearer_auth("kwk_nobody-knows-it")).await, invalid);
    let two = post().bearer_auth(VIRTUAL).header("x-api-key", "kwk_another");
    assert_eq!(of(two).await, expected(403, "permission_error", "ambiguous_key"));
    let message = scene.client.post(format!("{}/v1/messages", scene.url)).header("x-api-key", "kwk_nobody");
    let response = message.json(&json!({ "model": "claude-x" })).send().await.unwrap();
    assert_eq!(response.status(), 401);
    let error: Value = response.json().await.unwrap();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("authentication_error")));
    assert!(scene.provider.bill.seen().is_empty());
    scene.stop().await;
}

#[tokio::test]
async fn a_banned_key_is_refused_and_no_retry_is_asked_for() {
    let scene = Scene::start().await;
    scene.ban().await;
    let response = scene.chat("hi", json!({})).await;
    assert_eq!(header(&response, "x-should-retry"), "false");
    assert_eq!(header(&response, "x-keyward-reason"), "API_KEY_BANNED");
    assert_eq!(openai(response).await, expected(403, "permission_error", "api_key_banned"));
    // Whatever the body is: it is not read.
    let unreadable = scene.post("/v1/chat/completions", &json!({})).body("{").send().await.unwrap();
    assert_eq!(openai(unreadable).await, expected(403, "permission_error", "api_key_banned"));
    scene.stop().await;
}

#[tokio::test]
async fn a_budget_that_is_used_up_and_a_limit_that_is_reached_are_told_apart() {
    let scene = Scene::start().await;
    scene.register(json!({ "budget_usd": "0.000001" })).await;
    let response = scene.chat("hi", json!({ "max_tokens": 50 })).await;
    assert_eq!(header(&response, "x-should-retry"), "false");
    assert_eq!(openai(response).await, expected(429, "insufficient_quota", "insufficient_quota"));
    scene.register(json!({ "limits": [{ "unit": "requests", "window": "1min", "limit": 1 }] })).await;
    assert_eq!(scene.chat("hi", json!({})).await.status(), 200);
    let response = scene.chat("hi", json!({})).await;
    let seconds: u64 = header(&response, "retry-after").parse().unwrap();
    // A window is exact to a sixtieth.
    assert!((1..=61).contains(&seconds), "{seconds}");
    assert_eq!(header(&response, "x-should-retry"), "");
    assert_eq!(openai(response).await, expected(429, "requests", "rate_limit_exceeded"));
    scene.stop().await;
}

#[tokio::test]
async fn a_model_that_the_key_may_not_use_or_that_no_route_leads_to_is_refused() {
    let routes = "[[gateway.routes]]\nmodel = \"gpt-*\"\nupstreams = [\"openai\"]\n";
    let scene = Scene::with("", |_| routes.to_owned()).await;
    scene.register(json!({ "allowed_models": ["gpt-4.1-mini"] })).await;
    let response = scene.chat("hi", json!({})).await;
    assert_eq!(openai(response).await, expected(403, "permission_error", "key_not_allowed"));
    let response = scene.chat("hi", json!({ "model": "o9" })).await;
    assert_eq!(openai(response).await, expected(404, "invalid_request_error", "model_not_found"));
    let message = json!({ "model": "gpt-4.1", "max_tokens": 5, "messages": [] });
    let response = scene.post("/v1/messages", &message).send().await.unwrap();
    assert_eq!(response.status(), 404, "its route leads to no upstream of this dialect");
    assert!(scene.provider.bill.seen().is_empty());
    scene.stop().await;
}

#[tokio::test]
async fn what_is_not_metered_is_not_passed_on() {
    let scene = Scene::start().await;
    for path in
        ["/v1/images/generations", "/v1/audio/speech", "/v1/files", "/v1/responses/resp_1/cancel", "/"]
    {
        let response = scene.post(path, &json!({ "model": "gpt-4.1" })).send().await.unwrap();
        assert_eq!(openai(response).await, expected(404, "invalid_request_error", "unknown_url"), "{path}");
    }
    let get = scene.client.get(format!("{}/v1/chat/completions", scene.url)).bearer_auth(VIRTUAL);
    assert_eq!(get.send().await.unwrap().status(), 404);
    assert!(scene.provider.bill.seen().is_empty());
    scene.stop().await;
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_is_refused_at_once_or_goes_to_a_model_in_which_it_fits() {
    let models = "models = [{ model = \"gpt-4.1*\", context_window = 1000 }, { model = \"large\", \
                  context_window = 9000 }]";
    let routes = "[[gateway.routes]]\nmodel = \"gpt-4.1\"\nupstreams = [\"openai\"]\n[[gateway.routes]]\nmodel = \
                  \"gpt-4.1-*\"\nupstreams = [\"openai\"]\nfallback = [{ name = \"openai\", model = \"large\" }]\n";
    let scene = Scene::with(models, |_| routes.to_owned()).await;
    let long = "word ".repeat(1_600);
    let response = scene.chat(&long, json!({})).await;
    assert_eq!(openai(response).await, expected(400, "invalid_request_error", "context_length_exceeded"));
    assert!(scene.provider.bill.seen().is_empty());
    assert_eq!(scene.chat(&long, json!({ "model": "gpt-4.1-mini" })).await.status(), 200);
    let sent: Value = serde_json::from_slice(&scene.provider.bill.seen()[0].body).unwrap();
    assert_eq!(sent["model"], "large");
    scene.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_with_what_is_wrong() {
    let scene = Scene::with("", |_| EVERYWHERE.to_owned()).await;
    for body in [
        "{",
        "[]",
        r#"{"model":7}"#,
        r#"{"model":"a","Model":"b"}"#,
        r#"{"model":"a","model":"b"}"#,
        r#"{"messages":[]}"#,
    ] {
        let request = scene.post("/v1/chat/completions", &json!({})).body(body.to_owned());
        let answer = openai(request.send().await.unwrap()).await;
        assert_eq!(answer, expected(400, "invalid_request_error", ""), "{body}");
    }
    assert!(scene.provider.bill.seen().is_empty());
    scene.stop().await;
}
