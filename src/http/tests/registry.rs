//! Plans, projects and keys: put, shown, listed, deleted, and in force.

use serde_json::{Value, json};

use super::{Api, Reply, record};
use crate::{
    config::default_policy,
    domain::{
        actor::Actor,
        event::EventType,
        registry::{Configured, Plan, Project},
    },
    engine::Base,
    http::Auth,
    store::EventQuery,
};

const LIMIT: &str = r#"{"limits":[{"unit":"cost_usd","window":"60s","limit":2.50,"model":"claude-*"}]}"#;

#[tokio::test]
async fn a_key_is_issued_with_a_secret_that_is_shown_once_and_another_takes_its_place() {
    let api = Api::open().await;
    api.put("/v1/projects/shop", "{}").await.good(201);
    let post = async |path: &str, body: &'static str| {
        api.call("POST", path, &[("content-type", "application/json")], body).await
    };
    let issued = post("/v1/keys", r#"{"project":"shop","label":"CI"}"#).await.good(201);
    let secret = issued["secret"].as_str().unwrap();
    assert!(secret.starts_with("kwk_") && secret.len() == 47, "{secret}");
    let key_id = issued["key_id"].as_str().unwrap();
    let shown = api.get(&format!("/v1/keys/{key_id}")).await.good(200);
    assert_eq!((&shown["project"], &shown["label"]), (&json!("shop"), &json!("CI")));
    assert!(!shown.to_string().contains(secret));
    post("/v1/keys", r#"{"project":"nobody"}"#).await.problem(422);

    let path = format!("/v1/keys/{key_id}/rotate");
    let rotated = post(&path, r#"{"overlap_seconds":60}"#).await.good(201);
    assert_eq!((&rotated["replaces"], &rotated["project"]), (&json!(key_id), &json!("shop")));
    assert_ne!(rotated["secret"], secret);
    let former = api.get(&format!("/v1/keys/{key_id}")).await.good(200);
    assert!(former["expires"].is_string() && rotated["expires"].is_null(), "{former}");
    assert_eq!((&former["replaced_by"], &rotated["replaced_by"]), (&rotated["key_id"], &Value::Null));
    // What were issued now would expire with the former one.
    let twice = post(&path, r#"{"overlap_seconds":60}"#).await.problem(409);
    let successor = rotated["key_id"].as_str().unwrap();
    assert!(twice["detail"].as_str().unwrap().contains(successor), "{twice}");
    post(&format!("/v1/keys/{successor}/rotate"), "{}").await.good(201);
    api.put("/v1/keys/old", r#"{"expires":"2020-01-01T00:00:00Z"}"#).await.good(201);
    let over = post("/v1/keys/old/rotate", "{}").await.problem(409);
    assert!(over["detail"].as_str().unwrap().contains("expired"), "{over}");
    api.put("/v1/keys/odd", r#"{"replaced_by":"a b\n"}"#).await.problem(422);
    post(&path, r#"{"overlap_seconds":9999999}"#).await.problem(422);
    post("/v1/keys/nobody/rotate", "{}").await.problem(404);
    post(&format!("/v1/keys/{key_id}"), "{}").await.problem(404);
}

#[tokio::test]
async fn each_is_put_shown_replaced_and_deleted() {
    let api = Api::open().await;
    api.get("/v1/plans/free").await.problem(404);
    let plan = api.put("/v1/plans/free", LIMIT).await.good(201);
    let limits = json!([{"unit": "cost_usd", "window": "1min", "limit": "2.5", "model": "claude-*"}]);
    assert_eq!(
        (&plan["name"], &plan["limits"], &plan["source"]),
        (&json!("free"), &limits, &json!("stored"))
    );
    assert_eq!(api.get("/v1/plans/free").await.good(200), plan);
    api.put("/v1/plans/free", r#"{"limits":[]}"#).await.good(200);

    let body =
        r#"{"budget_usd":"100.00","plan":"free","priority":"low","timezone":"Asia/Tokyo","owner":"Ada"}"#;
    let project = api.put("/v1/projects/analytics", body).await.good(201);
    assert_eq!(project["budget_usd"], "100");
    assert_eq!((&project["id"], &project["priority"]), (&json!("analytics"), &json!("low")));

    let body = r#"{"project":"analytics","label":"CI","allowed_networks":["203.0.113.7"],
        "expires":"2999-01-01T00:00:00Z"}"#;
    let key = api.put("/v1/keys/k1:9f2c41d07be5a8c3", body).await.good(201);
    assert_eq!(key["allowed_networks"], json!(["203.0.113.7/32"]));
    assert_eq!(api.get("/v1/keys/k1%3A9f2c41d07be5a8c3").await.good(200), key);

    let used = api.delete("/v1/plans/free").await.problem(409);
    assert!(used["detail"].as_str().unwrap().contains("project:analytics"), "{used}");
    let used = api.delete("/v1/projects/analytics").await.problem(409);
    assert!(used["detail"].as_str().unwrap().contains("key:k1:9f2c41d07be5a8c3"), "{used}");
    for path in ["/v1/keys/k1:9f2c41d07be5a8c3", "/v1/projects/analytics", "/v1/plans/free"] {
        assert_eq!(api.delete(path).await.status, 204);
        api.delete(path).await.problem(404);
        api.get(path).await.problem(404);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_changes() {
    let api = Api::open().await;
    for (path, body, pointer) in [
        ("/v1/plans/a", r#"{"limits":[{"unit":"tokens","window":"1min","limit":1.5}]}"#, "/limits/0/limit"),
        ("/v1/plans/a", r#"{"limits":[{"unit":"tokens","window":"1min","limit":true}]}"#, "/limits/0/limit"),
        ("/v1/plans/a", r#"{"limits":[{"unit":"words","window":"1min","limit":1}]}"#, "/limits/0/unit"),
        ("/v1/plans/a", r#"{"limits":[{"unit":"tokens","limit":1}]}"#, "/limits/0/window"),
        ("/v1/plans/a", r#"{"limit":[]}"#, "/limit"),
        ("/v1/plans/a%20b", "{}", "/name"),
        ("/v1/projects/a", r#"{"plan":"none"}"#, "/plan"),
        ("/v1/projects/a", r#"{"priority":"urgent"}"#, "/priority"),
        ("/v1/keys/a", r#"{"project":"none"}"#, "/project"),
        ("/v1/keys/a", r#"{"plan":"none"}"#, "/plan"),
        ("/v1/keys/a", r#"{"allowed_networks":["203.0.113.0/33"]}"#, "/allowed_networks/0"),
        ("/v1/keys/a", r#"{"api_key":"sk-live-secret"}"#, "/api_key"),
    ] {
        let problem = api.put(path, body).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        assert!(!problem.to_string().contains("sk-live-secret"));
    }
    for list in ["plans", "projects", "keys"] {
        assert_eq!(api.get(&format!("/v1/{list}")).await.good(200)["items"], json!([]));
    }
}

/// The pointers of what is wrong with a body, sorted.
async fn pointers(api: &Api, path: &str, body: &str) -> Vec<String> {
    let problem = api.put(path, body).await.problem(422);
    let errors = problem["errors"].as_array().unwrap().iter();
    let mut all: Vec<_> = errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn every_mistake_of_a_body_is_named_at_once_and_none_that_only_follows() {
    let api = Api::open().await;
    let body = r#"{"limits":[{"unit":"words","window":"1year","limit":true,"colour":1},{"unit":"tokens","window":"day"},
        7,{"unit":"tokens","window":"day","limit":1},{"unit":"tokens","window":"day","limit":2,"alert_at":["x"]}],
        "budget_usd":-1,"plan":"none","priority":"urgent","owner":5}"#;
    let named = [
        "/budget_usd",
        "/limits/0/colour",
        "/limits/0/limit",
        "/limits/0/unit",
        "/limits/0/window",
        "/limits/1/limit",
        "/limits/2",
        "/limits/4/alert_at/0",
        "/owner",
        "/plan",
        "/priority",
    ];
    assert_eq!(pointers(&api, "/v1/projects/a", body).await, named);
    let body =
        r#"{"project":"none","plan":"none","label":1,"allowed_networks":["x",5],"allowed_countries":"SG"}"#;
    let named =
        ["/allowed_countries", "/allowed_networks/0", "/allowed_networks/1", "/label", "/plan", "/project"];
    assert_eq!(pointers(&api, "/v1/keys/a", body).await, named);
}

impl Api {
    async fn patch(&self, path: &str, media: &str, json: &str) -> Reply {
        self.call("PATCH", path, &[("content-type", media)], json.to_owned()).await
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_is_held_to_what_a_put_is() {
    let api = Api::open().await;
    let merge = "application/merge-patch+json";
    api.patch("/v1/projects/a", merge, "{}").await.problem(404);
    let body = r#"{"budget_usd":"5","owner":"Ada","limits":[{"unit":"requests","window":"day","limit":9}]}"#;
    api.put("/v1/projects/a", body).await.good(201);
    let changed = api.patch("/v1/projects/a", merge, r#"{"owner":null,"budget_usd":7.5}"#).await.good(200);
    assert_eq!((&changed["owner"], &changed["budget_usd"]), (&json!(null), &json!("7.5")));
    assert_eq!(changed["limits"][0]["limit"], 9, "the rest stays");
    assert_eq!(api.get("/v1/projects/a").await.good(200), changed);
    let typed =
        api.patch("/v1/projects/a", "application/json", r#"{"timezone":"Asia/Tokyo"}"#).await.good(200);
    assert_eq!((&typed["timezone"], &typed["budget_usd"]), (&json!("Asia/Tokyo"), &json!("7.5")));
    for (patch, pointer) in [
        (r#"{"plan":"none"}"#, "/plan"),
        (r#"{"limits":[{"unit":"cost_usd","window":"month","limit":1}]}"#, "/budget_usd"),
        (r#"{"ownr":null}"#, "/ownr"),
        (r#"{"owner":["Ada"]}"#, "/owner"),
    ] {
        let problem = api.patch("/v1/projects/a", merge, patch).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{patch}: {problem}");
    }
    let problem =
        api.patch("/v1/projects/a", merge, r#"{"ownr":null,"plan":"none","limits":[7]}"#).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "all at once: {problem}");
    api.patch("/v1/projects/a", merge, "[]").await.problem(422);
    api.patch("/v1/projects/a", merge, "").await.problem(400);
    api.patch("/v1/projects/a", "application/x-ndjson", "{}").await.problem(415);
    api.call("PUT", "/v1/projects/a", &[("content-type", merge)], "{}".to_owned()).await.problem(415);
    assert_eq!(api.get("/v1/projects/a").await.good(200), typed, "nothing changed");
    let query = EventQuery { kind: Some(EventType::PolicyChanged), limit: 10, ..EventQuery::default() };
    let events = api.engine.store().events(&query).await.unwrap().items;
    assert_eq!(events.len(), 3);
    let (before, after) = (&events[1].evidence["before"], &events[1].evidence["after"]);
    assert_eq!((&before["owner"], &after["owner"]), (&json!("Ada"), &json!(null)));
}

#[tokio::test]
async fn patches_at_once_lose_nothing() {
    let api = Api::open().await;
    api.put("/v1/keys/a", "{}").await.good(201);
    api.put("/v1/projects/p", "{}").await.good(201);
    let patches = [
        r#"{"label":"CI"}"#,
        r#"{"project":"p"}"#,
        r#"{"budget_usd":3}"#,
        r#"{"allowed_models":["gpt-*"]}"#,
        r#"{"allowed_countries":["SG"]}"#,
        r#"{"expires":"2999-01-01T00:00:00Z"}"#,
    ];
    let all = patches.map(|patch| api.patch("/v1/keys/a", "application/json", patch));
    for reply in futures::future::join_all(all).await {
        reply.good(200);
    }
    let key = api.get("/v1/keys/a").await.good(200);
    for (field, value) in [
        ("label", json!("CI")),
        ("project", json!("p")),
        ("budget_usd", json!("3")),
        ("allowed_models", json!(["gpt-*"])),
        ("allowed_countries", json!(["SG"])),
        ("expires", json!("2999-01-01T00:00:00.000Z")),
    ] {
        assert_eq!(key[field], value, "{field}");
    }
}

#[tokio::test]
async fn lists_come_page_by_page() {
    let api = Api::open().await;
    for n in 0..5 {
        api.put(&format!("/v1/keys/k{n}"), "{}").await.good(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/keys?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.good(200);
        let items = page["items"].as_array().unwrap().clone();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["key_id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/keys?limit=2&cursor={cursor}");
    }
    seen.sort();
    assert_eq!(seen, ["k0", "k1", "k2", "k3", "k4"]);
    api.get("/v1/plans?sort=asc").await.problem(422);
}

#[tokio::test]
async fn a_change_is_in_the_log_with_what_was_before() {
    let api = Api::open().await;
    api.put("/v1/plans/free", LIMIT).await.good(201);
    api.put("/v1/plans/free", r#"{"limits":[]}"#).await.good(200);
    assert_eq!(api.delete("/v1/plans/free").await.status, 204);
    for absent in ["/v1/plans/free", "/v1/projects/none", "/v1/keys/none", "/v1/allowlist/country:SG"] {
        api.delete(absent).await.problem(404);
    }
    let query = EventQuery { kind: Some(EventType::PolicyChanged), limit: 10, ..EventQuery::default() };
    let events = api.engine.store().events(&query).await.unwrap().items;
    let evidence: Vec<&Value> = events.iter().map(|event| event.evidence.as_json()).collect();
    assert_eq!(evidence.len(), 3, "what was not there left no event");
    assert_eq!((&evidence[0]["document"], &evidence[0]["after"]), (&json!("plan"), &json!(null)));
    assert_eq!(evidence[1]["before"]["limits"][0]["limit"], "2.5");
    assert_eq!((&evidence[2]["name"], &evidence[2]["before"]), (&json!("free"), &json!(null)));
}

#[tokio::test]
async fn a_key_that_may_not_is_refused_by_records_and_checks_and_leaves_no_trace() {
    let api = Api::open().await;
    api.put("/v1/keys/a", r#"{"allowed_networks":["198.51.100.0/24"]}"#).await.good(201);
    for path in ["/v1/record", "/v1/check"] {
        let body = record("a", 1)
            .replace("tokens_used", if path.ends_with('d') { "tokens_used" } else { "estimated_tokens" });
        let refused = api.post(path, &body).await.good(200);
        assert_eq!((&refused["allowed"], &refused["reason"]), (&json!(false), &json!("KEY_NOT_ALLOWED")));
        assert_eq!(refused["action"], "none");
    }
    api.get("/v1/subjects/key:a").await.problem(404);
    assert_eq!(api.record("b", 1).await.good(200)["allowed"], true);
    assert_eq!(api.delete("/v1/keys/a").await.status, 204);
    assert_eq!(api.record("a", 1).await.good(200)["allowed"], true);
}

#[tokio::test]
async fn a_ban_of_the_registered_project_holds_whatever_a_record_says() {
    let api = Api::open().await;
    api.put("/v1/projects/p", "{}").await.good(201);
    api.put("/v1/keys/a", r#"{"project":"p"}"#).await.good(201);
    api.put("/v1/bans/project:p", r#"{"duration_seconds":60,"reason":"spent"}"#).await.good(201);
    let with_project = |project: &str| {
        let mut body: Value = serde_json::from_str(&record("a", 1)).unwrap();
        body["project_id"] = project.into();
        body.to_string()
    };
    for body in [record("a", 1), with_project("p"), with_project("q")] {
        assert_eq!(api.post("/v1/record", &body).await.good(200)["reason"], "PROJECT_BANNED");
    }
    assert_eq!(api.record("b", 1).await.good(200)["allowed"], true);
}

#[tokio::test]
async fn what_is_configured_can_be_put_over_and_not_deleted() {
    let registry = Configured {
        plans: [("free".to_owned(), Plan::default())].into(),
        projects: [("p".to_owned(), Project { plan: Some("free".to_owned()), ..Project::default() })].into(),
        ..Configured::default()
    };
    let base = Base {
        policy: default_policy(),
        registry: registry.into(),
        alerts: Vec::new(),
        spend: None,
        has_emergency_hook: false,
    };
    let api = Api::with(Auth::default(), base).await;
    for path in ["/v1/plans/free", "/v1/projects/p"] {
        let configured = api.get(path).await.good(200);
        assert_eq!((&configured["source"], &configured["updated"]), (&json!("configured"), &json!(null)));
        let problem = api.delete(path).await.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("configuration"), "{problem}");
        assert_eq!(api.put(path, LIMIT).await.good(200)["source"], "stored");
        assert_eq!(api.delete(path).await.status, 204, "the project has the configured plan again");
        assert_eq!(api.get(path).await.good(200), configured);
    }
    assert_eq!(api.get("/v1/plans").await.good(200)["items"][0]["name"], "free");
}

#[tokio::test]
async fn a_country_that_there_is_not_is_refused_where_it_is_written() {
    let api = Api::open().await;
    for code in ["ZZ", "XX", "UK"] {
        let body = json!({ "allowed_countries": [code] }).to_string();
        let problem = api.put("/v1/keys/a", &body).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], "/allowed_countries/0", "{problem}");
        for entry in [format!("country:{code}"), format!("pair:SG~{code}")] {
            let problem = api.put(&format!("/v1/allowlist/{entry}"), r#"{"reason":"x"}"#).await.problem(422);
            assert_eq!(problem["errors"][0]["pointer"], "/entry", "{problem}");
        }
    }
    // As an earlier version wrote it.
    let (body, by, now) = (json!({ "reason": "x" }), Actor::local(), api.engine.now());
    api.engine.policy_changes().write_allowlist("country:ZZ", body, &by, now).await.unwrap();
    assert_eq!(api.get("/v1/allowlist/country:zz").await.good(200)["entry"], "country:ZZ");
    assert_eq!(api.delete("/v1/allowlist/country:ZZ").await.status, 204);
}
