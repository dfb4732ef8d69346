//! Every interface is metered: plain, and streamed where it can be.

use serde_json::{Value, json};

use super::scene::{Scene, VIRTUAL, header, nanos};

/// Asks an interface; its answer must be the provider's, and cost so much.
async fn costs(scene: &Scene, path: &str, body: &Value, cost: u64) -> String {
    let before = scene.spent().await;
    let response = scene.post(path, body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let shown = header(&response, "x-cost-usd");
    let text = response.text().await.unwrap();
    let direct = scene.client.post(format!("{}{path}", scene.provider.url)).json(body).send().await.unwrap();
    assert_eq!(text, direct.text().await.unwrap(), "{path}");
    assert_eq!(scene.spent().await - before, cost, "{path}");
    assert!(shown.is_empty() || nanos(&shown) == cost, "{path}: {shown}");
    text
}

#[tokio::test]
async fn responses_and_messages_are_metered_plain_and_streamed() {
    let scene = Scene::start().await;
    for stream in [false, true] {
        let body = json!({
            "model": "gpt-4.1", "max_output_tokens": 50, "stream": stream,
            "input": "[mock input=1000 output=20 cached=400 reasoning=5]",
        });
        let text = costs(&scene, "/v1/responses", &body, 600 * 2_000 + 400 * 500 + 20 * 8_000).await;
        assert_eq!(text.contains("event: response.completed"), stream);
        let content = "[mock input=1000 output=20 cached=100 cache_write=200 cache_write_1h=300]";
        let body = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 50, "stream": stream,
            "messages": [{ "role": "user", "content": content }],
        });
        let cost = 400 * 3_000 + 100 * 300 + 200 * 3_750 + 300 * 6_000 + 20 * 15_000;
        let text = costs(&scene, "/v1/messages", &body, cost).await;
        assert_eq!(text.contains("event: message_stop"), stream);
    }
    scene.stop().await;
}

#[tokio::test]
async fn completions_and_embeddings_are_metered() {
    let scene = Scene::start().await;
    let body = json!({ "model": "gpt-4.1", "prompt": "[mock input=100 output=10]", "max_tokens": 10 });
    costs(&scene, "/v1/completions", &body, 100 * 2_000 + 10 * 8_000).await;
    let body = json!({ "model": "gpt-4.1", "input": "[mock input=100]", "encoding_format": "base64" });
    costs(&scene, "/v1/embeddings", &body, 100 * 2_000).await;
    scene.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_for_nothing() {
    let scene = Scene::start().await;
    let body = json!({
        "model": "claude-sonnet-4-5", "messages": [{ "role": "user", "content": "[mock input=77]" }],
    });
    let text = costs(&scene, "/v1/messages/count_tokens", &body, 0).await;
    assert_eq!(text, r#"{"input_tokens":77}"#);
    scene.stop().await;
}

#[tokio::test]
async fn models_are_listed_for_a_key_that_is_known() {
    let settings = "aliases = [{ name = \"batch\", model = \"gpt-4.1-mini\" }]";
    let scene = Scene::with(settings, |_| super::scene::EVERYWHERE.to_owned()).await;
    let get = || scene.client.get(format!("{}/v1/models", scene.url));
    assert_eq!(get().send().await.unwrap().status(), 401);
    let openai: Value = get().bearer_auth(VIRTUAL).send().await.unwrap().json().await.unwrap();
    assert_eq!((&openai["object"], &openai["data"][0]["id"]), (&json!("list"), &json!("batch")));
    let request = get().header("x-api-key", VIRTUAL).header("anthropic-version", "2023-06-01");
    let anthropic: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&anthropic["data"][0]["type"], &anthropic["has_more"]), (&json!("model"), &json!(false)));
    scene.register(json!({ "expires": "2020-01-01T00:00:00Z" })).await;
    let expired = get().bearer_auth(VIRTUAL).send().await.unwrap();
    assert_eq!(
        (expired.status().as_u16(), header(&expired, "x-keyward-reason")),
        (403, "KEY_NOT_ALLOWED".into())
    );
    scene.register(json!({})).await;
    scene.ban().await;
    let banned = get().bearer_auth(VIRTUAL).send().await.unwrap();
    assert_eq!(
        (banned.status().as_u16(), header(&banned, "x-keyward-reason")),
        (403, "API_KEY_BANNED".into())
    );
    scene.stop().await;
}
