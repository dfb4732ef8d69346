//! Envoy's rate limit filter, which asks Keyward's rate limit service, with the configuration that is published for it.

use serde_json::json;

use super::{programs::Proxy::EnvoyRateLimit, scene::Scene};
use crate::support::eventually;

const KEY: [(&str, &str); 1] = [("x-api-key", "sk-live-4f9a")];

#[tokio::test]
async fn envoys_rate_limit_filter_counts_requests_of_a_key_and_refuses_what_is_beyond() {
    let scene = Scene::set(EnvoyRateLimit, "").await;
    // Whatever missed the deadline while the machine was busy may be counted as well.
    eventually("a request passes", async || scene.get("/v1/chat?a=1", &KEY).await.status == 200).await;
    scene.record(json!({ "api_key": "sk-live-4f9a", "tokens_used": 10_001 })).await;
    eventually("the key is limited", async || {
        let reply = scene.get("/v1/chat", &KEY).await;
        reply.status == 429 && reply.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds))
    })
    .await;
    assert_eq!(scene.received("host"), None, "the application is not asked");
    eventually("a key of its own passes", async || {
        scene.get("/v1/chat", &[("x-api-key", "sk-live-77c1")]).await.status == 200
    })
    .await;
    eventually("the path is counted without its query", async || {
        let usage = scene.usage_by("endpoint").await.to_string();
        usage.contains("\"/v1/chat\"") && !usage.contains("a=1")
    })
    .await;
}
