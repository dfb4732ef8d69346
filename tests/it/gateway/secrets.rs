//! The client's key never goes up, the provider's never comes down, and prompts and answers are nowhere.

use std::path::Path;

use axum::{Router, body::Body, extract::Request, response::Response, routing::post};
use serde_json::json;

use super::scene::{EVERYWHERE, PROVIDER, Scene, VIRTUAL, chat, serve, upstream};

const PROMPT: &str = "a-prompt-that-nobody-keeps-31337";

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
