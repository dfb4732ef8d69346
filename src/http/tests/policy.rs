//! Policies before and beside the one in force, over HTTP.

use serde_json::{Value, json};

use super::Api;
use crate::domain::{
    event::{Event, EventType, format_millis},
    finding::{AnomalyKind, Severity},
    subject::Subject,
};

/// Puts the policy in force with one setting changed, and returns it.
async fn put(api: &Api, pointer: &str, value: Value) -> Value {
    let mut policy = api.get("/v1/policy").await.good(200);
    *policy.pointer_mut(pointer).unwrap() = value;
    api.put("/v1/policy", &policy.to_string()).await.good(200)
}

#[tokio::test]
async fn each_policy_that_was_in_force_is_listed_with_who_changed_what_and_shown_whole() {
    let api = Api::open().await;
    let first = api.get("/v1/policy").await.good(200);
    assert_eq!(api.get("/v1/policy/versions").await.good(200)["items"], json!([]));
    let second = put(&api, "/ladder/ban_seconds", json!(77)).await;
    api.put("/v1/plans/free", r#"{"limits":[]}"#).await.good(201);
    let third = put(&api, "/detectors/traffic_burst/factor", json!(12.5)).await;
    let list = api.get("/v1/policy/versions").await.good(200);
    let [newest, older] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&newest["version"], &newest["former_version"]), (&third["version"], &second["version"]));
    assert_eq!((&older["version"], &older["former_version"]), (&second["version"], &first["version"]));
    assert_eq!(older["by"], "local");
    let change = json!({"before": first["ladder"]["ban_seconds"], "after": 77});
    assert_eq!(older["changes"], json!({"ladder.ban_seconds": change}));
    for policy in [&first, &second, &third] {
        let version = policy["version"].as_str().unwrap();
        let shown = api.get(&format!("/v1/policy/versions/{version}")).await;
        assert_eq!(&shown.good(200), policy);
        assert_eq!(shown.header("etag"), format!("\"{version}\""));
    }
    let absent = api.get("/v1/policy/versions/0000000000000000").await.problem(404);
    assert!(absent["detail"].as_str().unwrap().contains("0000000000000000"), "{absent}");
    // What is shown can be put again.
    assert_eq!(api.put("/v1/policy", &first.to_string()).await.good(200), first);
}

#[tokio::test]
async fn versions_come_in_pages_past_changes_of_other_things() {
    let api = Api::open().await;
    let mut versions = Vec::new();
    for seconds in 70..73 {
        versions.insert(0, put(&api, "/ladder/ban_seconds", json!(seconds)).await["version"].clone());
        api.put(&format!("/v1/plans/p{seconds}"), r#"{"limits":[]}"#).await.good(201);
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/policy/versions?limit=1".to_owned());
    loop {
        let page = api.get(&path).await.good(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["version"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/policy/versions?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, versions);
    for bad in ["limit=0", "cursor=x", "since=now"] {
        api.get(&format!("/v1/policy/versions?{bad}")).await.problem(422);
    }
}

#[tokio::test]
async fn a_preview_says_what_another_policy_would_have_done_and_changes_nothing() {
    let api = Api::open().await;
    let in_force = put(&api, "/detectors/impossible_travel/mode", json!("shadow")).await;
    let now = api.engine.now();
    let found = |minutes: i64, subject: &str| Event {
        request_id: Some(format!("r-{subject}")),
        ..Event::new(
            now - minutes * 60_000,
            EventType::Anomaly(AnomalyKind::ImpossibleTravel),
            Severity::Critical,
            Some(Subject::parse(subject).unwrap()),
        )
    };
    let events = [found(90, "key:old"), found(30, "key:a"), found(20, "key:b")];
    api.engine.store().append(&events).await.unwrap();
    let mut given = in_force.clone();
    given["detectors"]["impossible_travel"]["mode"] = json!("enforce");
    given["detectors"]["traffic_burst"]["factor"] = json!(99.0);
    let path = format!("/v1/policy/preview?since={}", format_millis(now - 3_600_000));
    let preview = api.post(&path, &given.to_string()).await.good(200);
    assert_eq!((&preview["findings"], &preview["complete"]), (&json!(2), &json!(true)), "{preview}");
    assert_eq!(preview["before"]["policy_version"], in_force["version"]);
    assert_eq!((&preview["before"]["bans"], &preview["after"]["bans"]), (&json!(0), &json!(2)));
    assert_eq!(preview["types"][0]["type"], "IMPOSSIBLE_TRAVEL");
    let named: Vec<_> = preview["subjects"].as_array().unwrap().iter().map(|row| &row["subject"]).collect();
    assert_eq!(named, ["key:a", "key:b"]);
    assert_eq!(preview["not_covered"], json!(["detectors.traffic_burst.factor"]));
    let week = api.post("/v1/policy/preview", &given.to_string()).await.good(200);
    assert_eq!(week["findings"], 3);
    assert_eq!(api.get("/v1/policy").await.good(200), in_force);
    assert_eq!(api.get("/v1/bans").await.good(200)["items"], json!([]));
}

#[tokio::test]
async fn a_preview_of_a_wrong_policy_or_of_no_span_names_what_is_wrong() {
    let api = Api::open().await;
    let mut policy = api.get("/v1/policy").await.good(200);
    let turned = "/v1/policy/preview?since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z";
    assert_eq!(api.post(turned, &policy.to_string()).await.problem(422)["errors"][0]["pointer"], "/since");
    policy["ladder"]["ban_factor"] = json!(0.1);
    let problem = api.post("/v1/policy/preview", &policy.to_string()).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/ladder/ban_factor");
}
