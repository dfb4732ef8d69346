//! The client's key never goes up, the provider's never comes down, and prompts and answers are in no file and no log.

use std::path::Path;

use axum::{Router, body::Body, extract::Request, response::Response, routing::post};
use serde_json::{Value, json};

use super::{
    killed::command,
    scene::{EVERYWHERE, PROVIDER, Scene, VIRTUAL, chat, serve, upstream},
};
use crate::{
    app::{Served, client},
    redis_server::free_port,
};

const PROMPT: &str = "a-prompt-that-nobody-keeps-31337";
const ANSWER: &str = "an-answer-that-nobody-keeps-27182";

/// Every file below a directory that holds one of `needles`.
fn holding(directory: &Path, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, needles));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let held = needles.iter().filter(|needle| memchr::memmem::find(&bytes, needle.as_bytes()).is_some());
        found.extend(held.map(|needle| format!("{}: {needle}", path.display())));
    }
    found
}

#[tokio::test]
async fn the_providers_key_goes_up_alone_and_a_client_cannot_smuggle_its_own() {
    let scene = Scene::start().await;
    let request =
        scene.post("/v1/chat/completions?key=kwk_in-the-url&api-version=1", &chat(PROMPT, json!({})));
    let request = request.header("api-key", VIRTUAL).header("x-api-key", VIRTUAL).header("cookie", VIRTUAL);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let message = json!({ "model": "claude-x", "max_tokens": 5, "messages": [] });
    assert_eq!(scene.post("/v1/messages?beta=true", &message).send().await.unwrap().status(), 200);
    let seen = scene.provider.bill.seen();
    assert_eq!(seen[0].line, "POST /v1/chat/completions?api-version=1");
    assert_eq!(seen[1].line, "POST /v1/messages?beta=true");
    let has =
        |n: usize, name: &str, value: &str| seen[n].headers.contains(&(name.to_owned(), value.to_owned()));
    assert!(has(0, "authorization", &format!("Bearer {PROVIDER}")), "{:?}", seen[0].headers);
    assert!(has(1, "x-api-key", PROVIDER) && has(1, "accept-encoding", "identity"), "{:?}", seen[1].headers);
    for request in &seen {
        let text = format!("{:?}", (&request.line, &request.headers));
        assert!(!text.contains("kwk_"), "{text}");
    }
    let directory = scene.stop().await;
    let needles = [PROMPT, VIRTUAL, PROVIDER];
    assert_eq!(holding(&directory.path().join("data"), &needles), Vec::<String>::new());
}

#[tokio::test]
async fn a_provider_that_repeats_its_key_is_not_repeated() {
    let echo = post(|request: Request| async move {
        let key = request.headers()["authorization"].to_str().unwrap().to_owned();
        let is_stream = request.headers().contains_key("openai-beta");
        let kind = if is_stream { "text/event-stream" } else { "application/json" };
        let body = if is_stream {
            format!("data: {{\"choices\":[{{\"x\":\"{key}\"}}]}}\n\ndata: [DONE]\n\n")
        } else {
            json!({ "error": key }).to_string()
        };
        let response = Response::builder().status(if is_stream { 200 } else { 400 });
        let response = response.header("content-type", kind).header("openai-organization", &key);
        response.body(Body::from(body)).unwrap()
    });
    let (url, _serving) = serve(Router::new().route("/v1/chat/completions", echo)).await;
    let scene = Scene::with("", |path| {
        let route = "[[gateway.routes]]\nmodel = \"gpt-4.1\"\nupstreams = [\"echo\"]\n";
        format!("{}{EVERYWHERE}{route}", upstream("echo", "openai", &url, path))
    })
    .await;
    for stream in [false, true] {
        let mut request = scene.post("/v1/chat/completions", &chat("hi", json!({ "stream": stream })));
        if stream {
            request = request.header("openai-beta", "x");
        }
        let response = request.send().await.unwrap();
        let headers = format!("{:?}", response.headers());
        let text = response.text().await.unwrap();
        assert!(text.contains("Bearer ***"), "{text}");
        assert!(!text.contains(PROVIDER) && !headers.contains(PROVIDER), "{headers} {text}");
    }
    scene.stop().await;
}

/// A provider whose answers nobody may keep: whole, as a stream that breaks off, as errors, and as what is no JSON. The
/// name of the end user says which.
fn talkative() -> Router {
    let answer = post(|request: Request| async move {
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let error = json!({ "error": { "message": ANSWER, "type": ANSWER } }).to_string();
        let whole = json!({ "choices": [{ "message": { "content": ANSWER } }], "usage": ANSWER }).to_string();
        let (status, kind, text) = match asked["user"].as_str().unwrap() {
            "stream" => (200, "text/event-stream", format!("data: {whole}\n\n")),
            "error" => (500, "application/json", error),
            "refusal" => (401, "application/json", error),
            "noise" => (200, "application/json", ANSWER.to_owned()),
            _ => (200, "application/json", whole),
        };
        let response = Response::builder().status(status).header("content-type", kind);
        response.body(Body::from(text)).unwrap()
    });
    Router::new().route("/v1/chat/completions", answer)
}

#[tokio::test]
async fn prompts_answers_and_keys_are_in_no_log_and_in_no_file() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    std::fs::write(directory.path().join("provider-key"), PROVIDER).unwrap();
    let (provider, _serving) = serve(talkative()).await;
    let mut command = command(directory.path(), port, &provider);
    command.env("RUST_LOG", "keyward=trace,audit=trace,tower_http=trace,axum=trace");
    let (served, client) = (Served::start_with(&mut command), client());
    let issued = client.post(format!("{}/v1/keys", served.url)).json(&json!({}));
    let issued: Value = issued.send().await.unwrap().json().await.unwrap();
    let secret = issued["secret"].as_str().unwrap();
    let (mut seen, url) = (0, format!("http://127.0.0.1:{port}/v1/chat/completions"));
    for user in ["whole", "stream", "error", "refusal", "noise"] {
        let body = chat(PROMPT, json!({ "user": user, "stream": user == "stream", "max_tokens": 50 }));
        let response = client.post(&url).bearer_auth(secret).json(&body).send().await.unwrap();
        // What broke off is no clean end.
        let text = response.text().await.unwrap_or_default();
        seen += usize::from(text.contains(ANSWER));
    }
    assert!(seen >= 3, "answers came through: {seen}");
    let metrics = client.get(format!("{}/metrics", served.url)).send().await.unwrap().text().await.unwrap();
    let (status, lines) = served.end();
    let log = lines.join("\n");
    assert!(status.success() && log.contains("key issued"), "{log}");
    let needles = [PROMPT, ANSWER, secret, PROVIDER];
    for (place, text) in [("log", &log), ("metrics", &metrics)] {
        let found: Vec<_> = needles.iter().filter(|needle| text.contains(*needle)).collect();
        assert_eq!(found, Vec::<&&str>::new(), "in the {place}");
    }
    assert_eq!(holding(&directory.path().join("data"), &needles), Vec::<String>::new());
}
