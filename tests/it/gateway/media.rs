//! What is held for images, documents and audio is by their number and length, and not by their bytes.

use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, header};

fn with(part: Value) -> Value {
    let text = json!({ "type": "text", "text": "[mock input=10 output=5]" });
    json!({ "model": "gpt-4.1", "max_tokens": 50, "messages": [{ "role": "user", "content": [text, part] }] })
}

#[tokio::test]
async fn an_image_of_a_megabyte_fits_into_a_window_and_a_budget_in_which_its_bytes_would_not() {
    let models = "models = [{ model = \"gpt-4.1*\", context_window = 128000, max_output_tokens = 16384 }]";
    let scene = Scene::with(models, |_| EVERYWHERE.to_owned()).await;
    scene.register(json!({ "project": "shop", "budget_usd": "0.20" })).await;
    let data = "A".repeat(1_400_000);
    let image =
        json!({ "type": "image_url", "image_url": { "url": format!("data:image/jpeg;base64,{data}") } });
    let audio = json!({ "type": "input_audio", "input_audio": { "data": data, "format": "mp3" } });
    let document =
        json!({ "type": "file", "file": { "file_data": format!("data:application/pdf;base64,{data}") } });
    for (part, status) in [(image, 200), (audio, 200), (document.clone(), 429)] {
        let response = scene.post("/v1/chat/completions", &with(part)).send().await.unwrap();
        assert_eq!(response.status(), status, "{}", response.text().await.unwrap());
    }
    // It has 33 pages at most, and no more than the window.
    scene.register(json!({ "project": "shop", "budget_usd": "0.30" })).await;
    let response = scene.post("/v1/chat/completions", &with(document)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    scene.stop().await;
}

#[tokio::test]
async fn what_is_more_than_a_limit_as_a_whole_is_not_told_to_come_again() {
    let scene = Scene::start().await;
    let limits = json!([{ "unit": "tokens", "window": "1min", "limit": 4000 }]);
    scene.register(json!({ "project": "shop", "limits": limits })).await;
    let large = with(json!({ "type": "text", "text": "word ".repeat(1_000) }));
    let response = scene.post("/v1/chat/completions", &large).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(
        (header(&response, "retry-after"), header(&response, "x-should-retry")),
        (String::new(), "false".into())
    );
    assert_eq!(header(&response, "x-project-id"), "shop");
    assert!(!header(&response, "ratelimit").is_empty(), "{:?}", response.headers());
    scene.stop().await;
}
