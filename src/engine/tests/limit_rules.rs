//! What a limit does beside refusing what does not fit: shadows, marks, blocks.

use super::{
    limits::{ask, day, key, plan, project},
    *,
};
use crate::domain::{
    actor::Actor,
    registry::{Configured, Shares},
};

#[tokio::test]
async fn a_shadow_limit_is_charged_and_shown_and_tells_once_a_span_what_it_would_have_refused() {
    let shadow = json!({"limits": [
        {"unit": "requests", "window": "day", "limit": 2, "mode": "shadow"},
        {"unit": "tokens", "window": "1min", "limit": 10, "mode": "shadow"},
        {"unit": "tokens", "window": "day", "limit": 9_000},
    ]});
    let mut day = day(&[("p", project(shadow))]).await;
    let asked = json!({"project_id": "p", "tokens_used": 4, "admit": true});
    for n in 1..=5 {
        let answer = day.ask(asked.clone()).await;
        assert_eq!((answer.allowed, answer.retry_at, answer.would), (true, None, None));
        let shown: Vec<_> = answer.limits.iter().map(|l| (l.mode.is_shadow(), l.used)).collect();
        assert_eq!(shown, [(true, n), (true, n * 4), (false, n * 4)]);
        assert!(day.engine.check(&day.record(asked.clone()), false, day.now).await.allowed);
    }
    let reported = day.events(EventType::RateLimitExceeded).await;
    let mut reported: Vec<_> = reported.iter().map(|e| (e.evidence["window"].clone(), e.count, e)).collect();
    reported.sort_by_key(|(window, ..)| window.to_string());
    let windows: Vec<_> =
        reported.iter().map(|(window, count, _)| (window.as_str().unwrap(), *count)).collect();
    assert_eq!(windows, [("1min", 1), ("day", 1)]);
    for (.., event) in reported {
        assert_eq!((&event.evidence["mode"], event.action.as_deref()), (&json!("shadow"), Some("none")));
        assert_eq!(event.would.map(|would| would.allowed), Some(false));
    }
}

#[tokio::test]
async fn a_shadow_limit_of_nothing_refuses_nothing_and_beside_a_limit_that_refuses_nothing_is_promised() {
    let limits = json!({"limits": [
        {"unit": "requests", "window": "day", "limit": 0, "mode": "shadow"},
        {"unit": "cost_usd", "window": "1hour", "limit": "0.5"},
    ]});
    let mut day = day(&[("p", project(limits))]).await;
    let mut asked = ask("a", "0.5");
    asked["admit"] = true.into();
    assert!(day.ask(asked.clone()).await.allowed);
    let refused = day.ask(asked.clone()).await;
    assert_eq!((refused.allowed, refused.reason), (false, Some(Reason::BudgetExceeded)));
    day.now += refused.retry_after_seconds().unwrap() as Millis * SECOND;
    assert!(day.ask(asked).await.allowed, "the wait is that of the limit that refuses");
}

/// The marks that were told, in per cent, with the name of the type, in order of time.
async fn marks_reported(day: &Day, kind: EventType) -> Vec<(u64, u64)> {
    let mut reported = day.events(kind).await;
    reported.sort_by_key(|event| (event.time, event.severity));
    reported.iter().map(|event| (event.evidence["percent"].as_u64().unwrap(), event.count)).collect()
}

#[tokio::test]
async fn a_limit_on_tokens_or_requests_tells_of_the_marks_that_it_was_given_and_of_none_otherwise() {
    let limits = json!({"limits": [
        {"unit": "tokens", "window": "day", "limit": 100, "alert_at": [25, 99, 100]},
        {"unit": "requests", "window": "day", "limit": 4},
        {"unit": "cost_usd", "window": "day", "limit": "1", "alert_at": []},
    ]});
    let mut day = day(&[("p", project(limits))]).await;
    for tokens in [20, 10, 69, 1, 5] {
        day.ask(json!({"project_id": "p", "tokens_used": tokens, "cost_usd": 0.3})).await;
        day.now += MINUTE;
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(25, 1), (99, 1), (100, 1)]);
    assert_eq!(marks_reported(&day, EventType::BudgetUsed).await, []);
    let event = day.events(EventType::LimitUsed).await.remove(0);
    assert_eq!(event.subject, Some(Subject::project("p")));
    assert_eq!(event.evidence["summary"], "100 % of 100 tokens per day are used: 100.");
}

#[tokio::test]
async fn the_whole_is_reported_with_the_first_refusal_where_the_rest_is_too_little_and_of_a_limit_of_nothing()
{
    let limits = json!({"limits": [
        {"unit": "tokens", "window": "day", "limit": 100, "alert_at": [100]},
        {"unit": "requests", "window": "day", "limit": 0, "model": "claude-*", "alert_at": [50, 100]},
    ]});
    let mut day = day(&[("p", project(limits))]).await;
    let asked = |tokens: u64| json!({"project_id": "p", "tokens_used": tokens, "admit": true});
    assert!(day.ask(asked(96)).await.allowed);
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, []);
    for _ in 0..3 {
        assert!(!day.ask(asked(5)).await.allowed);
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1)]);
    for _ in 0..3 {
        day.now += MINUTE;
        let stopped = day.record(json!({"project_id": "p", "model": "claude-opus-4.7"}));
        assert!(!day.engine.check(&stopped, false, day.now).await.allowed);
        day.engine.record(&[stopped], day.now).await;
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1), (100, 1)]);
}

#[tokio::test]
async fn a_limit_that_slides_tells_of_a_mark_again_only_after_it_fell_below() {
    let limits = json!({"limits": [{"unit": "requests", "window": "1min", "limit": 4, "alert_at": [50]}]});
    let mut day = day(&[("p", project(limits))]).await;
    for _ in 0..4 {
        day.ask(json!({"project_id": "p"})).await;
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(50, 1)]);
    day.now += 2 * MINUTE;
    day.ask(json!({"project_id": "p"})).await;
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(50, 1)]);
    day.ask(json!({"project_id": "p"})).await;
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(50, 1), (50, 1)]);
}

#[tokio::test]
async fn a_limit_that_is_lowered_to_what_is_used_tells_so_and_one_that_is_raised_tells_anew() {
    let of = |limit: u64| {
        project(
            json!({"limits": [{"unit": "tokens", "window": "day", "limit": limit, "alert_at": [50, 100]}]}),
        )
    };
    let mut day = day(&[("p", of(1000))]).await;
    day.ask(json!({"project_id": "p", "tokens_used": 60})).await;
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, []);
    for limit in [60, 200, 60] {
        day.now += MINUTE;
        day.engine.registry_changes().put("p", &of(limit), &Actor::local(), day.now).await.unwrap();
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1)]);
    day.now += MINUTE;
    day.engine.registry_changes().put("p", &of(200), &Actor::local(), day.now).await.unwrap();
    day.ask(json!({"project_id": "p", "tokens_used": 140})).await;
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1), (100, 1)]);
}

#[tokio::test]
async fn once_exceeded_a_limit_with_a_block_refuses_everything_for_so_long_and_no_longer() {
    let limits = json!({"limits": [
        {"unit": "tokens", "window": "10s", "limit": 100, "block_seconds": 60},
        {"unit": "requests", "window": "day", "limit": 1000},
    ]});
    let mut day = day(&[("p", project(limits))]).await;
    let asked = |tokens: u64| json!({"project_id": "p", "tokens_used": tokens, "admit": true});
    assert!(day.ask(asked(90)).await.allowed);
    let first = day.record(asked(20));
    assert_eq!(
        day.engine.check(&first, false, day.now).await.retry_after_seconds(),
        Some(60),
        "also a check"
    );
    let until = day.now + 60 * SECOND;
    for after in [1, 30, 59] {
        day.now = until - 60 * SECOND + after * SECOND;
        let refused = day.ask(asked(1)).await;
        assert_eq!((refused.allowed, refused.retry_at), (false, Some(until)), "it is never extended");
        assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
        let reserved = day.engine.check(&day.record(asked(1)), true, day.now).await;
        assert_eq!((reserved.allowed, reserved.reserved), (false, None));
    }
    let reported = day.ask(json!({"project_id": "p", "tokens_used": 7})).await;
    assert_eq!((reported.allowed, reported.limits[0].used), (false, 7), "what was used is counted");
    assert_eq!((reported.limits.len(), reported.limits[0].block_seconds), (2, Some(60)));
    day.now = until;
    assert!(day.ask(asked(1)).await.allowed);
    let evidence = day.events(EventType::RateLimitExceeded).await.pop().unwrap().evidence;
    assert_eq!((&evidence["window"], &evidence["block_seconds"]), (&json!("10s"), &json!(60)));
}

#[tokio::test]
async fn an_overdraft_begins_a_block_and_taking_it_away_from_the_limit_ends_it() {
    let limit = |more: &str| {
        let body = format!(r#"{{"limits":[{{"unit":"tokens","window":"1s","limit":10{more}}}]}}"#);
        key(serde_json::from_str(&body).unwrap())
    };
    let mut day = day(&[("k", limit(r#","block_seconds":3600"#))]).await;
    let begun = day.now;
    assert!(!day.ask(json!({"key_id": "k", "tokens_used": 50})).await.allowed);
    day.now += MINUTE;
    let refused = day.ask(json!({"key_id": "k", "tokens_used": 1, "admit": true})).await;
    assert_eq!((refused.allowed, refused.retry_at), (false, Some(begun + HOUR)));
    day.engine.registry_changes().put("k", &limit(""), &Actor::local(), day.now).await.unwrap();
    assert!(day.ask(json!({"key_id": "k", "tokens_used": 1, "admit": true})).await.allowed);
}

#[tokio::test]
async fn a_strangers_failure_in_a_keys_name_begins_no_block() {
    let limits =
        json!({"limits": [{"unit": "requests", "window": "1hour", "limit": 1, "block_seconds": 3600}]});
    let mut day = day(&[("p", project(limits))]).await;
    assert!(day.ask(json!({"project_id": "p", "admit": true})).await.allowed, "it just fits");
    let stranger = json!({"project_id": "p", "source_ip": "198.51.100.9", "response_status": 401});
    day.ask(stranger).await;
    day.ask(json!({"project_id": "p", "refused_by": "keyward"})).await;
    // The hour slides, and leaves a sixtieth late.
    day.now += HOUR + MINUTE;
    assert!(day.ask(json!({"project_id": "p", "admit": true})).await.allowed);
}

#[tokio::test]
async fn what_a_low_priority_may_not_have_blocks_no_high_one() {
    let limits = |priority: &str| {
        project(json!({"priority": priority, "limits": [
            {"unit": "requests", "window": "1hour", "limit": 10, "block_seconds": 60},
        ]}))
    };
    let shares = Shares { low: 800, medium: 900 };
    let mut day = Day::configured(Configured { shares, ..Configured::default() }).await;
    let by = Actor::local();
    day.engine.registry_changes().put("p", &limits("low"), &by, day.now).await.unwrap();
    let asked = json!({"project_id": "p", "admit": true});
    for _ in 0..8 {
        assert!(day.ask(asked.clone()).await.allowed);
    }
    assert!(!day.ask(asked.clone()).await.allowed, "eight of ten are for all");
    day.engine.registry_changes().put("p", &limits("high"), &by, day.now).await.unwrap();
    assert!(day.ask(asked).await.allowed);
}

#[tokio::test]
async fn a_plan_that_is_lowered_to_what_its_keys_used_tells_so_of_each() {
    let of = |limit: u64| {
        let limit = json!({"unit": "tokens", "window": "day", "limit": limit, "alert_at": [100]});
        plan(json!({"limits": [limit]}))
    };
    let on_it = || json!({"plan": "t"});
    let by_project = key(json!({"project": "p"}));
    let mut day =
        day(&[("t", of(1000)), ("p", project(on_it())), ("a", key(on_it())), ("b", by_project)]).await;
    for key in ["a", "b"] {
        day.ask(json!({"key_id": key, "tokens_used": 60})).await;
    }
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, []);
    day.engine.registry_changes().put("t", &of(60), &Actor::local(), day.now).await.unwrap();
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1), (100, 1)]);
}

#[tokio::test]
async fn a_limit_of_nothing_tells_with_its_first_report_that_it_is_used_up() {
    let limits = json!({"limits": [{"unit": "tokens", "window": "24hour", "limit": 0}]});
    let mut day = day(&[("p", project(limits))]).await;
    assert!(!day.ask(json!({"project_id": "p", "tokens_used": 5})).await.allowed);
    day.ask(json!({"project_id": "p", "tokens_used": 5})).await;
    assert_eq!(marks_reported(&day, EventType::LimitUsed).await, [(100, 1)]);
}
