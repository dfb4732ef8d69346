//! Bytes pass through as they are, but for the model and the chunk of usage that nobody asked for.

use std::io::Write;

use axum::{Router, body::Body, response::Response, routing::post};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, chat, header, serve, upstream};

/// What the provider itself answers.
async fn direct(scene: &Scene, path: &str, body: &Value) -> String {
    let url = format!("{}{path}", scene.provider.url);
    scene.client.post(url).json(body).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_plain_answer_is_the_providers_byte_for_byte_and_says_what_it_cost() {
    let scene = Scene::start().await;
    let body = chat("hi [mock input=1000 output=100 cached=400 reasoning=20]", json!({ "max_tokens": 100 }));
    let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    // 600 at 2, 400 at 0.5 and 100 at 8 dollars per million.
    assert_eq!(header(&response, "x-cost-usd"), "0.0022");
    assert_eq!(header(&response, "x-project-id"), "shop");
    assert_eq!(header(&response, "x-keyward-request-id").len(), 36);
    assert!(header(&response, "ratelimit").contains("cost_usd"), "{:?}", response.headers());
    assert_eq!(response.text().await.unwrap(), direct(&scene, "/v1/chat/completions", &body).await);
    assert_eq!(scene.spent().await, 2_200_000);
    let sent = &scene.provider.bill.seen()[0];
    assert_eq!(sent.body, serde_json::to_vec(&body).unwrap(), "nothing was changed on the way there");
    scene.stop().await;
}

#[tokio::test]
async fn a_stream_is_the_providers_but_for_the_usage_that_nobody_asked_for() {
    let scene = Scene::start().await;
    for directives in ["[mock input=1000 output=9]", "[mock input=1000 output=9 crlf split=7]"] {
        let before = scene.spent().await;
        let body = chat(directives, json!({ "stream": true, "max_tokens": 9 }));
        let response = scene.post("/v1/chat/completions", &body).send().await.unwrap();
        assert!(header(&response, "content-type").starts_with("text/event-stream"));
        let text = response.text().await.unwrap();
        let mut asking = body.clone();
        asking["stream_options"] = json!({ "include_usage": true });
        let whole = direct(&scene, "/v1/chat/completions", &asking).await;
        let usage = whole.find("\"choices\":[],").unwrap();
        let from = whole[..usage].rfind("data:").unwrap();
        let to = from + whole[from..].find("data: [DONE]").unwrap();
        assert_eq!(text, format!("{}{}", &whole[..from], &whole[to..]), "{directives}");
        assert_eq!(scene.spent().await - before, 1_000 * 2_000 + 9 * 8_000);
        let asked = scene.post("/v1/chat/completions", &asking).send().await.unwrap().text().await.unwrap();
        assert_eq!(asked, whole, "who asks for usage gets it");
    }
    scene.stop().await;
}

#[tokio::test]
async fn the_cost_of_a_stream_comes_within_it_for_a_client_that_asks() {
    let scene = Scene::start().await;
    let body = chat("[mock input=1000 output=9]", json!({ "stream": true, "max_tokens": 9 }));
    let request = scene.post("/v1/chat/completions", &body).header("x-keyward-cost", "stream");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.contains(": keyward cost_usd=0.002072\n\ndata: [DONE]"), "{text}");
    scene.stop().await;
}

#[tokio::test]
async fn an_event_of_two_mebibytes_passes_and_so_does_a_body_of_many() {
    let scene = Scene::start().await;
    let size = 2 * 1024 * 1024;
    let body =
        chat(&format!("[mock events=2 size={size} output=3]"), json!({ "stream": true, "max_tokens": 3 }));
    let text = scene.post("/v1/chat/completions", &body).send().await.unwrap().text().await.unwrap();
    assert!(text.len() > 2 * size && text.ends_with("data: [DONE]\n\n"));
    assert!(!text.contains("\"choices\":[],"));
    let large =
        chat(&format!("[mock input=9 output=1] {}", "x".repeat(8 * size)), json!({ "max_tokens": 1 }));
    assert_eq!(scene.post("/v1/chat/completions", &large).send().await.unwrap().status(), 200);
    let sent = scene.provider.bill.seen().last().unwrap().body.clone();
    assert_eq!(sent.len(), serde_json::to_vec(&large).unwrap().len());
    let larger = chat(&"x".repeat(33 * 1024 * 1024), json!({}));
    assert_eq!(scene.post("/v1/chat/completions", &larger).send().await.unwrap().status(), 413);
    scene.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_compressed_all_the_same_is_metered_and_handed_on_plain() {
    let answer =
        json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 5}}).to_string();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(answer.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let route = post(move || async move {
        let response = Response::builder().header("content-encoding", "gzip");
        response.header("content-type", "application/json").body(Body::from(compressed)).unwrap()
    });
    let (url, _serving) = serve(Router::new().route("/v1/chat/completions", route)).await;
    let scene = Scene::with("", |path| {
        let route = "[[gateway.routes]]\nmodel = \"gpt-4.1\"\nupstreams = [\"gzip\"]\n";
        format!("{}{EVERYWHERE}{route}", upstream("gzip", "openai", &url, path))
    })
    .await;
    let response = scene.chat("hi", json!({ "max_tokens": 5 })).await;
    assert_eq!(header(&response, "content-encoding"), "");
    assert_eq!(response.text().await.unwrap(), answer);
    assert_eq!(scene.spent().await, 50 * 2_000 + 5 * 8_000);
    scene.stop().await;
}

#[tokio::test]
async fn only_the_model_changes_where_an_alias_or_a_route_asks_for_another() {
    let routes = "[[gateway.routes]]\nmodel = \"gpt-4.1*\"\nupstreams = [{ name = \"openai\", model = \
                  \"gpt-4.1-nano\" }]\n";
    let settings = "aliases = [{ name = \"batch\", model = \"gpt-4.1-mini\" }]\ndefault_model = \"batch\"";
    let scene = Scene::with(settings, |_| routes.to_owned()).await;
    for model in [json!({ "model": "batch" }), json!({})] {
        let mut body = chat("hi", model);
        if body["model"] == "gpt-4.1" {
            body.as_object_mut().unwrap().remove("model");
        }
        assert_eq!(scene.post("/chat/completions", &body).send().await.unwrap().status(), 200);
        let sent: Value = serde_json::from_slice(&scene.provider.bill.seen().last().unwrap().body).unwrap();
        body["model"] = "gpt-4.1-nano".into();
        assert_eq!(sent, body);
    }
    scene.stop().await;
}
