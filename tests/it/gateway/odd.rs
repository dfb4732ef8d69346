//! Providers that answer oddly: what is no answer falls back, what is one ends as one, and nothing is charged as exact
//! that nobody counted.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::Response,
    routing::{MethodRouter, post},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::Response as Answer;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::scene::{Scene, chat, header, serve, upstream};

/// A provider that gives one answer, whatever it is asked.
struct Odd {
    url: String,
    asked: Arc<AtomicUsize>,
    _serving: JoinHandle<()>,
}

impl Odd {
    /// Answers with these parts, each by itself; it breaks the connection behind them where `breaks`.
    async fn start(
        headers: &'static [(&'static str, &'static str)],
        parts: Vec<String>,
        breaks: bool,
    ) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, parts) = (asked.clone(), Arc::new(parts));
        let answer: MethodRouter = post(move || async move {
            count.fetch_add(1, Ordering::AcqRel);
            let parts = (0..parts.len()).map(move |n| Ok(Bytes::from(parts[n].clone())));
            let end = breaks.then(|| Err(std::io::Error::other("broken")));
            // Time for each part to go out by itself.
            let paced = stream::iter(parts.chain(end)).then(|part| async {
                keyward::clock::sleep(Duration::from_millis(30)).await;
                part
            });
            let response = headers
                .iter()
                .fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
            Ok::<_, Infallible>(response.body(Body::from_stream(paced)).unwrap())
        });
        let (url, serving) = serve(Router::new().fallback_service(answer)).await;
        Self { url, asked, _serving: serving }
    }

    async fn stream(parts: &[&str]) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self::start(&[("content-type", "text/event-stream")], parts, false).await
    }

    async fn plain(body: &str) -> Self {
        Self::start(&[("content-type", "application/json")], vec![body.to_owned()], false).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }

    /// A service before this provider: `gpt-4.1` and `claude-odd` lead to it alone, `gpt-4.1-mini` and `claude-back`
    /// also to the mock provider.
    async fn scene(&self) -> Scene {
        Scene::with("max_attempts = 2\nidle_timeout_ms = 2000", |path| {
            let route = |model: &str, name: &str, fallback: &str| {
                format!(
                    "[[gateway.routes]]\nmodel = {model:?}\nupstreams = [{name:?}]\nfallback = [{fallback}]\n"
                )
            };
            [
                upstream("odd", "openai", &self.url, path),
                upstream("odd-messages", "anthropic", &self.url, path),
                route("gpt-4.1", "odd", ""),
                route("gpt-4.1-mini", "odd", "\"openai\""),
                route("claude-odd", "odd-messages", ""),
                route("claude-sonnet-4-5", "odd-messages", "\"anthropic\""),
            ]
            .concat()
        })
        .await
    }
}

/// What a stream has, and whether it ended as it should.
async fn whole(mut response: Answer) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(text).unwrap(), true),
            Err(_) => return (String::from_utf8_lossy(&text).into_owned(), false),
        }
    }
}

fn held(body: &Value) -> u64 {
    serde_json::to_vec(body).unwrap().len() as u64 * 2_000 + 50 * 8_000
}

#[tokio::test]
async fn an_error_in_a_plain_200_falls_back_and_costs_nothing() {
    let odd = Odd::plain(r#"{"error":{"message":"Provider returned error","code":502}}"#).await;
    let scene = odd.scene().await;
    let response = scene.chat("hi", json!({ "max_tokens": 50 })).await;
    assert_eq!((response.status().as_u16(), odd.asked()), (502, 2));
    assert!(
        response.text().await.unwrap().contains("Provider returned error"),
        "in the provider's own words"
    );
    assert_eq!(scene.spent().await, 0);
    let response = scene.chat("hi", json!({ "max_tokens": 50, "model": "gpt-4.1-mini" })).await;
    assert_eq!(response.status(), 200);
    assert_eq!((odd.asked(), scene.provider.bill.seen().len()), (3, 1));
    scene.stop().await;
}

#[tokio::test]
async fn an_error_behind_nothing_but_the_beginning_of_a_stream_falls_back() {
    let chunks = [
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"error\":{\"message\":\"overloaded\",\"code\":502}}\n\n",
    ];
    let message = [
        "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
        "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n",
    ];
    let odd = Odd::stream(&chunks).await;
    let scene = odd.scene().await;
    let body = chat("hi", json!({ "stream": true, "model": "gpt-4.1-mini", "max_tokens": 50 }));
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    let (text, is_clean) = whole(response).await;
    assert!(is_clean && text.ends_with("data: [DONE]\n\n") && !text.contains("overloaded"), "{text}");
    assert_eq!((odd.asked(), scene.provider.bill.seen().len()), (1, 1));
    scene.stop().await;
    let odd = Odd::stream(&message).await;
    let scene = odd.scene().await;
    let body = json!({ "model": "claude-sonnet-4-5", "stream": true, "max_tokens": 9, "messages": [] });
    let (text, is_clean) = whole(scene.post("/v1/messages", &body).send().await.unwrap()).await;
    assert!(is_clean && text.contains("event: message_stop") && !text.contains("event: error"), "{text}");
    scene.stop().await;
}

#[tokio::test]
async fn an_answer_that_ends_in_the_middle_is_no_answer_although_its_connection_ends_well() {
    let odd = Odd::plain(r#"{"choices":[{"message":{"content":"hal"#).await;
    let scene = odd.scene().await;
    let body = chat("hi", json!({ "max_tokens": 50 }));
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("broke off"));
    assert_eq!(scene.spent().await, 2 * held(&body), "each of two attempts may be billed");
    scene.stop().await;
}

#[tokio::test]
async fn an_answer_in_an_encoding_that_nobody_asked_for_is_not_handed_on_unreadable() {
    let headers = &[("content-type", "application/json"), ("content-encoding", "br")];
    let odd = Odd::start(headers, vec!["{}".to_owned()], false).await;
    let scene = odd.scene().await;
    let response = scene.chat("hi", json!({})).await;
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("has an encoding that was not asked for"));
    assert_eq!(odd.asked(), 1, "it would do so again");
    scene.stop().await;
}

#[tokio::test]
async fn a_response_ends_well_without_names_of_events_and_however_large_its_last_event_is() {
    let body = json!({ "model": "gpt-4.1", "input": "hi", "stream": true, "max_output_tokens": 50 });
    let ask = async |parts: &[&str]| {
        let odd = Odd::stream(parts).await;
        let scene = odd.scene().await;
        let answer = whole(scene.post("/v1/responses", &body).send().await.unwrap()).await;
        scene.is_quiet().await;
        let spent = scene.spent().await;
        scene.stop().await;
        (answer, spent)
    };
    let unnamed = [
        "data: {\"type\":\"response.created\",\"response\":{}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,\
         \"output_tokens\":5}}}\n\n",
    ];
    assert_eq!(ask(&unnamed).await, ((unnamed.concat(), true), 10 * 2_000 + 5 * 8_000));
    let large = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{}\"}}}}\n\n",
        "y".repeat(1_500_000)
    );
    let (first, second) = large.split_at(1_200_000);
    let ((text, is_clean), spent) = ask(&[unnamed[1], first, second]).await;
    assert!(is_clean && text == format!("{}{large}", unnamed[1]), "{} bytes", text.len());
    assert_eq!(spent, held(&body), "its usage is not read");
}

#[tokio::test]
async fn a_stream_that_never_counted_its_prompt_is_charged_as_it_was_held() {
    let odd = Odd::stream(&[
        "event: message_start\ndata: {\"message\":{\"id\":\"m\"}}\n\n",
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"x\"}}\n\n",
        "event: message_delta\ndata: {\"usage\":{\"output_tokens\":20}}\n\n",
        "event: message_stop\ndata: {}\n\n",
    ])
    .await;
    let scene = odd.scene().await;
    let body = json!({ "model": "claude-sonnet-4-5", "stream": true, "max_tokens": 50, "messages": [] });
    let (text, is_clean) = whole(scene.post("/v1/messages", &body).send().await.unwrap()).await;
    assert!(is_clean && text.contains("message_stop"), "{text}");
    let bytes = serde_json::to_vec(&body).unwrap().len() as u64;
    scene.spends(bytes * 3_000 + 50 * 15_000).await;
    scene.stop().await;
}

#[tokio::test]
async fn nothing_is_put_into_the_middle_of_an_event() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_owned();
    let half = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}", "z".repeat(1_200_000));
    let sent = [begun.clone(), half.clone()].concat();
    let odd = Odd::start(&[("content-type", "text/event-stream")], vec![begun, half], true).await;
    let scene = odd.scene().await;
    let (text, is_clean) = whole(scene.chat("hi", json!({ "stream": true })).await).await;
    assert!(!is_clean && text.contains('z'), "the connection breaks");
    assert!(sent.starts_with(&text), "{}", &text[text.len().saturating_sub(200)..]);
    scene.stop().await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_behind_its_first_words_ends_with_an_error() {
    let begun: MethodRouter = post(|| async {
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let parts = stream::iter([Ok::<_, Infallible>(chunk)]).chain(stream::pending());
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(Body::from_stream(parts))
            .unwrap()
    });
    let (url, _serving) = serve(Router::new().fallback_service(begun)).await;
    let scene = Scene::with("idle_timeout_ms = 500", |path| {
        let route = "[[gateway.routes]]\nmodel = \"*\"\nupstreams = [\"silent\"]\n";
        format!("{}{route}", upstream("silent", "openai", &url, path))
    })
    .await;
    let body = chat("hi", json!({ "stream": true, "max_tokens": 50 }));
    let (text, is_clean) = whole(scene.post("/v1/chat/completions", &body).send().await.unwrap()).await;
    assert!(is_clean && text.contains("fell silent"), "{text}");
    scene.spends(held(&body)).await;
    scene.stop().await;
}

#[tokio::test]
async fn what_a_broken_attempt_is_charged_is_in_the_cost_of_the_answer() {
    let odd = Odd::plain("{").await;
    let scene = odd.scene().await;
    let body = chat("[mock input=10 output=5]", json!({ "max_tokens": 50, "model": "gpt-4.1-mini" }));
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), header(&response, "x-keyward-usage")),
        (200, "estimated".to_owned())
    );
    assert_eq!(super::scene::nanos(&header(&response, "x-cost-usd")), scene.spent().await);
    scene.stop().await;
}
