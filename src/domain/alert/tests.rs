//! When a rule fires and when it does not, and how rules are written.

use serde_json::json;

use super::*;

fn read(body: serde_json::Value) -> Result<AlertRule, String> {
    let mut whole = json!({ "scope": "project", "severity": "medium" });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    serde_json::from_value(whole).map_err(|error| error.to_string())
}

fn rule(metric: &str, operator: &str, threshold: serde_json::Value) -> AlertRule {
    read(json!({ "metric": metric, "operator": operator, "threshold": threshold })).unwrap()
}

#[test]
fn values_are_held_against_thresholds_exactly() {
    let totals = Totals {
        requests: 20,
        refused: 5,
        client_errors: 4,
        server_errors: 2,
        tokens: 500,
        cost_nanos: 10_000_000_001,
        ..Totals::default()
    };
    let fires = |metric, operator, threshold, over| {
        rule(metric, operator, threshold).fires(&totals, None, over).is_some()
    };
    assert!(fires("cost_per_minute", "gt", json!(10), false));
    assert!(!fires("cost_per_minute", "gt", json!("10.000000001"), false));
    assert!(fires("cost_per_day", "eq", json!("10.000000001"), true));
    assert!(!fires("cost_per_day", "eq", json!("10.000000001"), false));
    assert!(fires("failure_rate", "gt", json!("0.299999999"), false));
    assert!(!fires("failure_rate", "gt", json!("0.3"), false));
    assert!(fires("refused_share", "eq", json!("0.25"), true));
    assert!(fires("request_count", "lt", json!(21), true) && !fires("request_count", "lt", json!(20), true));
    for metric in ["tokens_per_minute", "tokens_per_hour", "tokens_per_day"] {
        assert!(fires(metric, "gt", json!(499), false) && !fires(metric, "gt", json!(500), false));
    }
    let fired = rule("failure_rate", "gt", json!("0.05")).fires(&totals, None, false).unwrap();
    let expected = Fired { observed: "0.3".to_owned(), threshold: "0.05".to_owned(), baseline: None };
    assert_eq!(fired, expected);
}

#[test]
fn a_failure_of_few_requests_is_no_alert() {
    let totals = |requests| Totals { requests, server_errors: requests, ..Totals::default() };
    let usual = rule("failure_rate", "gt", json!("0.5"));
    assert!(usual.fires(&totals(19), None, false).is_none());
    assert!(usual.fires(&totals(20), None, false).is_some());
    let own = read(
        json!({ "metric": "failure_rate", "operator": "gt", "threshold": "0.5", "minimum_requests": 1 }),
    );
    assert!(own.unwrap().fires(&totals(1), None, false).is_some());
}

#[test]
fn a_multiple_of_the_baseline_is_exact_and_wants_two_weeks() {
    let rule = |metric: &str, operator: &str, times: serde_json::Value| {
        read(json!({ "metric": metric, "operator": operator, "times_baseline": times })).unwrap()
    };
    let cost = |cost_nanos| Totals { requests: 1, cost_nanos, ..Totals::default() };
    let mut baseline = Baseline::default();
    baseline.add(&cost(10));
    let hour = rule("cost_per_hour", "gt", json!("2.5"));
    assert_eq!(hour.fires(&cost(1_000), Some(&baseline), false), None, "one week is too few");
    assert_eq!(hour.fires(&cost(1_000), None, false), None);
    baseline.add(&cost(11));
    // 2.5 times 10.5 is 26.25.
    assert_eq!(hour.fires(&cost(26), Some(&baseline), false), None);
    let fired = hour.fires(&cost(27), Some(&baseline), false).unwrap();
    assert_eq!(fired.threshold, "0.000000026");
    assert_eq!(fired.baseline, Some(("0.00000001".to_owned(), 2)));
    let less = rule("cost_per_hour", "lt", json!("2.5"));
    assert!(less.fires(&cost(26), Some(&baseline), true).is_some());
    assert!(less.fires(&cost(27), Some(&baseline), true).is_none());
    // 21 in two hours are 0.175 a minute.
    let minute = rule("cost_per_minute", "gt", json!(10));
    assert!(minute.fires(&cost(1), Some(&baseline), false).is_none());
    assert!(minute.fires(&cost(2), Some(&baseline), false).is_some());
    let failed = |requests, server_errors| Totals { requests, server_errors, ..Totals::default() };
    let mut shares = Baseline::default();
    shares.add(&failed(900, 9));
    shares.add(&failed(100, 1));
    let share = rule("failure_rate", "gt", json!(3));
    assert!(share.fires(&failed(100, 3), Some(&shares), false).is_none());
    assert!(share.fires(&failed(100, 4), Some(&shares), false).is_some());
}

#[test]
fn a_rule_that_cannot_be_has_a_hint_and_others_are_written_as_they_are_read() {
    for (body, words) in [
        (json!({ "metric": "request_count", "operator": "gt" }), "either `threshold` or `times_baseline`"),
        (
            json!({ "metric": "request_count", "operator": "gt", "threshold": 1, "times_baseline": 2 }),
            "and not both",
        ),
        (json!({ "metric": "request_count", "operator": "gt", "times_baseline": 0 }), "above 0"),
        (json!({ "metric": "cost", "operator": "gt", "threshold": 1 }), "a `window`, such as"),
        (json!({ "metric": "cost", "operator": "gt", "threshold": 1, "window": "32d" }), "1min to 31d"),
        (
            json!({ "metric": "cost_per_hour", "operator": "gt", "threshold": 1, "window": "5min" }),
            "must not have a `window`",
        ),
        (
            json!({ "metric": "failure_rate", "operator": "gt", "times_baseline": 2, "window": "5min" }),
            "no baseline of one",
        ),
        (json!({ "metric": "request_count", "operator": "gt", "threshold": 1, "name": "" }), "1 to 64 bytes"),
        (
            json!({ "metric": "request_count", "operator": "eq", "times_baseline": 2 }),
            "a `threshold` for `eq`",
        ),
        (json!({ "metric": "request_count", "operator": "gt", "threshold": "-1" }), "not below 0"),
        (
            json!({ "metric": "failure_rate", "operator": "gt", "threshold": "25" }),
            "must have a share as the `threshold`",
        ),
        (json!({ "metric": "refused_share", "operator": "eq", "threshold": "1.000000001" }), "0 to 1"),
        (
            json!({ "metric": "request_count", "operator": "gt", "threshold": 1, "minimum_requests": 5 }),
            "failure_rate and refused_share alone",
        ),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    for body in [
        json!({ "name": "dear", "metric": "cost", "window": "90min", "operator": "gt", "threshold": "5",
                 "scope": "key", "severity": "low" }),
        json!({ "metric": "refused_share", "operator": "lt", "threshold": "1", "scope": "key",
                 "severity": "low", "minimum_requests": 7 }),
        json!({ "metric": "failure_rate", "operator": "gt", "threshold": "0.25", "scope": "key",
                 "severity": "low", "minimum_requests": 7 }),
        json!({ "metric": "tokens_per_day", "operator": "lt", "times_baseline": "0.1", "scope": "model",
                 "severity": "high" }),
    ] {
        let rule: AlertRule = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(serde_json::to_value(&rule).unwrap(), body);
    }
}

#[test]
fn a_rule_is_called_by_its_name_or_else_by_what_it_says() {
    let title = |body| read(body).unwrap().title();
    assert_eq!(
        title(json!({ "metric": "cost", "window": "60min", "operator": "gt", "threshold": "12.5" })),
        "cost in 1hour gt 12.5 of project, medium"
    );
    assert_eq!(
        title(json!({ "metric": "cost_per_day", "operator": "lt", "times_baseline": "0.1" })),
        "cost_per_day lt 0.1 times its baseline of project, medium"
    );
    let named = json!({ "metric": "cost_per_day", "operator": "gt", "threshold": 1, "name": "dear days" });
    assert_eq!(title(named), "dear days");
}
