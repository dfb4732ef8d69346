//! A key that a hook gives back takes the place of the one that was banned: from the hook's answer to the new key.

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use super::{Served, client, keyward};
use crate::support::eventually;

/// Somebody who disables keys, and answers each request with the same new one.
async fn hook(new: &'static str) -> String {
    let answer = post(move |_: String| async move { Json(json!({ "key_id": new })) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", answer)).await });
    url
}

async fn get(url: &str, path: &str) -> Option<Value> {
    let reply = client().get(format!("{url}{path}")).send().await.unwrap();
    if reply.status().is_success() { Some(reply.json().await.unwrap()) } else { None }
}

async fn send(method: reqwest::Method, url: &str, path: &str, body: Value) -> Value {
    let reply = client().request(method, format!("{url}{path}")).json(&body).send().await.unwrap();
    assert!(reply.status().is_success(), "{path}: {}", reply.status());
    reply.json().await.unwrap()
}

async fn record(url: &str, key_id: &str) -> Value {
    let body = json!({
        "key_id": key_id, "endpoint": "/v1", "source_ip": "203.0.113.7", "model": "gpt-4.1", "tokens_used": 5,
    });
    send(reqwest::Method::POST, url, "/v1/record", body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_hook_gives_back_has_project_terms_and_past_of_the_one_that_was_banned() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, config) = (directory.path().join("secret"), directory.path().join("keyward.toml"));
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let sink = format!(
        "[[sinks]]\nname = \"rotate\"\ntype = \"emergency_hook\"\nurl = \"{}\"\ntypes = [\"PERMANENT_BAN\"]\n\
         request = \"rotate\"\nallow_networks = [\"127.0.0.0/8\"]\nsecret = \"file:{}\"\n",
        hook("next").await,
        secret.display()
    );
    std::fs::write(&config, sink).unwrap();
    let store = format!("embedded:{}", directory.path().join("data").display());
    let arguments = ["--listen", "127.0.0.1:0", "--store", &store, "--config", config.to_str().unwrap()];
    let served = Served::start_with(&mut keyward(&arguments));
    let url = served.url.as_str();
    send(reqwest::Method::PUT, url, "/v1/projects/shop", json!({})).await;
    let entry = json!({ "project": "shop", "label": "nightly", "allowed_models": ["gpt-*"] });
    send(reqwest::Method::PUT, url, "/v1/keys/old", entry).await;
    for _ in 0..3 {
        assert_eq!(record(url, "old").await["allowed"], true);
    }
    let ban = json!({ "duration_seconds": null, "reason": "leaked" });
    send(reqwest::Method::PUT, url, "/v1/bans/key:old", ban).await;
    eventually("the hook's answer is told of", async || {
        let told = get(url, "/v1/events?type=EMERGENCY_HOOK").await.unwrap();
        told["items"].as_array().is_some_and(|told| !told.is_empty())
    })
    .await;
    let told = get(url, "/v1/events?type=EMERGENCY_HOOK").await.unwrap()["items"][0]["evidence"].clone();
    assert_eq!((&told["new_key_id"], &told["outcome"]), (&json!("next"), &json!("taken")), "{told}");
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.ends_with("next has the project, plan and past of old."), "{summary}");
    let key = get(url, "/v1/keys/next").await.unwrap();
    assert_eq!((&key["project"], &key["label"]), (&json!("shop"), &json!("nightly")), "{key}");
    assert_eq!(key["allowed_models"], json!(["gpt-*"]), "{key}");
    let page = get(url, "/v1/subjects/key:next").await.expect("it has a past");
    assert_eq!(
        (&page["profile"]["requests"], &page["standing"]["state"]),
        (&json!(3), &json!("clear")),
        "{page}"
    );
    assert_eq!(record(url, "next").await["allowed"], true);
    assert_eq!(record(url, "old").await["reason"], "API_KEY_BANNED");
}
