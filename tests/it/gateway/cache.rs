//! Answers that are given again: where a project asks for it, behind all that a request must pass.

use reqwest::Response;
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, chat, header};

const OTHER: &str = "kwk_of-another-project";

/// A service that keeps answers for the project of the key.
async fn keeping() -> Scene {
    let settings = "cache_mib = 16\ncache_projects = [\"shop\"]";
    Scene::with(settings, |_| format!("{EVERYWHERE}[projects.other]\n")).await
}

fn body() -> Value {
    chat("hi [mock input=100 output=5]", json!({ "max_tokens": 5 }))
}

/// Whether an answer was one that was kept.
fn is_kept(response: &Response) -> bool {
    header(response, "x-keyward-cache") == "hit"
}

#[tokio::test]
async fn the_same_request_is_answered_again_for_nothing_and_counts_as_a_request() {
    let scene = keeping().await;
    let ask = async || scene.post("/v1/chat/completions", &body()).send().await.unwrap();
    let first = ask().await;
    assert!(!is_kept(&first));
    let (first, spent) = (first.text().await.unwrap(), scene.spent().await);
    let second = ask().await;
    assert!(is_kept(&second));
    assert_eq!(header(&second, "content-type"), "application/json");
    assert_eq!((header(&second, "x-cost-usd").as_str(), scene.spent().await), ("0", spent));
    assert_eq!(second.text().await.unwrap(), first);
    assert_eq!(scene.provider.bill.seen().len(), 1);
    let url = format!("http://{}/v1/subjects/key:{}", scene.running.address, scene.key_id);
    let subject: Value = scene.client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(subject["windows"][0]["requests"], 2, "{subject}");
    scene.stop().await;
}

#[tokio::test]
async fn what_is_not_the_same_request_of_the_same_project_is_asked_for_anew() {
    let scene = keeping().await;
    scene.register_key(OTHER, json!({ "project": "other" })).await;
    assert_eq!(scene.post("/v1/chat/completions", &body()).send().await.unwrap().status(), 200);
    let url = format!("{}/v1/chat/completions", scene.url);
    let others = scene.client.post(url).bearer_auth(OTHER).json(&body());
    let fresh = scene.post("/v1/chat/completions", &body()).header("cache-control", "no-cache");
    let mut different = body();
    different["temperature"] = 1.into();
    let different = scene.post("/v1/chat/completions", &different);
    let mut stream = body();
    stream["stream"] = true.into();
    let stream = || scene.post("/v1/chat/completions", &stream);
    for request in [others, fresh, different, stream(), stream()] {
        let response = request.send().await.unwrap();
        assert!(response.status() == 200 && !is_kept(&response));
        response.bytes().await.unwrap();
    }
    assert_eq!(scene.provider.bill.seen().len(), 6);
    scene.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_kept_is_given_to_nobody_who_may_not_ask() {
    let scene = keeping().await;
    assert_eq!(scene.post("/v1/chat/completions", &body()).send().await.unwrap().status(), 200);
    scene.register(json!({ "project": "shop", "allowed_models": ["gpt-4.1-mini"] })).await;
    let response = scene.post("/v1/chat/completions", &body()).send().await.unwrap();
    assert_eq!(header(&response, "x-keyward-reason"), "KEY_NOT_ALLOWED");
    scene.register(json!({ "project": "shop" })).await;
    assert!(is_kept(&scene.post("/v1/chat/completions", &body()).send().await.unwrap()));
    scene.ban().await;
    let response = scene.post("/v1/chat/completions", &body()).send().await.unwrap();
    assert_eq!(header(&response, "x-keyward-reason"), "API_KEY_BANNED");
    assert_eq!(scene.provider.bill.seen().len(), 1);
    scene.stop().await;
}
