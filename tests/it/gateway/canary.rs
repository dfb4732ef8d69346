//! A canary key is refused wherever it is used, and whoever uses it is banned by their address.

use serde_json::{Value, json};

use super::scene::{EVERYWHERE, Scene, VIRTUAL, chat, header, key_id};
use crate::support::{BUCHAREST, SINGAPORE, eventually};

/// A service whose clients say where they are, and a canary key that was issued there.
async fn with_canary() -> (Scene, String) {
    let scene = Scene::with("trusted_proxies = [\"127.0.0.0/8\"]", |_| EVERYWHERE.to_owned()).await;
    let url = format!("http://{}/v1/keys", scene.running.address);
    let issued =
        scene.client.post(url).json(&json!({ "canary": true, "label": "wiki" })).send().await.unwrap();
    let issued: Value = issued.json().await.unwrap();
    assert_eq!(issued["canary"], true, "{issued}");
    let secret = issued["secret"].as_str().unwrap().to_owned();
    (scene, secret)
}

/// The reason with which a key is refused from an address; none where it is not.
async fn refusal(scene: &Scene, key: &str, from: &str) -> String {
    let url = format!("{}/v1/chat/completions", scene.url);
    let request = scene.client.post(url).bearer_auth(key).header("x-forwarded-for", from);
    let response = request.json(&chat("hi", json!({ "max_tokens": 5 }))).send().await.unwrap();
    header(&response, "x-keyward-reason")
}

/// Asks the API.
async fn get(scene: &Scene, path: &str) -> Value {
    let url = format!("http://{}{path}", scene.running.address);
    scene.client.get(url).send().await.unwrap().json().await.unwrap()
}

/// Waits for the one event about an address that says who used a canary.
async fn told_of(scene: &Scene, from: &str) -> Value {
    let path = format!("/v1/events?type=CANARY_KEY_USED&subject=ip:{from}");
    let items = async || get(scene, &path).await["items"].as_array().unwrap().clone();
    eventually("the use is an event", async || !items().await.is_empty()).await;
    let mut items = items().await;
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

#[tokio::test]
async fn who_uses_a_canary_at_the_gateway_is_told_of_as_critical_and_banned_and_nobody_else_is() {
    let (scene, canary) = with_canary().await;
    assert_eq!(refusal(&scene, &canary, BUCHAREST).await, "CRITICAL_ANOMALY_DETECTED");
    let event = told_of(&scene, BUCHAREST).await;
    assert_eq!((&event["severity"], &event["key_id"]), (&json!("critical"), &json!(key_id(&canary))));
    assert_eq!(event["action"], "temporary_ban");
    assert_eq!(refusal(&scene, VIRTUAL, BUCHAREST).await, "IP_BANNED");
    assert_eq!(refusal(&scene, VIRTUAL, SINGAPORE).await, "");
    assert_eq!(scene.provider.bill.seen().len(), 1, "nothing of it reached a provider");
    scene.stop().await;
}

#[tokio::test]
async fn a_check_and_a_record_of_a_canary_are_uses_of_it_too() {
    let (scene, canary) = with_canary().await;
    for (path, from) in [("/v1/check", BUCHAREST), ("/v1/record", SINGAPORE)] {
        let url = format!("http://{}{path}", scene.running.address);
        let body = json!({ "api_key": canary, "endpoint": "/v1/chat/completions", "source_ip": from });
        let answer: Value = scene.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(
            (&answer["allowed"], &answer["action"]),
            (&json!(false), &json!("temporary_ban")),
            "{answer}"
        );
        told_of(&scene, from).await;
    }
    scene.stop().await;
}

#[tokio::test]
async fn from_an_address_on_the_allowlist_a_canary_is_refused_and_told_and_the_address_is_left_alone() {
    let (scene, canary) = with_canary().await;
    let url = format!("http://{}/v1/allowlist/ip:{SINGAPORE}", scene.running.address);
    let allowed = scene.client.put(url).json(&json!({ "reason": "the office" })).send().await.unwrap();
    assert!(allowed.status().is_success(), "{}", allowed.status());
    assert_eq!(refusal(&scene, &canary, SINGAPORE).await, "KEY_NOT_ALLOWED");
    let event = told_of(&scene, SINGAPORE).await;
    assert_eq!(event["severity"], "critical");
    assert_eq!(refusal(&scene, VIRTUAL, SINGAPORE).await, "");
    scene.stop().await;
}
