//! How bodies are spelled, and what is wrong with them.

use super::*;

#[test]
fn bodies_have_one_spelling() {
    let body = r#"{"limits":[{"unit":"cost_usd","window":"24h","limit":0.10},
        {"unit":"cost_usd","window":"day","limit":"1e1"},
        {"unit":"tokens","window":"7d","limit":1e3}],"timezone":"UTC","owner":"ops"}"#;
    let written = serde_json::to_value(project(body)).unwrap();
    assert_eq!(
        written["limits"],
        serde_json::json!([
            {"unit": "cost_usd", "window": "24hour", "limit": "0.1"},
            {"unit": "cost_usd", "window": "day", "limit": "10"},
            {"unit": "tokens", "window": "7d", "limit": 1000},
        ])
    );
    assert_eq!(project(&written.to_string()), project(body));
    let modes = r#"{"limits":[{"unit":"requests","window":"day","limit":1,"mode":"enforce"},
        {"unit":"requests","window":"hour","limit":1,"mode":"shadow"}]}"#;
    let written = serde_json::to_value(project(modes)).unwrap();
    assert!(written["limits"][0].get("mode").is_none(), "what goes without saying is not written");
    assert_eq!(written["limits"][1]["mode"], "shadow");
    let marks = r#"{"limits":[{"unit":"requests","window":"day","limit":1,"alert_at":[1,100]},
        {"unit":"cost_usd","window":"day","limit":1,"alert_at":[]}]}"#;
    let written = serde_json::to_value(project(marks)).unwrap();
    assert_eq!(written["limits"][0]["alert_at"], serde_json::json!([1, 100]));
    assert_eq!(
        written["limits"][1]["alert_at"],
        serde_json::json!([]),
        "none is not the same as the usual ones"
    );
    let entry = key(
        r#"{"allowed_networks":["203.0.113.9/24","::ffff:198.51.100.7","2001:db8::1","::ffff:192.0.2.9/120"]}"#,
    );
    assert_eq!(
        entry.allowed_networks,
        ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::1/128", "192.0.2.0/24"]
    );
}

#[test]
fn everything_that_is_wrong_is_named_with_its_hint() {
    let wrong = |json: &str| -> Vec<String> {
        let checked = serde_json::from_str::<Project>(json).unwrap().checked();
        checked.unwrap_err().into_iter().map(|wrong| wrong.to_string()).collect()
    };
    let limit = |fields: &str| wrong(&format!(r#"{{"limits":[{{{fields}}}]}}"#));
    for (fields, pointer, hint) in [
        (
            r#""unit":"tokens","window":"1year","limit":1"#,
            "/limits/0/window",
            "must be hour, day, week or month",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1.5"#,
            "/limits/0/limit",
            "must be a whole number from 0 to",
        ),
        (r#""unit":"tokens","window":"1min","limit":0.5"#, "/limits/0/limit", "from 0 to"),
        (r#""unit":"tokens","window":"1min","limit":-3"#, "/limits/0/limit", "from 0 to"),
        (
            r#""unit":"cost_usd","window":"1min","limit":"0.0000000001"#,
            "/limits/0/limit",
            "at most 9 decimals",
        ),
        (r#""unit":"cost_usd","window":"1min","limit":9000000.000000001"#, "/limits/0/limit", "to 9000000"),
        (r#""unit":"tokens","window":"1min","limit":1,"model":"a[""#, "/limits/0/model", "a pattern such as"),
        (r#""unit":"tokens","window":"1min","limit":1,"model":"""#, "/limits/0/model", "1 to 128 bytes"),
        (
            r#""unit":"tokens","window":"1min","limit":1,"block_seconds":0"#,
            "/limits/0/block_seconds",
            "from 1 to",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"block_seconds":86401"#,
            "/limits/0/block_seconds",
            "86400",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"alert_at":[0]"#,
            "/limits/0/alert_at",
            "from 1 to 100",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"alert_at":[50,101]"#,
            "/limits/0/alert_at",
            "from 1 to",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"alert_at":[80,50]"#,
            "/limits/0/alert_at",
            "ascending",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"alert_at":[50,50]"#,
            "/limits/0/alert_at",
            "each once",
        ),
        (
            r#""unit":"tokens","window":"1min","limit":1,"alert_at":[1,2,3,4,5,6,7,8,9,10,11]"#,
            "/limits/0/alert_at",
            "at most 10",
        ),
    ] {
        let fields = if fields.ends_with("0000000001") { format!("{fields}\"") } else { fields.to_owned() };
        let told = limit(&fields);
        assert!(
            told.len() == 1 && told[0].starts_with(pointer) && told[0].contains(hint),
            "{fields}: {told:?}"
        );
    }
    let month = r#"{"unit":"cost_usd","window":"month","limit":1}"#;
    assert!(wrong(&format!(r#"{{"limits":[{month},{month}]}}"#))[0].starts_with("/limits/1 counts the same"));
    assert!(
        wrong(&format!(r#"{{"limits":[{month}],"budget_usd":2}}"#))[0].starts_with("/budget_usd is what")
    );
    let many = vec![month; 33].join(",");
    assert_eq!(wrong(&format!(r#"{{"limits":[{many}]}}"#)), ["/limits must have at most 32 entries"]);
    let told = wrong(r#"{"timezone":"Mars/Base","plan":"a b","owner":"a\nb"}"#);
    assert_eq!(told.len(), 3, "{told:?}");
    let told = serde_json::from_str::<KeyEntry>(
        r#"{"allowed_networks":["x"],"allowed_countries":["SGP"],"allowed_models":["{"],"expires":"soon"}"#,
    );
    let told: Vec<String> =
        told.unwrap().checked().unwrap_err().into_iter().map(|wrong| wrong.pointer).collect();
    assert_eq!(told, ["/allowed_networks/0", "/allowed_countries/0", "/allowed_models/0", "/expires"]);
}

#[test]
fn a_country_that_there_is_not_cannot_be_written_and_one_that_is_stored_still_holds() {
    let entry = |code: &str| -> KeyEntry {
        serde_json::from_value(serde_json::json!({ "allowed_countries": ["SG", code] })).unwrap()
    };
    for code in ["ZZ", "XX", "uk"] {
        let told = entry(code).checked().unwrap_err();
        assert_eq!(told.iter().map(|wrong| &*wrong.pointer).collect::<Vec<_>>(), ["/allowed_countries/1"]);
    }
    assert_eq!(entry("gb").checked().unwrap().allowed_countries, ["SG", "GB"]);
    assert_eq!(entry("zz").countries(), [*b"SG", *b"ZZ"]);
}
