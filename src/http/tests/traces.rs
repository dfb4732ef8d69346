//! Spans as exporters send them, and what becomes of them.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::{Api, Reply};
use crate::traces::MOST_SPANS;

/// A span of a request to a server; without an address where `address` is empty.
fn span(id: &str, key: &str, address: &str) -> serde_json::Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let attributes = [
        text("keyward.key_id", key),
        text("url.path", "/v1/chat"),
        text("client.address", address),
        json!({ "key": "gen_ai.usage.input_tokens", "value": { "intValue": "7" } }),
    ];
    json!({ "spanId": id, "kind": 2, "attributes": attributes })
}

fn export(spans: &[serde_json::Value]) -> String {
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

async fn used(api: &Api, key: &str) -> (u64, u64) {
    let usage = api.get(&format!("/v1/usage?key={key}")).await.good(200);
    let number = |name: &str| usage["total"][name].as_u64().unwrap();
    (number("requests"), number("tokens"))
}

#[tokio::test]
async fn spans_of_a_key_are_records_and_those_of_none_are_passed_over() {
    let api = Api::open().await;
    let spans =
        [span("01", "a", "203.0.113.7"), span("02", "a", "203.0.113.7"), span("03", "", "203.0.113.7")];
    let answer = api.post("/v1/traces", &export(&spans)).await.good(200);
    assert_eq!(answer, json!({}));
    assert_eq!(used(&api, "a").await, (2, 14));
    api.post("/v1/traces", &export(&spans[..1])).await.good(200);
    assert_eq!(used(&api, "a").await, (2, 14), "an export that is sent again counts once");
}

#[tokio::test]
async fn spans_that_cannot_be_records_are_counted_with_the_reason_and_the_others_are_taken() {
    let api = Api::open().await;
    let spans = [span("01", "a", ""), span("02", "b", "203.0.113.7"), span("03", "sk-secret", "203.0.113.7")];
    let answer = api.post("/v1/traces", &export(&spans)).await.good(200);
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "2");
    let why = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(why.contains("no address"), "{why}");
    assert!(!answer.to_string().contains("sk-secret"));
    assert_eq!((used(&api, "a").await, used(&api, "b").await), ((0, 0), (1, 7)));
}

#[tokio::test]
async fn a_body_may_be_packed_and_must_be_what_it_says() {
    let api = Api::open().await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(export(&[span("01", "a", "203.0.113.7")]).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let send = async |content_type: &str, encoding: &str, body: Vec<u8>| -> Reply {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        api.call("POST", "/v1/traces", &headers, body).await
    };
    send("application/json", "gzip", packed).await.good(200);
    assert_eq!(used(&api, "a").await, (1, 7));
    send("application/json", "gzip", b"{}".to_vec()).await.problem(400);
    send("application/json", "br", b"{}".to_vec()).await.problem(415);
    send("application/jsonl", "identity", b"{}".to_vec()).await.problem(415);
    send("application/json", "identity", b"secret".to_vec()).await.problem(400);
    send("application/x-protobuf", "identity", b"{}".to_vec()).await.problem(400);
    let empty = send("application/x-protobuf", "identity", Vec::new()).await;
    assert_eq!(
        (empty.status, empty.header("content-type"), empty.text.as_str()),
        (200, "application/x-protobuf", "")
    );
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&vec![b' '; 17 * 1024 * 1024]).unwrap();
    send("application/json", "gzip", bomb.finish().unwrap()).await.problem(413);
    let many = export(&vec![json!({ "kind": 2 }); MOST_SPANS + 1]);
    send("application/json", "identity", many.into_bytes()).await.problem(413);
}
