//! Tokens that are made and revoked over the API.

use serde_json::{Value, json};

use super::{Api, Reply};
use crate::http::{Scope, new_token};

/// The API, as whoever holds a token sees it.
struct Caller<'a>(&'a Api, String);

impl Caller<'_> {
    async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.1);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.0.call(method, path, &headers, body).await
    }

    async fn make(&self, order: Value) -> Reply {
        self.call("POST", "/v1/tokens", &order).await
    }

    async fn status(&self, path: &str) -> u16 {
        self.call("GET", path, &Value::Null).await.status
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_that_is_made_does_what_its_scopes_say_until_it_is_revoked() {
    let (admin, entry) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let ops = Caller(&api, admin.to_string());
    let made =
        ops.make(json!({ "id": "alice", "scopes": ["read"], "expires": "2099-01-01T00:00:00Z" })).await;
    let made = made.good(201);
    let alice = Caller(&api, text(&made["token"]));
    assert!(alice.1.starts_with("kw_alice."));
    assert_eq!((alice.status("/v1/bans").await, alice.status("/v1/tokens").await), (200, 403));

    let list = ops.call("GET", "/v1/tokens", &Value::Null).await;
    let items = list.good(200)["items"].clone();
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(alice.1.as_bytes()));
    assert!(!list.text.contains(&alice.1) && !list.text.contains(&hash), "{}", list.text);
    assert_eq!(
        (&items[0]["id"], &items[0]["source"], &items[1]["source"]),
        (&json!("alice"), &json!("stored"), &json!("configured"))
    );
    assert_eq!(
        (&items[0]["scopes"], &items[0]["expires"]),
        (&json!(["read"]), &json!("2099-01-01T00:00:00.000Z"))
    );
    assert!(items[0]["created"].is_string() && items[1]["created"].is_null());
    assert!(items.as_array().unwrap().iter().all(|item| item["last_used"].is_string()), "{items}");

    assert_eq!(ops.call("DELETE", "/v1/tokens/alice", &Value::Null).await.status, 204);
    assert_eq!(alice.status("/v1/bans").await, 401);
    ops.call("DELETE", "/v1/tokens/alice", &Value::Null).await.problem(404);
    let events = ops.call("GET", "/v1/events?type=POLICY_CHANGED", &Value::Null).await;
    let items = events.good(200)["items"].clone();
    let logged = json!({ "scopes": ["read"], "expires": "2099-01-01T00:00:00.000Z" });
    let acts = [(Value::Null, logged.clone()), (logged, Value::Null)];
    for (event, (before, after)) in items.as_array().unwrap().iter().rev().zip(acts) {
        let expected =
            json!({ "document": "token", "name": "alice", "before": before, "after": after, "by": "ops" });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(event["evidence"][name], *value, "{event}");
        }
    }
    assert!(!events.text.contains(&hash));
}

#[tokio::test]
async fn the_first_token_closes_the_service_and_the_last_one_stays() {
    let api = Api::open().await;
    let anybody = Caller(&api, "none".to_owned());
    let problem = anybody.make(json!({ "scopes": ["read"] })).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/scopes");
    let first = Caller(
        &api,
        text(&anybody.make(json!({ "id": "first", "scopes": ["admin"] })).await.good(201)["token"]),
    );
    assert_eq!((anybody.status("/v1/bans").await, first.status("/v1/bans").await), (401, 200));
    // One that may not make others is no help.
    first.make(json!({ "id": "reader", "scopes": ["read"] })).await.good(201);
    first.call("DELETE", "/v1/tokens/first", &Value::Null).await.problem(409);
    let second = first.make(json!({ "scopes": ["admin"] })).await.good(201);
    assert_eq!(first.call("DELETE", "/v1/tokens/first", &Value::Null).await.status, 204);
    assert_eq!(first.status("/v1/bans").await, 401);
    assert_eq!(Caller(&api, text(&second["token"])).status("/v1/bans").await, 200);
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_named_and_nothing_is_made() {
    let (admin, entry) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let ops = Caller(&api, admin.to_string());
    let cases = [
        (json!({ "scopes": [] }), "/scopes"),
        (json!({ "scopes": ["read", "kw_a.secret"] }), "/scopes/1"),
        (json!({ "scopes": ["read"], "id": "a.b" }), "/id"),
        (json!({ "scopes": ["read"], "id": "local" }), "/id"),
        (json!({ "scopes": ["read"], "id": "kw_alice" }), "/id"),
        (json!({ "scopes": ["read"], "expires": "soon" }), "/expires"),
        (json!({ "scopes": ["read"], "expires": "2020-01-01T00:00:00Z" }), "/expires"),
        (json!({ "scopes": ["read"], "hash": "00" }), "/hash"),
    ];
    for (order, pointer) in cases {
        let problem = ops.make(order).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    ops.make(json!({ "id": "ops", "scopes": ["read"] })).await.problem(409);
    ops.call("DELETE", "/v1/tokens/ops", &Value::Null).await.problem(409);
    assert_eq!(
        ops.call("GET", "/v1/tokens", &Value::Null).await.good(200)["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn an_order_for_an_id_that_is_taken_changes_nothing_and_one_that_was_revoked_is_free() {
    let (admin, entry) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let ops = Caller(&api, admin.to_string());
    let alice = json!({ "id": "alice", "scopes": ["read"] });
    let first = Caller(&api, text(&ops.make(alice.clone()).await.good(201)["token"]));
    ops.make(alice.clone()).await.problem(409);
    assert_eq!(first.status("/v1/bans").await, 200);
    for again in 0..2 {
        assert_eq!(ops.call("DELETE", "/v1/tokens/alice", &Value::Null).await.status, 204, "{again}");
        let other = Caller(&api, text(&ops.make(alice.clone()).await.good(201)["token"]));
        assert_eq!((first.status("/v1/bans").await, other.status("/v1/bans").await), (401, 200));
    }
}

#[tokio::test]
async fn a_service_whose_last_token_is_gone_from_the_settings_stays_closed_after_a_restart() {
    let (admin, entry) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let ops = Caller(&api, admin.to_string());
    ops.make(json!({ "id": "alice", "scopes": ["admin"] })).await.good(201);
    assert_eq!(ops.call("DELETE", "/v1/tokens/alice", &Value::Null).await.status, 204);
    let restarted = crate::http::Auth::default();
    restarted.replace_stored(&api.engine.stored_tokens().borrow());
    assert!(!restarted.is_open() && restarted.holders().is_empty());
}
