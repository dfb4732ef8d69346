//! What gives an overview: who calls, how many events, which subjects; and lifting many bans.

use axum::body::Body;
use serde_json::{Value, json};

use super::Api;
use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    http::{Scope, new_token},
};

impl Api {
    /// A key of which a request was learned at a moment.
    async fn seen(&self, key: &str, at: Millis) {
        let profile = Profile { requests: 1, last_seen: Some(at), ..Profile::default() };
        self.engine.store().merge_profile(&Subject::key(key), &profile).await.unwrap();
    }

    async fn ban_for(&self, subject: &str, reason: &str) {
        let order = json!({ "duration_seconds": 3600, "reason": reason }).to_string();
        self.put(&format!("/v1/bans/{subject}"), &order).await.good(201);
    }
}

fn subjects(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["subject"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_token_learns_who_it_is_and_what_it_may() {
    let open = Api::open().await.get("/v1/whoami").await.good(200);
    assert_eq!(open["id"], "local");
    assert_eq!(open["scopes"].as_array().unwrap().len(), Scope::ALL.len());
    let (token, entry) = new_token(Some("probe"), &[Scope::Metrics], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let bearer = format!("Bearer {}", *token);
    let answer = api.call("GET", "/v1/whoami", &[("authorization", &bearer)], Body::empty()).await.good(200);
    assert_eq!(answer, json!({ "id": "probe", "scopes": ["metrics"], "expires": null }));
    api.get("/v1/whoami").await.problem(401);
}

#[tokio::test]
async fn tokens_are_listed_by_id_without_anything_of_their_secrets() {
    assert_eq!(Api::open().await.get("/v1/tokens").await.good(200)["items"], json!([]));
    let made = ["b", "a"].map(|id| new_token(Some(id), &[Scope::Admin], Some(4_102_444_800_000)).unwrap());
    let api = Api::guarded(made.iter().map(|(_, entry)| entry.clone()).collect()).await;
    let bearer = format!("Bearer {}", *made[0].0);
    let list = api.call("GET", "/v1/tokens", &[("authorization", &bearer)], Body::empty()).await;
    let ids: Vec<Value> =
        list.good(200)["items"].as_array().unwrap().iter().map(|t| t["id"].clone()).collect();
    assert_eq!(ids, ["a", "b"]);
    for (token, entry) in &made {
        assert!(!list.text.contains(token.as_str()) && !list.text.contains(&entry.hash), "{}", list.text);
    }
}

#[tokio::test]
async fn events_are_counted_by_what_is_asked_for() {
    let api = Api::open().await;
    for key in ["key:a", "key:b"] {
        api.ban_for(key, "x").await;
    }
    api.delete("/v1/bans/key:a").await.good(200);
    let page = api.get("/v1/events/summary").await.good(200);
    assert_eq!(
        (&page["by"], &page["bucket"], &page["complete"]),
        (&json!("type"), &json!("hour"), &json!(true))
    );
    assert_eq!(
        page["totals"],
        json!([{ "name": "TEMPORARY_BAN", "count": 2 }, { "name": "BAN_LIFTED", "count": 1 }])
    );
    let days = api.get("/v1/events/summary?by=project&bucket=day").await.good(200);
    assert_eq!(days["totals"], json!([{ "name": null, "count": 3 }]));
    api.ban_for("project:analytics", "x").await;
    let days = api.get("/v1/events/summary?by=project&bucket=day").await.good(200);
    assert_eq!(
        days["rows"].as_array().unwrap().len(),
        2,
        "what came since is counted, and nothing twice: {days}"
    );
}

#[tokio::test]
async fn a_wrong_question_about_counts_names_its_parameter() {
    let api = Api::open().await;
    for (query, pointer) in [
        ("by=user", "/by"),
        ("bucket=minute", "/bucket"),
        ("since=2026-01-01T00:00:00Z&until=2025-01-01T00:00:00Z", "/since"),
        ("since=1970-01-01T00:00:00Z", "/since"),
    ] {
        let problem = api.get(&format!("/v1/events/summary?{query}")).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
    let long_ago = api.get("/v1/events/summary?bucket=day&since=2025-01-01T00:00:00Z").await.good(200);
    assert!(long_ago["since"].as_str().unwrap() > "2026-01-01", "from when there are counts: {long_ago}");
}

#[tokio::test]
async fn a_week_sums_up_events_bans_detectors_and_spend() {
    let api = Api::open().await;
    let budget = r#"{"limits":[{"unit":"cost_usd","window":"month","limit":100}]}"#;
    api.put("/v1/projects/analytics", budget).await.good(201);
    let record = json!({
        "key_id": "k", "project_id": "analytics", "endpoint": "/v1", "source_ip": "203.0.113.7", "cost_usd": 2.5,
    });
    api.post("/v1/record", &record.to_string()).await.good(200);
    for subject in ["key:a", "key:b"] {
        api.ban_for(subject, "leaked").await;
    }
    api.delete("/v1/bans/key:a").await.good(200);
    let ban = api.get("/v1/events?subject=key:b&type=TEMPORARY_BAN").await.good(200);
    let path = format!("/v1/events/{}/feedback", ban["items"][0]["id"].as_str().unwrap());
    api.post(&path, r#"{"verdict":"attack"}"#).await.good(200);

    let week = api.get("/v1/reports/week").await.good(200);
    let of = |kind: &str| {
        let rows = week["events"].as_array().unwrap();
        let row = rows.iter().find(|row| row["type"] == kind).unwrap();
        (row["count"].clone(), row["before"].clone(), row["days"][6].clone())
    };
    assert_eq!(of("TEMPORARY_BAN"), (json!(2), json!(0), json!(2)));
    assert_eq!(of("FEEDBACK_GIVEN"), (json!(1), json!(0), json!(1)));
    let bans = week["bans"].as_array().unwrap();
    let outcome = |subject: &str| {
        let ban = bans.iter().find(|ban| ban["subject"] == subject).unwrap();
        [&ban["outcome"], &ban["verdict"], &ban["by"], &ban["reason"]].map(Clone::clone)
    };
    assert_eq!(outcome("key:a"), [json!("lifted"), json!(null), json!("operator"), json!("leaked")]);
    assert_eq!(outcome("key:b"), [json!("holds"), json!("attack"), json!("operator"), json!("leaked")]);
    assert_eq!((&week["spend"]["cost_usd"], &week["spend"]["requests"]), (&json!("2.5"), &json!(1)));
    assert_eq!(week["spend"]["days"][6]["cost_usd"], "2.5");
    let project = &week["projects"][0];
    assert_eq!((&project["project"], &project["cost_usd"]), (&json!("analytics"), &json!("2.5")));
    let budget = json!([{ "window": "month", "model": null, "limit_usd": "100", "used_usd": "2.5" }]);
    assert_eq!(project["budgets"], budget);
    assert!(week["detectors"].as_array().unwrap().iter().all(|row| row["findings"] == 0));

    let past = api.get("/v1/reports/week?until=1970-01-01T00:00:00Z").await.problem(422);
    assert_eq!(past["errors"][0]["pointer"], "/until");
}

#[tokio::test]
async fn subjects_are_found_by_id_label_and_project_and_by_where_they_stand() {
    let api = Api::open().await;
    let now = api.engine.now();
    api.put("/v1/projects/analytics", "{}").await.good(201);
    api.put("/v1/keys/k-two", r#"{"label":"Nightly Report","project":"analytics"}"#).await.good(201);
    for (n, key) in ["k-one", "k-two", "k-three"].iter().enumerate() {
        api.seen(key, now - 1000 + n as Millis).await;
    }
    api.ban_for("key:k-one", "leaked").await;
    api.ban_for("ip:203.0.113.0%2F24", "scans").await;
    let all = api.get("/v1/subjects").await.good(200);
    assert_eq!(subjects(&all), ["key:k-three", "key:k-two", "key:k-one"]);
    assert_eq!(
        (&all["items"][1]["label"], &all["items"][1]["project"]),
        (&json!("Nightly Report"), &json!("analytics"))
    );
    assert_eq!(
        (&all["items"][2]["state"], &all["items"][2]["reason"]),
        (&json!("temporarily_banned"), &json!("leaked"))
    );
    for (query, found) in [
        ("q=nightly", vec!["key:k-two"]),
        ("q=ANALYT", vec!["key:k-two"]),
        ("q=k-t", vec!["key:k-three", "key:k-two"]),
        ("q=nobody", vec![]),
        ("state=clear", vec!["key:k-three", "key:k-two"]),
        ("state=temporarily_banned", vec!["key:k-one"]),
        ("sort=since", vec!["ip:203.0.113.0/24", "key:k-one"]),
        ("sort=since&q=203", vec!["ip:203.0.113.0/24"]),
    ] {
        let page = api.get(&format!("/v1/subjects?{query}")).await.good(200);
        let mut names = subjects(&page);
        if query == "sort=since" {
            // Both may be of the same millisecond.
            names.sort_unstable();
        }
        assert_eq!(names, found, "{query}");
    }
    for (query, pointer) in [("sort=name", "/sort"), ("state=held", "/state"), ("cursor=x", "/cursor")] {
        let problem = api.get(&format!("/v1/subjects?{query}")).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn pages_of_subjects_neither_overlap_nor_leave_out() {
    let api = Api::open().await;
    let now = api.engine.now();
    for n in 0..7 {
        api.seen(&format!("k{n}"), now - n).await;
        api.ban_for(&format!("ip:203.0.113.{n}"), "x").await;
    }
    for list in ["sort=last_seen", "sort=since"] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/subjects?{list}&limit=2&cursor={cursor}")).await.good(200);
            found.extend(subjects(&page).into_iter().map(str::to_owned));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!((count, found.len()), (7, 7), "{list}: {found:?}");
    }
}

#[tokio::test]
async fn many_bans_are_lifted_by_name_or_by_their_reason() {
    let api = Api::open().await;
    for n in 0..4 {
        api.ban_for(&format!("ip:203.0.113.{n}"), "A Scan from one range").await;
    }
    api.ban_for("key:a", "leaked").await;
    let named = r#"{"subjects":["ip:203.0.113.0","ip:203.0.113.0","key:b"],"reason":"ours"}"#;
    let done = api.post("/v1/bans/lift", named).await.good(200);
    assert_eq!(done, json!({ "lifted": ["ip:203.0.113.0"], "not_held": ["key:b"], "failed": [], "left": 0 }));
    let done = api.post("/v1/bans/lift", r#"{"reason_contains":"a scan","reason":"ours"}"#).await.good(200);
    assert_eq!(done["lifted"].as_array().unwrap().len(), 3);
    let held = api.get("/v1/bans").await.good(200);
    assert_eq!(subjects(&held), ["key:a"]);
    let events = api.get("/v1/events?type=BAN_LIFTED").await.good(200);
    assert_eq!(events["items"].as_array().unwrap().len(), 4, "an event each");
    assert_eq!(events["items"][0]["evidence"]["reason"], "ours");
}

#[tokio::test]
async fn a_wrong_order_to_lift_names_its_fields_and_lifts_nothing() {
    let api = Api::open().await;
    api.ban_for("key:a", "leaked").await;
    for (order, pointer) in [
        (r#"{"subjects":["key:a"]}"#.to_owned(), "/reason"),
        (r#"{"subjects":["key:a"],"reason":" "}"#.to_owned(), "/reason"),
        (r#"{"reason":"x"}"#.to_owned(), "/subjects"),
        (r#"{"subjects":[],"reason":"x"}"#.to_owned(), "/subjects"),
        (r#"{"subjects":["key:a"],"reason_contains":"leaked","reason":"x"}"#.to_owned(), "/subjects"),
        (r#"{"reason_contains":"le","reason":"x"}"#.to_owned(), "/reason_contains"),
        (r#"{"subjects":["key:a","nobody"],"reason":"x"}"#.to_owned(), "/subjects/1"),
        (json!({ "subjects": vec!["key:a"; 501], "reason": "x" }).to_string(), "/subjects"),
    ] {
        let problem = api.post("/v1/bans/lift", &order).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{order}");
    }
    assert_eq!(subjects(&api.get("/v1/bans").await.good(200)), ["key:a"]);
}
