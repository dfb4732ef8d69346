//! Bad input of every kind: what it is answered, and that nothing of it is recorded.
//! What the routes' own tests walk already (a few wrong values, body sizes, types) is not repeated here.

use std::sync::Arc;

use keyward::store::{
    EventQuery, Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
};
use serde_json::{Value, json};

use crate::{
    api::{Api, check_problem, pointers},
    support::*,
};

/// A good record of the key `bad` with `fields`, raw JSON, in place of its own.
fn with(fields: &str) -> String {
    let own = [
        ("key_id", r#""bad""#),
        ("endpoint", r#""/x""#),
        ("source_ip", r#""203.0.113.7""#),
        ("tokens_used", "1"),
    ];
    let kept = own.into_iter().filter(|(name, _)| !fields.contains(&format!("{name:?}:")));
    let kept: Vec<_> = kept.map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", [kept.join(","), fields.to_owned()].join(","))
}

/// Bad fields: the status and the pointers that name them.
fn fields() -> Vec<(String, u16, Vec<&'static str>)> {
    let long = |name: &str, length: usize| format!("{name:?}:{:?}", "x".repeat(length));
    let table: Vec<(String, u16, &[&'static str])> = vec![
        // Wrong types.
        (r#""endpoint":7"#.into(), 422, &["/endpoint"]),
        (r#""endpoint":{"path":"/x"}"#.into(), 422, &["/endpoint"]),
        (r#""source_ip":["203.0.113.7"]"#.into(), 422, &["/source_ip"]),
        (r#""tokens_used":"1""#.into(), 422, &["/tokens_used"]),
        (r#""tokens_used":true"#.into(), 422, &["/tokens_used"]),
        (r#""tokens_used":1.5"#.into(), 422, &["/tokens_used"]),
        (r#""latency_ms":"fast""#.into(), 422, &["/latency_ms"]),
        (r#""response_status":"200""#.into(), 422, &["/response_status"]),
        (r#""refused_by":"nginx""#.into(), 422, &["/refused_by"]),
        (r#""timestamp":1772442802"#.into(), 422, &["/timestamp"]),
        // Null where something is required.
        (r#""endpoint":null"#.into(), 422, &["/endpoint"]),
        (r#""source_ip":null"#.into(), 422, &["/source_ip"]),
        (r#""key_id":null"#.into(), 422, &["/api_key"]),
        // Numbers.
        (r#""tokens_used":18446744073709551616"#.into(), 422, &["/tokens_used"]),
        (r#""tokens_used":18446744073709551615"#.into(), 422, &["/tokens_used"]),
        (r#""tokens_used":1e400"#.into(), 422, &["/tokens_used"]),
        (r#""latency_ms":1e400"#.into(), 422, &["/latency_ms"]),
        (r#""latency_ms":1e300"#.into(), 422, &["/latency_ms"]),
        (r#""latency_ms":NaN"#.into(), 400, &[]),
        (r#""latency_ms":Infinity"#.into(), 400, &[]),
        (r#""latency_ms":-0.001"#.into(), 422, &["/latency_ms"]),
        (r#""cost_usd":-1"#.into(), 422, &["/cost_usd"]),
        (r#""cost_usd":1e9"#.into(), 422, &["/cost_usd"]),
        (r#""prompt_tokens":-1"#.into(), 422, &["/prompt_tokens"]),
        (r#""completion_tokens":1000000000001"#.into(), 422, &["/completion_tokens"]),
        (r#""cached_tokens":1000000000001"#.into(), 422, &["/cached_tokens"]),
        (r#""response_status":99"#.into(), 422, &["/response_status"]),
        (r#""response_status":600"#.into(), 422, &["/response_status"]),
        (r#""response_status":70000"#.into(), 422, &["/response_status"]),
        (r#""tokens_used":01"#.into(), 400, &[]),
        (r#""tokens_used":+1"#.into(), 400, &[]),
        // Texts.
        (r#""endpoint":"""#.into(), 422, &["/endpoint"]),
        (r#""key_id":"""#.into(), 422, &["/key_id"]),
        (r#""key_id":"a b""#.into(), 422, &["/key_id"]),
        (r#""key_id":"a\u0000b""#.into(), 422, &["/key_id"]),
        (r#""key_id":"a\nb""#.into(), 422, &["/key_id"]),
        (r#""project_id":"p p""#.into(), 422, &["/project_id"]),
        (long("key_id", 257), 422, &["/key_id"]),
        (r#""key_id":"ключ""#.into(), 422, &["/key_id"]),
        (r#""key_id":"sk-1""#.into(), 422, &["/key_id"]),
        (long("project_id", 129), 422, &["/project_id"]),
        (long("request_id", 129), 422, &["/request_id"]),
        (long("endpoint", 2_049), 422, &["/endpoint"]),
        (long("model", 129), 422, &["/model"]),
        (long("user_agent", 1_025), 422, &["/user_agent"]),
        (long("reservation_id", 129), 422, &["/reservation_id"]),
        (format!(r#""key_id":null,{}"#, long("api_key", 513)), 422, &["/api_key"]),
        (r#""model":"\ud800""#.into(), 400, &[]),
        // Addresses.
        (r#""source_ip":"""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"localhost""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"203.0.113.7:443""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"203.0.113.0/24""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"203.0.113.07""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":" 203.0.113.7""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"fe80::1%eth0""#.into(), 422, &["/source_ip"]),
        (r#""source_ip":"203.0.113.7, 10.0.0.1""#.into(), 422, &["/source_ip"]),
        // Times.
        (r#""timestamp":"yesterday""#.into(), 422, &["/timestamp"]),
        (r#""timestamp":"2026-13-01T00:00:00Z""#.into(), 422, &["/timestamp"]),
        (r#""timestamp":"9999-12-31T23:59:59Z""#.into(), 422, &["/timestamp"]),
        // Names.
        (r#""apikey":"x""#.into(), 422, &["/apikey"]),
        (r#""a/b~c":1"#.into(), 422, &["/a~1b~0c"]),
        (r#""endpoint":"/x","endpoint":"/y""#.into(), 422, &["/endpoint"]),
        (r#""api_key":"sk-1","key_id":"bad""#.into(), 422, &["/key_id"]),
        // Several at once are each named.
        (
            r#""endpoint":"","source_ip":"x","response_status":1"#.into(),
            422,
            &["/endpoint", "/response_status", "/source_ip"],
        ),
    ];
    table.into_iter().map(|(fields, status, pointers)| (with(&fields), status, pointers.to_vec())).collect()
}

/// Bodies that are no record at all.
fn bodies() -> Vec<(Vec<u8>, u16)> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    vec![
        (b"null".to_vec(), 422),
        (b"7".to_vec(), 422),
        (b"\"key\"".to_vec(), 422),
        (b"[]".to_vec(), 422),
        (format!("[{}]", with(r#""tokens_used":1"#)).into_bytes(), 422),
        (format!("{} {{}}", with(r#""tokens_used":1"#)).into_bytes(), 400),
        (b"\xef\xbb\xbf{}".to_vec(), 422),
        (b"{\"key_id\":\"\xc0\xaf\"}".to_vec(), 400),
        (b"\xff\xfe{\0}\0".to_vec(), 400),
        (b"{'key_id':'bad'}".to_vec(), 400),
        (b"{\"key_id\":\"bad\",}".to_vec(), 400),
        (b"key_id=bad&endpoint=/x".to_vec(), 400),
        (deep("[", "]").into_bytes(), 422),
        (with(&format!("\"x\":{}", deep("[", "]"))).into_bytes(), 422),
        (
            with(&format!("\"endpoint\":{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))).into_bytes(),
            422,
        ),
        (deep("{\"a\":", "").into_bytes(), 422),
    ]
}

/// The API over an embedded store, and the instance behind it.
async fn open() -> (Api, Instance, Arc<EmbeddedStore>) {
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let instance = Instance::start(store.clone(), policy(), options()).await;
    (Api::over(instance.engine.clone(), String::new), instance, store)
}

/// Nothing is known of the key `bad`, and nothing happened.
async fn nothing_recorded(api: Api, instance: Instance, store: &dyn Store) {
    api.get("/v1/subjects/key:bad").await.problem(404, "an unknown subject");
    instance.shut_down().await;
    let events = store.events(&EventQuery { limit: 10, ..EventQuery::default() }).await.unwrap();
    assert_eq!(events.items, []);
}

#[tokio::test]
async fn every_bad_field_is_named_and_nothing_is_recorded() {
    let (api, instance, store) = open().await;
    for (body, status, expected) in fields() {
        for path in ["/v1/record", "/v1/record/batch"] {
            let reply = if path == "/v1/record" {
                api.post(path, body.clone()).await.problem(status, &body)
            } else {
                batch_of_one(&api, &body, status).await
            };
            let mut named = pointers(&reply);
            named.sort();
            assert_eq!(named, expected, "{path} {body}");
        }
    }
    nothing_recorded(api, instance, &*store).await;
}

/// What stands in the place of the one line of a batch.
async fn batch_of_one(api: &Api, line: &str, status: u16) -> Value {
    let reply = api.call("POST", "/v1/record/batch", Some("application/x-ndjson"), line.to_owned()).await;
    assert_eq!(reply.status, 200, "{line}: {}", reply.body);
    let problem = reply.json();
    check_problem(&problem, status, line);
    problem
}

#[tokio::test]
async fn bodies_that_are_no_record_are_refused_and_nothing_is_recorded() {
    let (api, instance, store) = open().await;
    for (body, status) in bodies() {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        for path in ["/v1/record", "/v1/check", "/v1/bans/lookup"] {
            let reply = api.post(path, body.clone()).await;
            assert!([status, 413, 400, 422].contains(&reply.status), "{path} {shown}");
            reply.problem(reply.status, &shown);
        }
        api.post("/v1/record", body.clone()).await.problem(status, &shown);
    }
    let huge = " ".repeat(10 * 1024 * 1024);
    for path in ["/v1/record", "/v1/record/batch", "/v1/check", "/v1/bans/lookup"] {
        api.post(path, huge.clone()).await.problem(413, path);
        api.post(path, "").await.problem(400, path);
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")] {
            api.call("POST", path, content_type, with(r#""tokens_used":1"#)).await.problem(415, path);
        }
    }
    nothing_recorded(api, instance, &*store).await;
}

#[tokio::test]
async fn a_batch_that_is_too_long_or_broken_is_refused_whole() {
    let (api, instance, store) = open().await;
    let good = with(r#""tokens_used":1"#);
    let many = vec![good.clone(); 1_001];
    let path = "/v1/record/batch";
    api.post(path, format!("[{}]", many.join(","))).await.problem(422, "1,001 items");
    let lines = api.call("POST", path, Some("application/x-ndjson"), many.join("\n")).await;
    lines.problem(422, "1,001 lines");
    api.post(path, format!("[{good},")).await.problem(400, "an array that does not end");
    api.post(path, format!("[{good}]]")).await.problem(400, "an array that ends twice");
    let broken = [b"[".as_slice(), good.as_bytes(), b",\"\xff\"]"].concat();
    api.post(path, broken).await.problem(400, "broken text");
    api.post(path, format!("{{\"records\":[{good}]}}")).await.problem(422, "an object");
    nothing_recorded(api, instance, &*store).await;
}

#[tokio::test]
async fn a_bad_line_has_its_problem_in_its_place_and_the_others_are_recorded() {
    let (api, instance, _store) = open().await;
    let good = json!({"key_id": "good", "endpoint": "/x", "source_ip": "203.0.113.7", "tokens_used": 1});
    let broken = b"{\"key_id\":\"\xff\"}".as_slice();
    let text = good.to_string();
    let lines: [&[u8]; 5] = [text.as_bytes(), b"{nonsense", broken, b"[]", text.as_bytes()];
    let reply = api.call("POST", "/v1/record/batch", Some("application/x-ndjson"), lines.join(&b'\n')).await;
    assert_eq!((reply.status, reply.content_type.as_str()), (200, "application/x-ndjson"), "{}", reply.body);
    let answers: Vec<Value> = reply.body.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (answer, status) in answers.iter().zip([200, 400, 400, 422, 200]) {
        if status == 200 {
            assert_eq!(answer["allowed"], true, "{answer}");
        } else {
            check_problem(answer, status, "a bad line");
        }
    }
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[4]["limits"][0]["used"], 2);
    instance.shut_down().await;
}

#[tokio::test]
async fn a_record_from_the_past_is_late_and_charges_nothing() {
    let (api, instance, store) = open().await;
    for time in ["1970-01-01T00:00:00Z", "2020-02-29T23:59:59+14:00"] {
        let reply = api.post("/v1/record", with(&format!(r#""timestamp":"{time}""#))).await;
        assert_eq!((reply.status, &reply.json()["late"]), (200, &json!(true)), "{}", reply.body);
    }
    nothing_recorded(api, instance, &*store).await;
}
