//! What was used: which questions are taken, and how the answers look.

use axum::body::Body;
use serde_json::json;

use super::*;

impl Api {
    async fn used(&self, fields: serde_json::Value) {
        let mut body: serde_json::Value = serde_json::from_str(&record("a", 10)).unwrap();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(self.post("/v1/record", &body.to_string()).await.status, 200);
    }
}

#[tokio::test]
async fn a_record_just_acknowledged_is_in_the_answer() {
    let api = Api::open().await;
    api.used(json!({"project_id": "p", "model": "gpt-4.1", "cost_usd": "0.000000001"})).await;
    api.used(json!({"project_id": "p", "model": "gpt-4.1", "cost_usd": 0.25, "response_status": 500})).await;
    api.used(json!({"key_id": "b", "tokens_used": 1_200_000})).await;
    let usage = api.get("/v1/usage?group_by=project,key&bucket=day").await.good(200);
    assert_eq!((&usage["bucket"], &usage["group_by"]), (&json!("day"), &json!(["project", "key"])));
    let rows = usage["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{usage}");
    assert_eq!((&rows[0]["project"], &rows[0]["key"]), (&json!(null), &json!("b")));
    assert_eq!((&rows[0]["requests"], &rows[0]["refused"]), (&json!(1), &json!(1)), "it is above the limit");
    assert_eq!((&rows[1]["project"], &rows[1]["key"]), (&json!("p"), &json!("a")));
    assert_eq!(rows[1]["cost_usd"], "0.250000001");
    assert_eq!((&rows[1]["server_errors"], &rows[1]["tokens"]), (&json!(1), &json!(20)));
    assert!(rows[1].get("model").is_none());
    for sum in ["total", "today", "month_to_date"] {
        assert_eq!(usage[sum]["cost_usd"], "0.250000001", "{sum}");
        assert_eq!(usage[sum]["requests"], 3, "{sum}");
    }
    let of_p = api.get("/v1/usage?project=p&from=2020-01-01T00:00:00Z&bucket=day").await.good(200);
    assert_eq!((&of_p["total"]["requests"], &of_p["today"]["requests"]), (&json!(2), &json!(2)));
    let none = api.get("/v1/usage?key=nobody").await.good(200);
    assert_eq!((&none["rows"], &none["total"]["cost_usd"]), (&json!([]), &json!("0")));
}

#[tokio::test]
async fn rows_show_how_long_requests_took_that_reported_it() {
    let api = Api::open().await;
    for latency in 1..=100 {
        api.used(json!({"key_id": format!("k{}", latency % 2), "latency_ms": latency, "tokens_used": 0}))
            .await;
    }
    api.used(json!({"key_id": "silent", "tokens_used": 0})).await;
    let usage = api.get("/v1/usage?group_by=key&bucket=day").await.good(200);
    for (row, right) in [(&usage["rows"][0], 50.0), (&usage["rows"][1], 49.0), (&usage["today"], 50.0)] {
        let shown = row["latency_p50_ms"].as_f64().unwrap();
        assert!((shown - right).abs() <= right / 32.0, "{row}");
    }
    for (percentile, right) in [("latency_p95_ms", 95.0), ("latency_p99_ms", 99.0)] {
        let shown = usage["total"][percentile].as_f64().unwrap();
        assert!((shown - right).abs() <= right / 32.0, "{percentile} {shown}");
    }
    assert_eq!(
        (&usage["rows"][2]["key"], &usage["rows"][2]["latency_p99_ms"]),
        (&json!("silent"), &json!(null))
    );
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_by_name() {
    let api = Api::open().await;
    for (query, pointer) in [
        ("bucket=week", "/bucket"),
        ("timezone=Mars/Olympus", "/timezone"),
        ("group_by=user", "/group_by"),
        ("user=u", "/user"),
        ("from=2026-02-30", "/from"),
        ("bucket=month&from=0001-01-01&to=2026-01-01", "/from"),
        ("group_by=model,colour", "/group_by"),
        ("group_by=key&group_by=model", "/group_by"),
        ("form=csv", "/form"),
        ("format=xml", "/format"),
        ("from=yesterday", "/from"),
        ("to=2020-01-01T00:00:00Z", "/from"),
        ("from=2026-03-02T00:00:00Z&to=2026-03-02T00:00:00Z", "/from"),
        ("bucket=minute&from=2020-01-01T00:00:00Z", "/from"),
    ] {
        let problem = api.get(&format!("/v1/usage?{query}")).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
    let problem = api.get("/v1/usage/forecast?timezone=Mars/Olympus").await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/timezone");
    api.get("/v1/usage/forecast?bucket=day").await.problem(422);
}

#[tokio::test]
async fn rows_by_endpoint_take_ids_out_and_by_user_name_the_setting() {
    let api = Api::open().await;
    for (endpoint, user) in [("/v1/files/12", "u"), ("/v1/files/345", "v"), ("/v1/chat", "u")] {
        api.used(json!({"endpoint": endpoint, "user": user, "tokens_used": 1})).await;
    }
    let usage = api.get("/v1/usage?group_by=endpoint").await.good(200);
    let rows = usage["rows"].as_array().unwrap().iter();
    let rows: Vec<_> =
        rows.map(|row| (row["endpoint"].as_str().unwrap(), row["requests"].as_u64().unwrap())).collect();
    assert_eq!(rows, [("/v1/chat", 1), ("/v1/files/{id}", 2)]);
    let like = api.get("/v1/usage?endpoint=/v1/files/777").await.good(200);
    assert_eq!((&like["total"]["requests"], &like["today"]["requests"]), (&json!(2), &json!(2)));
    let problem = api.get("/v1/usage?group_by=user").await.problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("usage.by_user"), "{problem}");
}

#[tokio::test]
async fn days_months_and_dates_follow_the_time_zone() {
    let api = Api::open().await;
    api.used(json!({"tokens_used": 1})).await;
    // Two weeks ago there, at a quarter to and a quarter past midnight.
    let zone = crate::domain::calendar::Zone::named("Asia/Tokyo").unwrap();
    let period = crate::domain::calendar::Calendar::Day;
    let begin = period.period(api.engine.now() - 14 * crate::domain::DAY, &zone).0;
    for (at, cost) in [(begin - 900_000, "1"), (begin + 900_000, "2")] {
        let timestamp = crate::domain::event::format_millis(at);
        api.used(json!({"timestamp": timestamp, "cost_usd": cost})).await;
    }
    let date = crate::domain::event::format_millis(begin + 9 * crate::domain::HOUR)[..10].to_owned();
    let path = format!("/v1/usage?timezone=asia/tokyo&bucket=day&from={date}");
    let usage = api.get(&path).await.good(200);
    assert_eq!((&usage["timezone"], &usage["rows"][0]["cost_usd"]), (&json!("Asia/Tokyo"), &json!("2")));
    assert_eq!(usage["rows"][0]["start"], crate::domain::event::format_millis(begin));
    assert_eq!((&usage["total"]["requests"], &usage["today"]["requests"]), (&json!(2), &json!(1)));
    let months = api.get("/v1/usage?timezone=Asia/Tokyo&bucket=month&from=2020-01-01").await.good(200);
    assert_eq!((&months["bucket"], &months["total"]["cost_usd"]), (&json!("month"), &json!("3")));
}

#[tokio::test]
async fn csv_is_given_where_it_is_asked_for_and_no_name_becomes_a_formula() {
    let api = Api::open().await;
    api.used(
        json!({"project_id": "=cmd|'/c'!A0", "model": "a,\"b\"", "cost_usd": "1.5", "latency_ms": 0.012}),
    )
    .await;
    let expected_header = "start,project,model,requests,refused,client_errors,server_errors,tokens,input_tokens,\
        cached_tokens,output_tokens,cost_usd,latency_p50_ms,latency_p95_ms,latency_p99_ms,estimated_requests\r\n";
    let asked = api.get("/v1/usage?group_by=model,project&bucket=day&format=csv").await;
    let accept = [("accept", "text/csv")];
    let path = "/v1/usage?group_by=model,project&bucket=day";
    let accepted = api.call("GET", path, &accept, Body::empty()).await;
    for reply in [asked, accepted] {
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/csv; charset=utf-8"));
        let (header, rows) = reply.text.split_at(expected_header.len());
        assert_eq!(header, expected_header);
        let row = rows.split_once(',').unwrap().1;
        assert_eq!(row, "'=cmd|'/c'!A0,\"a,\"\"b\"\"\",1,0,0,0,10,10,0,0,1.5,0.012,0.012,0.012,0\r\n");
    }
    let json = format!("{path}&format=json");
    api.call("GET", &json, &accept, Body::empty()).await.good(200);
}

#[tokio::test]
async fn a_forecast_says_what_it_is_made_of() {
    let api = Api::open().await;
    api.used(json!({"project_id": "p", "cost_usd": "2"})).await;
    let seen = api.get("/v1/usage/forecast?project=p&timezone=Asia/Kolkata").await.good(200);
    assert_eq!((&seen["basis"], &seen["timezone"]), (&json!("nothing"), &json!("Asia/Kolkata")));
    assert_eq!(seen["samples"], json!({"hours": 0, "days": 0}));
    for period in ["day", "month"] {
        assert_eq!(seen[period]["so_far"]["cost_usd"], "2");
        assert_eq!(seen[period]["cost_usd"], json!({"expected": "2", "low": null, "high": null}));
        assert_eq!(seen[period]["requests"]["expected"], 1);
    }
    let nobody = api.get("/v1/usage/forecast?key=nobody").await.good(200);
    assert_eq!(nobody["month"]["tokens"]["expected"], 0);
}

#[tokio::test]
async fn usage_is_read_with_the_scope_for_reading() {
    let (token, entry) = super::super::new_token(None, &[super::super::Scope::Record], None).unwrap();
    let api = Api::guarded(vec![entry]).await;
    let headers = [("authorization", &*format!("Bearer {}", &*token))];
    api.call("GET", "/v1/usage", &headers, Body::empty()).await.problem(403);
    api.get("/v1/usage/forecast").await.problem(401);
}

#[tokio::test]
async fn alert_rules_are_listed_by_state_and_in_pages() {
    let api = Api::open().await;
    let all = api.get("/v1/alerts").await.good(200);
    let names = |list: &serde_json::Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["rule"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!((names(&all), &all["next_cursor"]), (Vec::new(), &json!(null)), "this service has no rules");
    for (query, pointer) in
        [("state=on", "/state"), ("limit=0", "/limit"), ("cursor=x", "/cursor"), ("x=1", "/x")]
    {
        let problem = api.get(&format!("/v1/alerts?{query}")).await.problem(422);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
    let config: crate::config::Config = toml::from_str(crate::config::DEFAULT_TOML).unwrap();
    let base = crate::engine::Base::from(&config);
    let api = Api::with(super::super::Auth::default(), base).await;
    let first = api.get("/v1/alerts?state=pending&limit=3").await.good(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&format!("/v1/alerts?limit=3&cursor={cursor}")).await.good(200);
    assert_eq!([names(&first), names(&second)].concat().len(), 4, "each once");
    let item = &first["items"][0];
    assert_eq!(
        (&item["state"], &item["since"], &item["threshold"]),
        (&json!("pending"), &json!(null), &json!("100"))
    );
    assert_eq!(item["rule"], "cost_per_hour gt 100 of everything, medium");
    let one =
        api.get("/v1/alerts?rule=cost_per_hour%20gt%20500%20of%20everything,%20critical").await.good(200);
    assert_eq!(names(&one).len(), 1);
}
