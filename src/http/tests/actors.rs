//! Who acted: every act of an operator is logged with the id of the token that it was done with.
//! That what is no act names nobody is in `engine::tests`.

use serde_json::{Value, json};

use super::{Api, sinks::park};
use crate::http::{Scope, new_token};

/// What a test does by hand: with whose token, what, and which event tells of it.
struct Hand<'a> {
    api: &'a Api,
    bearer: &'a str,
}

impl Hand<'_> {
    async fn call(&self, method: &str, path: &str, body: &str) -> u16 {
        let headers = [("authorization", self.bearer), ("content-type", "application/json")];
        self.api.call(method, path, &headers, body.to_owned()).await.status
    }

    /// The newest event of a type.
    async fn newest(&self, kind: &str) -> Value {
        let path = format!("/v1/events?limit=1&type={kind}");
        self.api.call("GET", &path, &[("authorization", self.bearer)], "").await.good(200)["items"][0].clone()
    }
}

#[tokio::test]
async fn each_act_names_the_token_that_it_was_done_with() {
    let (token, entry) = new_token(None, &[Scope::Admin], None).unwrap();
    let (other, spare) = new_token(None, &[Scope::Admin], None).unwrap();
    let by = entry.id.clone();
    let api = Api::guarded(vec![entry, spare]).await;
    park(&api, 2).await;
    let (bearer, other_bearer) = (format!("Bearer {}", *token), format!("Bearer {}", *other));
    let hand = Hand { api: &api, bearer: &bearer };
    let another = Hand { api: &api, bearer: &other_bearer };
    let policy = api.call("GET", "/v1/policy", &[("authorization", &bearer)], "").await.text;
    let reason = r#"{"reason":"by another"}"#;
    let acts = [
        ("PUT", "/v1/bans/key:a", r#"{"duration_seconds":60,"reason":"leaked"}"#, "TEMPORARY_BAN"),
        ("PUT", "/v1/bans/key:a", r#"{"duration_seconds":null,"reason":"leaked"}"#, "PERMANENT_BAN"),
        ("DELETE", "/v1/bans/key:a", "{}", "BAN_LIFTED"),
        ("DELETE", "/v1/subjects/key:a", r#"{"reason":"asked"}"#, "SUBJECT_FORGOTTEN"),
        ("PUT", "/v1/allowlist/country:SG", reason, "POLICY_CHANGED"),
        ("DELETE", "/v1/allowlist/country:SG", "", "POLICY_CHANGED"),
        ("PUT", "/v1/policy", &policy, "POLICY_CHANGED"),
        ("PUT", "/v1/plans/free", r#"{"limits":[]}"#, "POLICY_CHANGED"),
        ("PUT", "/v1/projects/shop", "{}", "POLICY_CHANGED"),
        ("PUT", "/v1/keys/k", "{}", "POLICY_CHANGED"),
        ("DELETE", "/v1/keys/k", "", "POLICY_CHANGED"),
        ("DELETE", "/v1/projects/shop", "", "POLICY_CHANGED"),
        ("DELETE", "/v1/plans/free", "", "POLICY_CHANGED"),
        ("POST", "/v1/sinks/siem/dead-letters/redeliver", "", "DEAD_LETTERS_CHANGED"),
        ("POST", "/v1/sinks/siem/dead-letters/discard", "", "DEAD_LETTERS_CHANGED"),
    ];
    let mut seen = Vec::new();
    for (method, path, body, kind) in acts {
        // Somebody else acted before.
        assert_eq!(another.call("PUT", "/v1/allowlist/country:RO", reason).await / 100, 2);
        let status = hand.call(method, path, body).await;
        assert_eq!(status / 100, 2, "{method} {path}: {status}");
        let logged = hand.newest(kind).await;
        assert_eq!(
            (&logged["evidence"]["by"], &logged["detector"]),
            (&json!(by), &json!("operator")),
            "{logged}"
        );
        assert!(!seen.contains(&logged["id"]), "{method} {path} is not logged: {logged}");
        seen.push(logged["id"].clone());
        assert!(!logged.to_string().contains(token.split_once('.').unwrap().1), "the secret is in {logged}");
    }
}

#[tokio::test]
async fn a_change_of_the_policy_says_what_was_before_and_after() {
    let api = Api::open().await;
    let mut policy: Value = serde_json::from_str(&api.get("/v1/policy").await.text).unwrap();
    policy["ladder"]["ban_seconds"] = json!(77);
    api.put("/v1/policy", &policy.to_string()).await.good(200);
    let logged = Hand { api: &api, bearer: "" }.newest("POLICY_CHANGED").await;
    assert_eq!(logged["evidence"]["changes"], json!({"ladder.ban_seconds": {"before": 1800, "after": 77}}));
    assert_eq!(logged["severity"], "medium");
}

#[tokio::test]
async fn what_is_done_to_dead_letters_names_those_that_were_there() {
    let api = Api::open().await;
    park(&api, 2).await;
    let letters = api.get("/v1/sinks/siem/dead-letters").await.good(200);
    let id = letters["items"][0]["event"]["id"].clone();
    let hand = Hand { api: &api, bearer: "" };
    let path = "/v1/sinks/siem/dead-letters/redeliver";
    assert_eq!(hand.call("POST", path, &json!({"ids": [id, "nope"]}).to_string()).await, 200);
    let logged = hand.newest("DEAD_LETTERS_CHANGED").await;
    assert_eq!((&logged["evidence"]["events"], &logged["evidence"]["count"]), (&json!([id]), &json!(1)));
    assert_eq!(hand.call("POST", "/v1/sinks/siem/dead-letters/discard", "").await, 200);
    let logged = hand.newest("DEAD_LETTERS_CHANGED").await;
    assert_eq!(logged["evidence"]["events"].as_array().unwrap().len(), 2, "{logged}");
    assert_eq!(logged["severity"], "medium");
}

#[tokio::test]
async fn a_verdict_and_what_it_lifts_name_who_gave_it() {
    let (token, entry) = new_token(None, &[Scope::Admin], None).unwrap();
    let by = json!(entry.id);
    let api = Api::guarded(vec![entry]).await;
    let bearer = format!("Bearer {}", *token);
    let hand = Hand { api: &api, bearer: &bearer };
    hand.call("PUT", "/v1/bans/key:a", r#"{"duration_seconds":60,"reason":"x"}"#).await;
    let ban = hand.newest("TEMPORARY_BAN").await;
    let path = format!("/v1/events/{}/feedback", ban["id"].as_str().unwrap());
    assert_eq!(hand.call("POST", &path, r#"{"verdict":"benign"}"#).await, 200);
    for kind in ["FEEDBACK_GIVEN", "BAN_LIFTED"] {
        assert_eq!(hand.newest(kind).await["evidence"]["by"], by);
    }
}

#[tokio::test]
async fn a_body_cannot_say_who_acts() {
    let api = Api::open().await;
    let claims = r#"{"duration_seconds":60,"reason":"x","by":"somebody"}"#;
    let problem = api.put("/v1/bans/key:a", claims).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/by");
}

#[tokio::test]
async fn without_tokens_an_act_is_local() {
    let api = Api::open().await;
    api.put("/v1/bans/key:a", r#"{"duration_seconds":60,"reason":"x"}"#).await.good(201);
    let hand = Hand { api: &api, bearer: "" };
    assert_eq!(hand.newest("TEMPORARY_BAN").await["evidence"]["by"], "local");
}
