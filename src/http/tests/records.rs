//! Reporting and asking about requests.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use super::{Api, record};
use crate::{config::default_policy, http::Auth};

#[tokio::test]
async fn a_record_is_answered_in_the_shape_of_the_contract() {
    let api = Api::open().await;
    let reply = api.record("acme", 932).await;
    let answer = reply.good(200);
    assert_eq!(answer["key_id"], "acme");
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["degraded"], false);
    assert!(answer["request_id"].as_str().is_some_and(|id| id.len() == 36), "{answer}");
    assert!(answer.get("reason").is_none() && answer.get("late").is_none(), "{answer}");
    let minute = &answer["limits"][0];
    assert_eq!(minute["window"], "1min");
    assert_eq!((minute["used"].as_u64(), minute["remaining"].as_u64()), (Some(932), Some(999_068)));
    assert!(reply.header("ratelimit-policy").starts_with("\"1min-tokens\";q=1000000;w=60;qu=\"tokens\", "));
    assert!(
        reply.header("ratelimit").starts_with("\"1min-tokens\";r=999068;t="),
        "{}",
        reply.header("ratelimit")
    );
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_says_when_to_come_back() {
    let mut policy = default_policy();
    policy.limits.tokens.insert("1min".to_owned(), 100);
    let api = Api::with(Auth::default(), policy).await;
    api.record("acme", 100).await.good(200);
    let reply = api.record("acme", 1).await;
    let answer = reply.good(200);
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(answer["action"], "throttle");
    let seconds = answer["retry_after_seconds"].as_u64().unwrap();
    assert!((1..=62).contains(&seconds), "{seconds}");
    assert_eq!(reply.header("retry-after"), seconds.to_string());
}

#[tokio::test]
async fn a_secret_is_hashed_at_the_door_and_shown_nowhere() {
    let api = Api::open().await;
    let body = r#"{"api_key":"sk-live-secret","endpoint":"/x?k=sk-live-secret","source_ip":"203.0.113.7"}"#;
    let reply = api.post("/v1/record", body).await;
    assert!(reply.good(200)["key_id"].as_str().unwrap().starts_with("k1:"), "{}", reply.text);
    assert!(!reply.text.contains("sk-live-secret"));
    for bad in [
        r#"{"api_key":"sk-live-secret","endpoint":"/x","source_ip":"sk-live-secret"}"#,
        r#"{"api_key":"sk-live-secret","endpoint":"/x","source_ip":7}"#,
        r#"{"api_key":"sk-live-secret","endpoint":"/x""#,
    ] {
        assert!(!api.post("/v1/record", bad).await.text.contains("sk-live-secret"), "{bad}");
    }
}

#[tokio::test]
async fn bad_records_are_named_and_not_recorded() {
    let api = Api::open().await;
    let table = [
        (r#"{"key_id":"a","source_ip":"203.0.113.7"}"#, 422, "/endpoint"),
        (r#"{"endpoint":"/x","source_ip":"203.0.113.7"}"#, 422, "/api_key"),
        (r#"{"key_id":"a","endpoint":"/x","source_ip":"300.0.0.1"}"#, 422, "/source_ip"),
        (r#"{"key_id":"a","endpoint":"/x","source_ip":"203.0.113.7","tokens_used":-1}"#, 422, "/tokens_used"),
        (r#"{"key_id":"a","endpoint":"/x","source_ip":"203.0.113.7","latency_ms":-1}"#, 422, "/latency_ms"),
        (r#"{"key_id":"a","endpoint":"/x","source_ip":"203.0.113.7","tokens":1}"#, 422, "/tokens"),
        (
            r#"{"key_id":"a","endpoint":"/x","source_ip":"203.0.113.7","timestamp":"2999-01-01T00:00:00Z"}"#,
            422,
            "/timestamp",
        ),
        (r#"{"key_id":"a""#, 400, ""),
        ("", 400, ""),
        ("   ", 400, ""),
        (r#"{"tokens_used":NaN}"#, 400, ""),
    ];
    for (body, status, pointer) in table {
        let problem = api.post("/v1/record", body).await.problem(status);
        let named = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(named, pointer, "{body}");
    }
    let broken = api.call(
        "POST",
        "/v1/record",
        &[("content-type", "application/json")],
        b"{\"key_id\":\"\xff\"}".to_vec(),
    );
    broken.await.problem(400);
    api.get("/v1/subjects/key:a").await.problem(404);
}

#[tokio::test]
async fn a_check_answers_alike_and_counts_nothing() {
    let api = Api::open().await;
    let question = r#"{"key_id":"acme","source_ip":"203.0.113.7","estimated_tokens":300}"#;
    let answer = api.post("/v1/check", question).await.good(200);
    assert_eq!(answer["allowed"], true);
    assert_eq!(api.record("acme", 5).await.good(200)["limits"][0]["used"], 5);
    let wrong = r#"{"key_id":"acme","source_ip":"203.0.113.7","estimated_tokens":9000000000000}"#;
    let problem = api.post("/v1/check", wrong).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/estimated_tokens");
}

#[tokio::test]
async fn a_check_that_reserves_names_what_the_record_settles() {
    let api = Api::open().await;
    let reserve = r#"{"key_id":"acme","source_ip":"203.0.113.7","estimated_tokens":300,"reserve":true}"#;
    let held = api.post("/v1/check", reserve).await.good(200);
    assert_eq!((&held["allowed"], &held["lease_seconds"]), (&json!(true), &json!(60)));
    assert_eq!(held["limits"][0]["used"], 300);
    let id = held["reservation_id"].as_str().unwrap();
    let settle = format!(
        r#"{{"key_id":"acme","endpoint":"/v1","source_ip":"203.0.113.7","tokens_used":120,"reservation_id":"{id}"}}"#
    );
    let settled = api.post("/v1/record", &settle).await.good(200);
    assert_eq!(settled["limits"][0]["used"], 120);
    assert!(settled.get("reservation_id").is_none() && settled.get("lease_seconds").is_none());
    assert_eq!(api.record("acme", 5).await.good(200)["limits"][0]["used"], 125);
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_a_bad_item_spoils_nothing() {
    let api = Api::open().await;
    let items = [record("a", 1), r#"{"key_id":"b"}"#.to_owned(), record("c", 3), record("a", 4)];
    let answers = api.post("/v1/record/batch", &format!("[{}]", items.join(","))).await.good(200);
    check_batch(answers.as_array().unwrap());
    let api = Api::open().await;
    let lines = format!("{}\n", items.join("\r\n\n"));
    let reply =
        api.call("POST", "/v1/record/batch", &[("content-type", "application/x-ndjson")], lines).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/x-ndjson"));
    check_batch(&reply.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<_>>());
}

fn check_batch(answers: &[Value]) {
    let keys: Vec<_> = answers.iter().map(|a| a["key_id"].as_str()).collect();
    assert_eq!(keys, [Some("a"), None, Some("c"), Some("a")]);
    assert_eq!(answers[1]["status"], 422);
    assert!(answers[1]["errors"][0]["pointer"].is_string());
    assert_eq!(answers[3]["limits"][0]["used"], 5);
}

#[tokio::test]
async fn bodies_may_be_packed_and_begin_with_a_mark_of_their_order_of_bytes() {
    let api = Api::open().await;
    let marked = |body: String| ["\u{feff}".to_owned(), body].concat().into_bytes();
    let gzip = |body: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    };
    let send = async |path: &str, content_type: &str, encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        api.call("POST", path, &headers, body).await
    };
    let check = r#"{"key_id":"a","source_ip":"203.0.113.7"}"#.to_owned();
    let lines = format!("{}\n{}\n", record("a", 1), record("a", 2));
    for (path, content_type, body) in [
        ("/v1/record", "application/json", record("a", 4)),
        ("/v1/check", "application/json", check),
        ("/v1/record/batch", "application/json", format!("[{}]", record("a", 8))),
        ("/v1/record/batch", "application/jsonl", lines),
    ] {
        let body = marked(body);
        let zstd = compress_to_vec(&*body, CompressionLevel::Fastest);
        for (encoding, sent) in [("identity", body.clone()), ("gzip", gzip(&body)), ("zstd", zstd)] {
            let reply = send(path, content_type, encoding, sent).await;
            assert_eq!(reply.status, 200, "{path} {encoding}: {}", reply.text);
            assert!(!reply.text.contains("urn:keyward:problem"), "{path} {encoding}: {}", reply.text);
        }
    }
    let used = api.get("/v1/usage?key=a").await.good(200);
    assert_eq!(used["total"]["tokens"], 3 * (4 + 8 + 1 + 2));
    let too_large = gzip(" ".repeat(64 * 1024 + 1).as_bytes());
    send("/v1/record", "application/json", "gzip", too_large).await.problem(413);
    send("/v1/record", "application/json", "br", record("a", 1).into_bytes()).await.problem(415);
}

#[tokio::test]
async fn a_batch_has_its_bounds() {
    let api = Api::open().await;
    assert_eq!(api.post("/v1/record/batch", "[]").await.good(200), json!([]));
    api.post("/v1/record/batch", "{}").await.problem(422);
    api.post("/v1/record/batch", "[{]").await.problem(400);
    api.post("/v1/record/batch", "").await.problem(400);
    let many = vec![record("a", 1); 1001].join(",");
    api.post("/v1/record/batch", &format!("[{many}]")).await.problem(422);
    api.post("/v1/record/batch", &" ".repeat(4 * 1024 * 1024 + 1)).await.problem(413);
    let thousand = vec![record("a", 1); 1000].join(",");
    let answers = api.post("/v1/record/batch", &format!("[{thousand}]")).await.good(200);
    assert_eq!(answers.as_array().unwrap().len(), 1000);
}
