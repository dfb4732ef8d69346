//! A ban holds in every spelling of a key and of an address, and a secret that is sent as a public id is refused.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use keyward::store::embedded::{EmbeddedOptions, EmbeddedStore};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    api::{Api, Reply, check_problem, pointers},
    support::*,
};

const BAN: &str = r#"{"duration_seconds":3600,"reason":"leaked","force":true}"#;
const SECRET: &str = "sk-live-4f9a-taken-for-a-public-id";

async fn open() -> (Api, Instance) {
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let instance = Instance::start(store, limits_alone(u64::MAX >> 12), options()).await;
    (Api::over(instance.engine.clone(), String::new), instance)
}

async fn put(api: &Api, path: &str, body: &str) -> Reply {
    api.call("PUT", path, Some("application/json"), body.to_owned()).await
}

/// A text as one segment of a path.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Bans a subject as it is spelled; says under which spelling it is kept.
async fn ban(api: &Api, subject: &str) -> String {
    let reply = put(api, &format!("/v1/bans/{}", encoded(subject)), BAN).await;
    assert!([200, 201].contains(&reply.status), "{subject}: {}", reply.body);
    reply.json()["subject"].as_str().unwrap().to_owned()
}

async fn lift(api: &Api, subject: &str) {
    let reply = api.call("DELETE", &format!("/v1/bans/{}", encoded(subject)), None, "").await;
    assert_eq!(reply.status, 200, "{subject}: {}", reply.body);
}

/// What is said of each of these by `record`, by `check` and in a batch: a reason, or `null` where it is allowed.
async fn reasons(api: &Api, records: &[Value]) -> Vec<Value> {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let batch = api.call("POST", "/v1/record/batch", Some("application/x-ndjson"), lines.join("\n")).await;
    assert_eq!(batch.status, 200, "{}", batch.body);
    let mut answers: Vec<Value> =
        batch.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in records {
        answers.push(api.post("/v1/record", record.to_string()).await.json());
        answers.push(api.post("/v1/check", record.to_string()).await.json());
    }
    assert_eq!(answers.len(), 3 * records.len());
    let said = |answer: Value| {
        assert!(answer["allowed"].is_boolean(), "{answer}");
        answer["reason"].clone()
    };
    answers.into_iter().map(said).collect()
}

/// Every spelling of an address, but for the letters of hexadecimal digits.
fn spellings(v4: Ipv4Addr, rest: u64) -> Vec<String> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        v4.to_string(),
        format!("::ffff:{v4}"),
        format!("::FFFF:{high:x}:{low:x}"),
        format!("0:0:0:0:0:ffff:{high:x}:{low:x}"),
        format!("64:ff9b::{v4}"),
        format!("64:ff9b::{high:x}:{low:x}"),
        format!("2002:{high:x}:{low:x}::1"),
        Ipv6Addr::from(u128::from(rest) | (0x2002 << 112) | (u128::from(u32::from(v4)) << 80)).to_string(),
        format!("::{v4}"),
    ]
}

/// The same of a network.
fn networks(v4: Ipv4Addr, length: u8) -> Vec<String> {
    let wide = |before: u8| before + length;
    let [a, b, c, d] = v4.octets();
    vec![
        format!("{v4}/{length}"),
        format!("::ffff:{v4}/{}", wide(96)),
        format!("64:ff9b::{v4}/{}", wide(96)),
        format!("2002:{:x}:{:x}::/{}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), wide(16)),
        format!("::{v4}/{}", wide(96)),
    ]
}

fn from(address: &str) -> Value {
    json!({"key_id": "acme", "endpoint": "/x", "source_ip": address})
}

fn of(fields: Value) -> Value {
    let mut record = json!({"endpoint": "/x", "source_ip": "203.0.113.7"});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_ban_of_an_address_in_any_spelling_refuses_requests_from_it_in_any_other(bits in 2_u32.., rest: u64) {
        let v4 = Ipv4Addr::from(bits);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (api, instance) = open().await;
            let records: Vec<Value> = spellings(v4, rest).iter().map(|address| from(address)).collect();
            for spelled in spellings(v4, rest) {
                assert_eq!(ban(&api, &format!("ip:{spelled}")).await, format!("ip:{v4}"), "{spelled}");
                for reason in reasons(&api, &records).await {
                    assert_eq!(reason, "IP_BANNED", "{spelled}");
                }
                lift(&api, &format!("ip:::ffff:{v4}")).await;
            }
            for reason in reasons(&api, &records).await {
                assert_eq!(reason, Value::Null, "the ban was lifted");
            }
            instance.shut_down().await;
        });
    }

    #[test]
    fn a_ban_of_a_network_in_any_spelling_refuses_requests_from_it_in_any_other(
        bits in (1_u32 << 24)..,
        length in 8_u8..=32,
        host: u32,
        rest: u64,
    ) {
        let mask = u32::MAX << (32 - length);
        let (v4, inside) = (Ipv4Addr::from(bits & mask), Ipv4Addr::from((bits & mask) | (host & !mask)));
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (api, instance) = open().await;
            let records: Vec<Value> = spellings(inside, rest).iter().map(|address| from(address)).collect();
            let kept = if length == 32 { format!("ip:{v4}") } else { format!("ip:{v4}/{length}") };
            for spelled in networks(v4, length) {
                assert_eq!(ban(&api, &format!("ip:{spelled}")).await, kept, "{spelled}");
                for reason in reasons(&api, &records).await {
                    assert_eq!(reason, "IP_BANNED", "{spelled} {inside}");
                }
                lift(&api, &kept).await;
            }
            instance.shut_down().await;
        });
    }
}

#[tokio::test]
async fn networks_of_a_key_hold_in_every_spelling() {
    let (api, instance) = open().await;
    for (key, networks) in
        [("a", "203.0.113.0/24"), ("b", "::ffff:203.0.113.0/120"), ("c", "64:ff9b::203.0.113.0/120")]
    {
        let entry = json!({"allowed_networks": [networks]}).to_string();
        let put = put(&api, &format!("/v1/keys/{key}"), &entry).await.json();
        assert_eq!(put["allowed_networks"], json!(["203.0.113.0/24"]));
        let at = |address: &str| of(json!({"key_id": key, "source_ip": address}));
        let inside: Vec<Value> = spellings([203, 0, 113, 7].into(), 7).iter().map(|a| at(a)).collect();
        assert!(reasons(&api, &inside).await.iter().all(Value::is_null), "{networks}");
        let outside: Vec<Value> = spellings([203, 0, 114, 7].into(), 7).iter().map(|a| at(a)).collect();
        assert!(reasons(&api, &outside).await.iter().all(|reason| reason == "KEY_NOT_ALLOWED"), "{networks}");
    }
    instance.shut_down().await;
}

#[tokio::test]
async fn events_and_places_of_an_address_are_those_of_its_ipv4_address() {
    let (api, instance) = open().await;
    ban(&api, "ip:2002:cb00:7107::1").await;
    api.post("/v1/record", from("64:ff9b::203.0.113.7").to_string()).await;
    let event = instance.logged(keyward::domain::event::EventType::BannedRequestBlocked).await;
    assert_eq!(event.source_ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(event.place.unwrap().country.as_deref(), Some("SG"), "Singapore in the demo database");
    instance.shut_down().await;
}

#[tokio::test]
async fn a_ban_of_a_key_holds_in_every_spelling_of_its_secret() {
    let (api, instance) = open().await;
    let spelled = ["sk-live-4f9a", " sk-live-4f9a", "sk-live-4f9a\n", "\t sk-live-4f9a \r\n"];
    let records: Vec<Value> = spelled.iter().map(|key| of(json!({"api_key": key}))).collect();
    assert!(reasons(&api, &records).await.iter().all(Value::is_null));
    for key in spelled {
        let found = api.post("/v1/bans/lookup", json!({"api_key": key}).to_string()).await.json();
        let subject = found["subject"].as_str().unwrap();
        assert_eq!(ban(&api, subject).await, subject);
        assert!(reasons(&api, &records).await.iter().all(|reason| reason == "API_KEY_BANNED"), "{key:?}");
        let by_id = of(json!({"key_id": subject.strip_prefix("key:").unwrap()}));
        assert!(reasons(&api, &[by_id]).await.iter().all(|reason| reason == "API_KEY_BANNED"), "{key:?}");
        lift(&api, subject).await;
        assert!(reasons(&api, &records).await.iter().all(Value::is_null), "{key:?}");
    }
    instance.shut_down().await;
}

#[tokio::test]
async fn a_retry_with_another_spelling_is_the_same_request() {
    let (api, instance) = open().await;
    let first = of(json!({"request_id": "r-1", "api_key": "sk-live-4f9a", "tokens_used": 5}));
    let again = json!({
        "request_id": "r-1", "api_key": " sk-live-4f9a\n", "tokens_used": 5, "endpoint": "/x",
        "source_ip": "::203.0.113.7",
    });
    let again_so = json!({
        "request_id": "r-1", "api_key": "sk-live-4f9a", "tokens_used": 5, "endpoint": "/x",
        "source_ip": "64:ff9b::CB00:7107",
    });
    let used = async |record: &Value| {
        api.post("/v1/record", record.to_string()).await.json()["limits"][0]["used"].clone()
    };
    // What comes as IPv6 is put into the form that IPv4 has.
    assert_eq!([used(&first).await, used(&again).await, used(&again_so).await], [5, 5, 5]);
    instance.shut_down().await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_without_being_repeated() {
    let (api, instance) = open().await;
    let odd =
        ["", " ", "Bearer sk-hidden", "sk-hid den", "sk-hidden\u{0}", "sk-hidden\u{a0}", "sk-hidden-ключ"];
    for key in odd {
        for field in ["api_key", "key_id"] {
            let body = of(json!({field: key})).to_string();
            for path in ["/v1/record", "/v1/check"] {
                let reply = api.post(path, body.clone()).await;
                assert!(!reply.all.contains("hid"), "{}", reply.all);
                let problem = reply.problem(422, &body);
                assert_eq!(pointers(&problem), [format!("/{field}")], "{body}");
                assert!(problem["detail"].as_str().unwrap().contains("visible ASCII"), "{problem}");
            }
        }
        let body = json!({"api_key": key}).to_string();
        let problem = api.post("/v1/bans/lookup", body.clone()).await.problem(422, &body);
        assert_eq!(pointers(&problem), ["/api_key"]);
    }
    // Blanks belong to no public id, not even around it.
    let blank = api.post("/v1/record", of(json!({"key_id": " acme"})).to_string()).await;
    assert_eq!(pointers(&blank.problem(422, "a blank")), ["/key_id"]);
    instance.shut_down().await;
}

#[tokio::test]
async fn a_key_id_has_up_to_256_characters_wherever_it_is_named() {
    let (api, instance) = open().await;
    let longest = "x".repeat(256);
    assert_eq!(ban(&api, &format!("key:{longest}")).await, format!("key:{longest}"));
    let reasons = reasons(&api, &[of(json!({"key_id": longest}))]).await;
    assert!(reasons.iter().all(|reason| reason == "API_KEY_BANNED"), "{reasons:?}");
    assert_eq!(put(&api, &format!("/v1/keys/{longest}"), "{}").await.status, 201);
    assert_eq!(put(&api, &format!("/v1/allowlist/key:{longest}"), r#"{"reason":"x"}"#).await.status, 201);
    for (path, pointer) in [
        (format!("/v1/keys/{longest}x"), "/key_id"),
        ("/v1/keys/a%20b".to_owned(), "/key_id"),
        (format!("/v1/keys/{}", encoded("ключ")), "/key_id"),
        (format!("/v1/bans/key:{longest}x"), "/subject"),
        (format!("/v1/bans/key:{}", encoded("ключ")), "/subject"),
        (format!("/v1/allowlist/key:{longest}x"), "/entry"),
    ] {
        let body = if pointer == "/subject" {
            BAN
        } else if pointer == "/key_id" {
            "{}"
        } else {
            r#"{"reason":"x"}"#
        };
        assert_eq!(pointers(&put(&api, &path, body).await.problem(422, &path)), [pointer], "{path}");
    }
    instance.shut_down().await;
}

/// That an answer is a refusal which explains itself and does not hold the secret.
fn explains(reply: &Reply, status: u16, way_out: &str) {
    assert!(!reply.all.contains(&SECRET[3..]), "{}", reply.all);
    let problem = reply.problem(status, SECRET);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("begins with sk-, as secrets of OpenAI") && detail.contains(way_out), "{detail}");
}

#[tokio::test]
async fn a_secret_as_a_public_id_is_refused_unless_it_is_registered() {
    let (api, instance) = open().await;
    let record = of(json!({"key_id": SECRET}));
    let refused = async || {
        for path in ["/v1/record", "/v1/check"] {
            explains(&api.post(path, record.to_string()).await, 422, "send it as api_key");
        }
        let both = format!("{record}\n{}", of(json!({"key_id": "acme"})));
        let batch = api.call("POST", "/v1/record/batch", Some("application/x-ndjson"), both).await;
        assert!(!batch.all.contains(SECRET));
        let items: Vec<Value> = batch.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        check_problem(&items[0], 422, "in a batch");
        assert_eq!((pointers(&items[0])[0].as_str(), &items[1]["allowed"]), ("/key_id", &json!(true)));
    };
    refused().await;
    assert_eq!(put(&api, &format!("/v1/keys/{SECRET}"), "{}").await.status, 201);
    assert!(reasons(&api, std::slice::from_ref(&record)).await.iter().all(Value::is_null));
    ban(&api, &format!("key:{SECRET}")).await;
    assert!(
        reasons(&api, std::slice::from_ref(&record)).await.iter().all(|reason| reason == "API_KEY_BANNED")
    );
    assert_eq!(api.call("DELETE", &format!("/v1/keys/{SECRET}"), None, "").await.status, 204);
    refused().await;
    // What it left behind can still be seen and taken back.
    lift(&api, &format!("key:{SECRET}")).await;
    assert_eq!(api.get(&format!("/v1/bans/key:{SECRET}")).await.json()["state"], "clear");
    instance.shut_down().await;
}

#[tokio::test]
async fn every_mistake_of_a_record_is_named_beside_a_secret_in_its_key_id() {
    let (api, instance) = open().await;
    let record = json!({"key_id": SECRET, "endpoint": "", "source_ip": "010.0.0.1"});
    let problem = api.post("/v1/record", record.to_string()).await.problem(422, "three mistakes");
    assert_eq!(pointers(&problem), ["/key_id", "/endpoint", "/source_ip"]);
    assert!(problem["errors"][2]["detail"].as_str().unwrap().contains("without leading zeros"), "{problem}");
    instance.shut_down().await;
}

#[tokio::test]
async fn an_operator_who_takes_the_secret_for_the_subject_is_told_how_to_find_it() {
    let (api, instance) = open().await;
    let subject = format!("key:{SECRET}");
    let way_out = "/v1/bans/lookup";
    explains(&put(&api, &format!("/v1/bans/{subject}"), BAN).await, 422, way_out);
    for (method, path) in [
        ("GET", format!("/v1/bans/{subject}")),
        ("DELETE", format!("/v1/bans/{subject}")),
        ("GET", format!("/v1/subjects/{subject}")),
        ("DELETE", format!("/v1/subjects/{subject}")),
        ("GET", format!("/v1/bans?subject={subject}")),
        ("GET", format!("/v1/events?subject={subject}")),
        ("GET", format!("/v1/events/stream?subject={subject}")),
        ("GET", format!("/v1/allowlist/{subject}")),
        ("DELETE", format!("/v1/allowlist/{subject}")),
    ] {
        explains(&api.call(method, &path, None, "").await, 422, way_out);
    }
    explains(&put(&api, &format!("/v1/allowlist/{subject}"), r#"{"reason":"x"}"#).await, 422, way_out);
    for method in ["GET", "DELETE"] {
        explains(&api.call(method, &format!("/v1/keys/{SECRET}"), None, "").await, 404, way_out);
    }
    let events = api.get("/v1/events").await;
    assert_eq!(events.json()["items"], json!([]), "nothing was done");
    // The lookup that is named leads to the ban.
    let found = api.post(way_out, json!({"api_key": SECRET}).to_string()).await.json();
    ban(&api, found["subject"].as_str().unwrap()).await;
    let reasons = reasons(&api, &[of(json!({"api_key": SECRET}))]).await;
    assert!(reasons.iter().all(|reason| reason == "API_KEY_BANNED"), "{reasons:?}");
    instance.shut_down().await;
}

#[test]
fn the_page_of_the_api_has_every_prefix_of_a_secret_with_its_source() {
    let page = include_str!("../../docs/api.md");
    for prefix in &keyward::domain::key::SECRET_PREFIXES {
        let row = format!("| `{}` | {} | {} |", prefix.text, prefix.of, prefix.source);
        assert!(page.contains(&row), "docs/api.md lacks the row {row}");
    }
}
