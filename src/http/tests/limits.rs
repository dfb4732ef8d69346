//! How the limits of a key or a project stand.

use serde_json::{Value, json};

use super::Api;

/// `scope unit window limit used held remaining` of each limit.
fn rows(page: &Value) -> Vec<String> {
    let row = |limit: &Value| {
        let members = ["scope", "unit", "window", "limit", "used", "held", "remaining"];
        members.map(|name| limit[name].to_string().replace('"', "")).join(" ")
    };
    page["limits"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn every_limit_of_a_key_and_of_its_project_is_shown_with_what_is_used_and_held() {
    let api = Api::open().await;
    let plan = r#"{"limits":[{"unit":"requests","window":"day","limit":50,"mode":"shadow"},
        {"unit":"tokens","window":"day","limit":9,"model":"claude-*"}]}"#;
    api.put("/v1/plans/free", plan).await.good(201);
    let project = r#"{"plan":"free","budget_usd":"10","limits":[{"unit":"tokens","window":"1hour","limit":90,
        "block_seconds":60}]}"#;
    api.put("/v1/projects/p", project).await.good(201);
    api.put("/v1/keys/a", r#"{"project":"p","limits":[{"unit":"tokens","window":"7d","limit":700}]}"#)
        .await
        .good(201);
    let said = r#""key_id":"a","source_ip":"203.0.113.7","endpoint":"/v1","model":"none-such""#;
    let record = format!(r#"{{{said},"tokens_used":30,"cost_usd":1.5,"response_status":200}}"#);
    api.post("/v1/record", &record).await.good(200);
    let check = format!(r#"{{{said},"estimated_tokens":20,"estimated_cost_usd":0.25,"reserve":true}}"#);
    api.post("/v1/check", &check).await.good(200);
    let page = api.get("/v1/limits/key:a").await.good(200);
    assert_eq!(page["subject"], "key:a");
    let (windows, registry): (Vec<String>, Vec<String>) =
        rows(&page).into_iter().partition(|row| row.starts_with("null"));
    assert!(!windows.is_empty() && windows.iter().all(|row| row.contains(" 50 20 ")), "{windows:?}");
    let of_project = ["project tokens 1hour 90 50 20 40", "project cost_usd month 10 1.75 0.25 8.25"];
    let of_key = ["key tokens 7d 700 50 20 650", "key requests day 50 2 1 48", "key tokens day 9 0 0 9"];
    assert_eq!(registry, [&of_key[..], &of_project[..]].concat());
    let limits = page["limits"].as_array().unwrap();
    let modes: Vec<&Value> = limits.iter().skip(windows.len()).map(|limit| &limit["mode"]).collect();
    assert_eq!(modes, ["enforce", "shadow", "enforce", "enforce", "enforce"]);
    let project = api.get("/v1/limits/project:p").await.good(200);
    assert_eq!(rows(&project), of_project);
    assert!(project["limits"][0].get("blocked_seconds").is_none());
    let over = check.replace("20,", "41,");
    assert_eq!(api.post("/v1/check", &over).await.good(200)["allowed"], false);
    let blocked = api.get("/v1/limits/project:p").await.good(200)["limits"][0]["blocked_seconds"].clone();
    assert!(blocked.as_u64().is_some_and(|seconds| (50..=60).contains(&seconds)), "{blocked}");
}

#[tokio::test]
async fn a_subject_that_nobody_knows_has_the_limits_that_it_would_have_and_an_address_has_none() {
    let api = Api::open().await;
    let page = api.get("/v1/limits/key:new").await.good(200);
    assert!(!page["limits"].as_array().unwrap().is_empty());
    assert!(
        page["limits"].as_array().unwrap().iter().all(|limit| limit["used"] == 0 && limit["scope"].is_null())
    );
    assert_eq!(api.get("/v1/limits/project:new").await.good(200)["limits"], json!([]));
    let problem = api.get("/v1/limits/ip:203.0.113.7").await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/subject");
    api.get("/v1/limits/key:a?model=x").await.problem(422);
}
