//! What people do and look at: bans, subjects, allowlist, policy.

use axum::body::Body;
use serde_json::json;

use super::{Api, default_policy};
use crate::http::Auth;

const HOUR: &str = r#"{"duration_seconds":3600,"reason":"leaked on a forum"}"#;

#[tokio::test]
async fn a_ban_holds_until_it_is_lifted() {
    let api = Api::open().await;
    assert_eq!(api.get("/v1/bans/key:acme").await.good(200)["state"], "clear");
    let status = api.put("/v1/bans/key:acme", HOUR).await.good(201);
    assert_eq!(status["subject"], "key:acme");
    assert_eq!(status["state"], "temporarily_banned");
    assert_eq!(status["reason"], "leaked on a forum");
    assert_eq!(status["origin"], "operator");
    let refused = api.record("acme", 1).await.good(200);
    assert_eq!(refused["reason"], "API_KEY_BANNED");
    assert_eq!(refused["action"], "temporary_ban");
    let forever = api.put("/v1/bans/key:acme", r#"{"duration_seconds":null,"reason":"x"}"#).await.good(200);
    assert_eq!((&forever["state"], &forever["until"]), (&json!("permanently_banned"), &json!(null)));
    let lifted = api.delete("/v1/bans/key:acme?reason=rotated").await.good(200);
    assert_eq!((&lifted["state"], &lifted["reason"]), (&json!("clear"), &json!("rotated")));
    assert_eq!(api.record("acme", 1).await.good(200)["allowed"], true);
    api.delete("/v1/bans/key:acme").await.problem(404);
}

#[tokio::test]
async fn a_reason_for_lifting_may_come_in_the_body_or_not_at_all() {
    let api = Api::open().await;
    api.put("/v1/bans/key:a", HOUR).await.good(201);
    let json_type = [("content-type", "application/json")];
    let lifted = api.call("DELETE", "/v1/bans/key:a", &json_type, r#"{"reason":"false alarm"}"#).await;
    assert_eq!(lifted.good(200)["reason"], "false alarm");
    api.put("/v1/bans/key:a", HOUR).await.good(201);
    assert_eq!(api.delete("/v1/bans/key:a").await.good(200)["reason"], "lifted by local");
    api.call("DELETE", "/v1/bans/key:a", &json_type, r#"{"why":"x"}"#).await.problem(422);
}

#[tokio::test]
async fn a_network_is_named_with_its_slash_encoded_or_not() {
    let api = Api::open().await;
    let status = api.put("/v1/bans/ip:2001:db8::%2F32", HOUR).await.good(201);
    assert_eq!(status["subject"], "ip:2001:db8::/32");
    assert_eq!(api.get("/v1/bans/ip:2001:db8::/32").await.good(200)["state"], "temporarily_banned");
    assert_eq!(api.get("/v1/bans/ip%3A2001%3Adb8%3A%3A%2F32").await.good(200)["state"], "temporarily_banned");
    api.get("/v1/bans/ip:300.1.1.1").await.problem(422);
    api.get("/v1/bans/user:x").await.problem(422);
    api.get("/v1/bans/key:%ff").await.problem(400);
}

#[tokio::test]
async fn a_ban_of_half_the_internet_asks_back() {
    let api = Api::open().await;
    for vast in ["ip:0.0.0.0%2F0", "ip:128.0.0.0%2F1", "ip:::%2F0"] {
        let path = format!("/v1/bans/{vast}");
        let problem = api.put(&path, HOUR).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], "/force");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("send force: true"), "{problem}");
        let not_forced = r#"{"duration_seconds":60,"reason":"x","force":false}"#;
        api.put(&path, not_forced).await.problem(422);
    }
    assert_eq!(api.record("acme", 1).await.good(200)["allowed"], true);
    let meant = r#"{"duration_seconds":60,"reason":"closed for the night","force":true}"#;
    api.put("/v1/bans/ip:0.0.0.0%2F0", meant).await.good(201);
    assert_eq!(api.record("acme", 1).await.good(200)["reason"], "IP_BANNED");
    // Lifting never asks.
    api.delete("/v1/bans/ip:0.0.0.0%2F0").await.good(200);
    api.put("/v1/bans/ip:10.0.0.0%2F8", HOUR).await.good(201);
}

#[tokio::test]
async fn bans_are_listed_newest_first_page_by_page() {
    let api = Api::open().await;
    for key in ["a", "b", "c", "d", "e"] {
        api.put(&format!("/v1/bans/key:{key}"), HOUR).await.good(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/bans?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.good(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|i| (i["since"].as_str().unwrap().to_owned(), i["subject"].clone())));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/bans?limit=2&cursor={cursor}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a.0 >= b.0), "{seen:?}");
    assert_eq!(
        api.get("/v1/bans?subject=key:c&state=temporarily_banned").await.good(200)["items"][0]["subject"],
        "key:c"
    );
    assert_eq!(api.get("/v1/bans?state=throttled").await.good(200)["items"], json!([]));
    for bad in ["state=banned", "limit=0", "subject=x", "cursor=x", "sort=asc"] {
        api.get(&format!("/v1/bans?{bad}")).await.problem(422);
    }
}

#[tokio::test]
async fn a_raw_key_is_looked_up_in_the_body() {
    let api = Api::open().await;
    let body = r#"{"api_key":"sk-live-secret"}"#;
    let status = api.post("/v1/bans/lookup", body).await.good(200);
    let subject = status["subject"].as_str().unwrap().to_owned();
    assert!(subject.starts_with("key:k1:"), "{subject}");
    api.put(&format!("/v1/bans/{subject}"), HOUR).await.good(201);
    assert_eq!(api.post("/v1/bans/lookup", body).await.good(200)["state"], "temporarily_banned");
    api.post("/v1/bans/lookup", r#"{"api_key":""}"#).await.problem(422);
    api.get("/v1/bans/lookup").await.problem(405);
}

#[tokio::test]
async fn a_subject_is_shown_and_forgotten() {
    let api = Api::open().await;
    api.get("/v1/subjects/key:acme").await.problem(404);
    api.record("acme", 7).await.good(200);
    let page = api.get("/v1/subjects/key:acme").await.good(200);
    assert_eq!(page["subject"], "key:acme");
    assert_eq!(page["standing"]["state"], "clear");
    assert_eq!(page["summary"], "Clear. Learned from 1 day, 1 request; still warming up.");
    assert_eq!(page["windows"][0]["window"], "1min");
    assert_eq!(page["windows"][3]["tokens"], 7);
    assert_eq!(page["profile"]["requests"], 1);
    assert_eq!(page["profile"]["hours"].as_array().unwrap().len(), 7);
    api.put("/v1/bans/key:acme", HOUR).await.good(201);
    let page = api.get("/v1/subjects/key:acme").await.good(200);
    let summary = page["summary"].as_str().unwrap();
    assert!(summary.starts_with("Banned until ") && summary.ends_with(" by an operator: leaked on a forum."));
    let gone = api.delete("/v1/subjects/key:acme?reason=asked").await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    let page = api.get("/v1/subjects/key:acme").await.good(200);
    assert_eq!((&page["profile"], &page["windows"]), (&json!(null), &json!([])));
    assert_eq!(page["events"][0]["type"], "SUBJECT_FORGOTTEN");
}

#[tokio::test]
async fn the_allowlist_is_kept_by_entry() {
    let api = Api::open().await;
    api.get("/v1/allowlist/country:SG").await.problem(404);
    let office = r#"{"reason":"office","expires":"2999-01-01T00:00:00Z"}"#;
    let entry = api.put("/v1/allowlist/ip:203.0.113.9%2F24", office).await.good(201);
    assert_eq!(entry["entry"], "ip:203.0.113.0/24");
    assert_eq!(entry["expires"], "2999-01-01T00:00:00.000Z");
    api.put("/v1/allowlist/ip:203.0.113.0%2F24", r#"{"reason":"still the office"}"#).await.good(200);
    let shown = api.get("/v1/allowlist/ip:203.0.113.0/24").await.good(200);
    assert_eq!((&shown["reason"], &shown["expires"]), (&json!("still the office"), &json!(null)));
    api.put("/v1/allowlist/pair:sg~RO", office).await.good(201);
    let list = api.get("/v1/allowlist").await.good(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(api.delete("/v1/allowlist/pair:SG~RO").await.status, 204);
    api.delete("/v1/allowlist/pair:SG~RO").await.problem(404);
    api.put("/v1/allowlist/galaxy:x", office).await.problem(422);
    api.put("/v1/allowlist/country:SG", r#"{"reason":"x","expires":"2020-01-01T00:00:00Z"}"#)
        .await
        .problem(422);
}

#[tokio::test]
async fn the_policy_that_is_shown_can_be_changed_and_put_back() {
    let api = Api::open().await;
    let shown = api.get("/v1/policy").await;
    let mut policy = shown.good(200);
    let version = policy["version"].as_str().unwrap().to_owned();
    assert_eq!(shown.header("etag"), format!("\"{version}\""));
    policy["limits"]["tokens"]["1min"] = json!(10);
    let put = api.put("/v1/policy", &policy.to_string()).await;
    let changed = put.good(200);
    assert_ne!(changed["version"], version.as_str());
    assert_eq!(put.header("etag"), format!("\"{}\"", changed["version"].as_str().unwrap()));
    assert_eq!(api.get("/v1/policy").await.good(200), changed);
    assert_eq!(api.record("acme", 11).await.good(200)["reason"], "RATE_LIMIT_EXCEEDED");
    let stale = [("content-type", "application/json"), ("if-match", shown.header("etag"))];
    api.call("PUT", "/v1/policy", &stale, policy.to_string()).await.problem(412);
    policy["ladder"]["ban_factor"] = json!(0.1);
    let problem = api.put("/v1/policy", &policy.to_string()).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/ladder/ban_factor");
    assert_eq!(api.get("/v1/policy").await.good(200), changed);
}

#[tokio::test]
async fn probes_answer_and_readiness_ends_with_the_service() {
    let api = Api::open().await;
    assert_eq!(api.get("/livez").await.good(200), json!({"status": "alive"}));
    let ready = api.get("/readyz").await.good(200);
    assert_eq!((&ready["status"], &ready["store"]["status"]), (&json!("ready"), &json!("up")));
    assert_eq!(ready["components"], json!({"geo": "off"}));
    let metrics = api.call("GET", "/metrics", &[], Body::empty()).await;
    assert_eq!((metrics.status, metrics.text.as_str()), (200, "keyward_up 1\n"));
    api.shutdown.cancel();
    api.get("/readyz").await.problem(503);
    api.get("/livez").await.good(200);
}

/// Firewalls spare no key with a past from there, as Keyward does with bans of its own.
#[tokio::test]
async fn firewalls_are_given_the_bans_of_persons_and_those_of_detectors_where_a_setting_says_so() {
    for exports in [false, true] {
        let api = Api::set_up(Auth::default(), default_policy(), |settings| {
            settings.server.export_detector_bans = exports;
        })
        .await;
        for n in 0..12 {
            let wrong = json!({
                "key_id": format!("made-up-{n}"), "endpoint": "/v1/chat", "source_ip": "203.0.113.7",
                "tokens_used": 0, "response_status": 401,
            });
            api.post("/v1/record", &wrong.to_string()).await.good(200);
        }
        let banned = api.get("/v1/bans/ip:203.0.113.7").await.good(200);
        assert_eq!((&banned["state"], &banned["origin"]), (&json!("temporarily_banned"), &json!("detector")));
        api.put("/v1/bans/ip:203.0.113.9", HOUR).await.good(201);
        let given = api.get("/v1/decisions").await.good(200);
        let mut given: Vec<_> =
            given.as_array().unwrap().iter().map(|ban| ban["value"].as_str().unwrap()).collect();
        given.sort_unstable();
        let of_persons = ["203.0.113.9"];
        let all = ["203.0.113.7", "203.0.113.9"];
        assert_eq!(given, if exports { &all[..] } else { &of_persons[..] });
        for (asked, is_reported) in [
            ("ip=203.0.113.9&contains=true", true),
            ("range=203.0.113.8/31&contains=true", false),
            ("range=203.0.113.8/31&contains=false", true),
        ] {
            let given = api.get(&format!("/v1/decisions?{asked}")).await.good(200);
            assert_eq!(given.is_array(), is_reported, "{asked}: {given}");
        }
        api.get("/v1/decisions?contains=maybe").await.problem(422);
    }
}
