//! Limits of projects, plans and everything at work, by injected time.

use super::*;
use crate::domain::{
    actor::Actor,
    registry::{Configured, Entry, KeyEntry, Plan, Project, Shares},
};

pub(super) fn project(body: serde_json::Value) -> Entry {
    Entry::Project(serde_json::from_value::<Project>(body).unwrap().checked().unwrap())
}

pub(super) fn plan(body: serde_json::Value) -> Entry {
    Entry::Plan(serde_json::from_value::<Plan>(body).unwrap().checked().unwrap())
}

pub(super) fn key(body: serde_json::Value) -> Entry {
    Entry::Key(serde_json::from_value::<KeyEntry>(body).unwrap().checked().unwrap())
}

pub(super) async fn day(entries: &[(&str, Entry)]) -> Day {
    let day = Day::with(|policy| policy.limits = Default::default()).await;
    for (name, entry) in entries {
        day.engine.registry_changes().put(name, entry, &Actor::local(), day.now).await.unwrap();
    }
    day
}

pub(super) fn ask(key: &str, cost: &str) -> serde_json::Value {
    json!({"key_id": key, "project_id": "p", "cost_usd": cost.parse::<f64>().unwrap()})
}

#[tokio::test]
async fn a_budget_is_shared_by_the_keys_of_a_project_to_the_nano_dollar_and_ends_with_the_month() {
    let budget = project(json!({"budget_usd": "10", "timezone": "Asia/Tokyo"}));
    let mut day = day(&[("p", budget)]).await;
    assert!(day.ask(ask("a", "6.5")).await.allowed);
    let left = day.ask(ask("b", "3.499999999")).await;
    assert!(left.allowed);
    let status = &left.limits[0];
    assert_eq!(status.scope.as_deref(), Some("project"));
    assert_eq!((status.limit, status.used), (10_000_000_000, 9_999_999_999));
    assert!(day.ask(ask("c", "0.000000001")).await.allowed);
    let refused = day.ask(ask("a", "0.000000001")).await;
    assert_eq!((refused.allowed, refused.reason), (false, Some(Reason::BudgetExceeded)));
    // Midnight of 1 April in Tokyo.
    let until = 1_774_969_200_000;
    assert_eq!(refused.retry_at, Some(until));
    day.now = until - 1;
    assert!(!day.ask(ask("a", "0.01")).await.allowed);
    day.now = until;
    assert!(day.ask(ask("a", "10")).await.allowed);
    let logged = day.events(EventType::RateLimitExceeded).await;
    assert_eq!(logged[0].evidence["limit"], "10");
}

#[tokio::test]
async fn the_tightest_refuses_and_all_or_none_is_charged() {
    let both = project(json!({"limits": [
        {"unit": "requests", "window": "10s", "limit": 3}, {"unit": "tokens", "window": "day", "limit": 100},
        {"unit": "requests", "window": "1min", "limit": 2, "model": "claude-*"},
    ]}));
    let mut day = day(&[("p", both)]).await;
    let asked = |tokens: u64, model: &str| {
        let (project_id, admit) = ("p", true);
        json!({"project_id": project_id, "tokens_used": tokens, "model": model, "admit": admit})
    };
    for _ in 0..2 {
        assert!(day.ask(asked(10, "claude-opus-4.7")).await.allowed);
    }
    let refused = day.ask(asked(10, "claude-opus-4.7")).await;
    assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
    let others = day.ask(asked(80, "gpt-4.1")).await;
    assert!(others.allowed, "what was refused was charged nowhere");
    assert_eq!(others.limits.iter().map(|limit| limit.used).collect::<Vec<_>>(), [3, 100]);
    // Refused by the day and by ten seconds: the answer has the longer of both, and then it is true.
    let refused = day.ask(asked(1, "gpt-4.1")).await;
    assert_eq!(refused.retry_after_seconds(), Some(15 * 3600), "nine o'clock");
    day.now += 15 * HOUR;
    assert!(day.ask(asked(1, "gpt-4.1")).await.allowed);
}

#[tokio::test]
async fn a_caller_that_waits_until_the_retry_time_is_admitted() {
    let mut day =
        day(&[("p", project(json!({"limits": [{"unit": "tokens", "window": "90s", "limit": 100}]})))]).await;
    let asked = |tokens: u64| json!({"project_id": "p", "tokens_used": tokens});
    let (mut refusals, mut tokens) = (0, 7);
    for _ in 0..200 {
        tokens = (tokens * 31 + 11) % 90;
        let answer = day.ask(asked(tokens)).await;
        if !answer.allowed {
            refusals += 1;
            day.now += answer.retry_after_seconds().unwrap() as Millis * SECOND;
            assert!(day.ask(asked(tokens)).await.allowed);
        }
        day.now += SECOND;
    }
    assert!(refusals > 20, "{refusals}");
}

#[tokio::test]
async fn a_plan_counts_per_key_and_low_priority_is_refused_first() {
    let shares = Shares { low: 800, medium: 900 };
    let mut day = Day::configured(Configured { shares, ..Configured::default() }).await;
    let free = Policy { limits: Default::default(), ..default_policy() };
    day.engine.policy_changes().set_policy(&free, &Actor::local(), day.now).await.unwrap();
    for (name, entry) in [
        ("small", plan(json!({"limits": [{"unit": "requests", "window": "hour", "limit": 2}]}))),
        (
            "p",
            project(json!({
                "plan": "small", "priority": "low",
                "limits": [{"unit": "requests", "window": "day", "limit": 10}],
            })),
        ),
        ("vip", key(json!({"project": "p"}))),
    ] {
        day.engine.registry_changes().put(name, &entry, &Actor::local(), day.now).await.unwrap();
    }
    let asked = |key: &str| json!({"key_id": key, "project_id": "p", "admit": true});
    for n in 0..4 {
        assert!(
            day.ask(asked(&format!("k{n}"))).await.allowed && day.ask(asked(&format!("k{n}"))).await.allowed
        );
        let over = day.ask(asked(&format!("k{n}"))).await;
        assert!(!over.allowed, "the third of the hour");
    }
    let shared = day.ask(asked("k9")).await;
    assert_eq!(
        (shared.allowed, shared.limits.last().unwrap().limit),
        (false, 8),
        "eight of ten are for low priority"
    );
}

#[tokio::test]
async fn reservations_hold_budgets_and_what_is_not_settled_is_free_when_the_lease_ends() {
    let mut day =
        day(&[("p", project(json!({"limits": [{"unit": "tokens", "window": "month", "limit": 1000}]})))])
            .await;
    let estimate = |day: &Day, tokens: u64| day.record(json!({"project_id": "p", "tokens_used": tokens}));
    let held = day.engine.check(&estimate(&day, 700), true, day.now).await;
    let id = held.reserved.unwrap().id;
    assert!(!day.ask(json!({"project_id": "p", "tokens_used": 301, "admit": true})).await.allowed);
    assert!(!day.engine.check(&estimate(&day, 301), true, day.now).await.allowed);
    let settled = json!({"project_id": "p", "tokens_used": 100, "reservation_id": &*id});
    let settled = day.ask(settled).await;
    assert_eq!((settled.allowed, settled.limits[0].used), (true, 100));
    assert!(day.engine.check(&estimate(&day, 900), true, day.now).await.allowed);
    let refused = day.ask(json!({"project_id": "p", "tokens_used": 1, "admit": true})).await;
    assert_eq!(refused.retry_after_seconds(), Some(60), "true if nobody settles");
    day.now += LEASE;
    let after = day.ask(json!({"project_id": "p", "tokens_used": 900})).await;
    assert_eq!((after.allowed, after.limits[0].used), (true, 1_000));
}

#[tokio::test]
async fn what_a_finding_refuses_is_charged_all_the_same_and_an_admission_is_not() {
    let mut day = Day::strict().await;
    day.engine
        .registry_changes()
        .put("p", &project(json!({"budget_usd": 5})), &Actor::local(), day.now)
        .await
        .unwrap();
    assert!(day.ask(ask("a", "1")).await.allowed);
    day.now += MINUTE;
    let mut stolen = ask("a", "2");
    stolen["source_ip"] = BUCHAREST.into();
    let refused = day.ask(stolen).await;
    assert_eq!((refused.allowed, refused.limits.last().unwrap().used), (false, 3_000_000_000));
    day.ask(ask("b", "0")).await;
    day.now += MINUTE;
    let mut asked = ask("b", "1");
    asked["source_ip"] = BUCHAREST.into();
    asked["admit"] = true.into();
    let refused = day.ask(asked).await;
    assert_eq!((refused.allowed, refused.limits.last().unwrap().used), (false, 3_000_000_000));
    let left = day.ask(ask("c", "2")).await;
    assert_eq!((left.allowed, left.limits.last().unwrap().used), (true, 5_000_000_000));
}

#[tokio::test]
async fn a_budget_tells_of_each_mark_once_a_month_on_two_instances() {
    let mut day = day(&[("p", project(json!({"budget_usd": "10"})))]).await;
    let base = crate::engine::Base::from(default_policy());
    let options = day.engine.options.clone();
    let second =
        Engine::start(day.engine.shared.store.clone(), day.engine.geo.clone(), base, options).await.unwrap();
    for month in 0..2 {
        day.now = NOW + month * 31 * DAY;
        for n in 0..101 {
            let record = day.record(ask(&format!("k{}", n % 7), "0.1"));
            let engine = if n % 2 == 0 { &day.engine } else { &second };
            engine.record(&[record], day.now).await;
        }
    }
    let mut logged = Vec::new();
    for engine in [&day.engine, &second] {
        let waiting = engine.shared.outbox.take(day.now + HOUR);
        logged.extend(waiting.into_iter().filter(|event| event.kind == EventType::BudgetUsed));
    }
    logged.sort_by_key(|event| (event.time, event.severity));
    let marks: Vec<_> =
        logged.iter().map(|event| (event.evidence["percent"].as_u64().unwrap(), event.count)).collect();
    assert_eq!(marks, [(50, 1), (80, 1), (100, 1), (50, 1), (80, 1), (100, 1)]);
    assert_eq!(logged[0].subject, Some(Subject::project("p")));
    assert_eq!(logged[0].evidence["summary"], "50 % of $10 per month are used: $5.");
}

#[tokio::test]
async fn a_budget_holds_for_keys_that_the_cap_on_new_ones_keeps_out() {
    let day = day(&[("p", project(json!({"budget_usd": "10"})))]).await;
    let policy = Policy { limits: Default::default(), ..default_policy() };
    let options = EngineOptions {
        new_subjects_per_minute: 1,
        new_subjects_per_minute_per_address: 1,
        ..day.engine.options.clone()
    };
    let engine = Engine::start(day.engine.shared.store.clone(), day.engine.geo.clone(), policy, options)
        .await
        .unwrap();
    let mut day = Day { engine, ..day };
    let mut admitted = 0;
    for n in 0..30 {
        let mut asked = ask(&format!("made-up-{n}"), "1");
        asked["admit"] = true.into();
        let answer = day.ask(asked).await;
        admitted += u32::from(answer.allowed);
        assert_eq!(answer.limits[0].used, u64::from(admitted) * 1_000_000_000);
    }
    assert_eq!(admitted, 10);
    let reserved = day.engine.check(&day.record(ask("made-up", "0")), true, day.now).await;
    assert_eq!(
        (reserved.allowed, reserved.reserved),
        (true, None),
        "there are no windows to hold anything in"
    );
}

#[tokio::test]
async fn a_limit_of_nothing_is_a_stop_for_a_project_a_key_and_one_model() {
    let stop = |fields: serde_json::Value| json!({"limits": [fields]});
    let day = day(&[
        ("closed", project(stop(json!({"unit": "requests", "window": "day", "limit": 0})))),
        (
            "no-opus",
            project(stop(json!({"unit": "requests", "window": "day", "limit": 0, "model": "claude-opus-*"}))),
        ),
        ("stopped", key(stop(json!({"unit": "requests", "window": "month", "limit": 0})))),
    ])
    .await;
    for (asked, allowed) in [
        (json!({"project_id": "closed"}), false),
        (json!({"key_id": "stopped"}), false),
        (json!({"project_id": "no-opus", "model": "claude-opus-4.7"}), false),
        (json!({"project_id": "no-opus", "model": "gpt-4.1"}), true),
    ] {
        let checked = day.engine.check(&day.record(asked.clone()), false, day.now).await;
        assert_eq!(checked.allowed, allowed, "{asked}");
        assert!(checked.retry_at.is_none(), "what never fits is promised no time");
    }
}

#[tokio::test]
async fn a_keys_own_limit_takes_the_place_of_the_same_one_of_its_plan_and_follows_its_projects_clock() {
    let daily = |limit: u64| json!({"limits": [{"unit": "requests", "window": "day", "limit": limit}]});
    let mut day = day(&[
        ("small", plan(daily(9))),
        ("p", project(json!({"timezone": "Asia/Tokyo"}))),
        ("own", key(json!({"plan": "small", "project": "p", "limits": daily(2)["limits"]}))),
        ("plain", key(json!({"plan": "small"}))),
    ])
    .await;
    for allowed in [true, true, false] {
        let answer = day.ask(json!({"key_id": "own"})).await;
        assert_eq!(answer.allowed, allowed);
        assert_eq!(answer.limits.iter().map(|limit| limit.limit).collect::<Vec<_>>(), [2]);
        // Nine in the morning in UTC: six hours to midnight in Tokyo.
        assert_eq!(answer.limits[0].reset_seconds, 6 * 3600);
    }
    assert_eq!(day.ask(json!({"key_id": "plain"})).await.limits[0].limit, 9);
}

#[tokio::test]
async fn a_budget_tells_that_it_is_used_up_when_the_rest_is_too_little() {
    let mut day = day(&[("p", project(json!({"budget_usd": "1"})))]).await;
    day.ask(ask("a", "0.96")).await;
    let asked = day.record(ask("a", "0.05"));
    for _ in 0..3 {
        let refused = day.engine.check(&asked, true, day.now).await;
        assert_eq!(refused.reason, Some(Reason::BudgetExceeded));
    }
    let logged = day.events(EventType::BudgetUsed).await;
    let logged: Vec<_> = logged.iter().map(|e| (e.evidence["percent"].as_u64(), e.count)).collect();
    assert!(logged.contains(&(Some(100), 1)) && logged.contains(&(Some(80), 1)), "{logged:?}");
}

#[tokio::test]
async fn a_late_report_counts_in_every_limit_whose_span_holds_its_time_and_settles_its_reservation() {
    let limits = json!({"limits": [
        {"unit": "tokens", "window": "3d", "limit": 10_000}, {"unit": "tokens", "window": "1min", "limit": 10_000},
    ]});
    let mut day = day(&[("p", project(limits))]).await;
    let estimate = day.record(json!({"project_id": "p", "tokens_used": 300}));
    let held = day.engine.check(&estimate, true, day.now).await.reserved.unwrap();
    let two_days_ago = crate::domain::event::format_millis(day.now - 2 * DAY);
    let late = json!({
        "project_id": "p", "tokens_used": 200, "timestamp": two_days_ago, "reservation_id": &*held.id,
    });
    let late = day.ask(late).await;
    assert_eq!((late.late, late.settlement), (true, Some(crate::domain::decision::Settlement::Settled)));
    let used: Vec<u64> =
        late.limits.iter().filter(|limit| limit.scope.is_some()).map(|limit| limit.used).collect();
    assert_eq!(used, [200, 0]);
}

#[tokio::test]
async fn a_report_that_does_not_say_what_was_used_keeps_the_estimate() {
    let day =
        day(&[("p", project(json!({"limits": [{"unit": "tokens", "window": "day", "limit": 1000}]})))]).await;
    let estimate = day.record(json!({"project_id": "p", "tokens_used": 300}));
    for (says, used) in [(None, 300), (Some(0), 300)] {
        let held = day.engine.check(&estimate, true, day.now).await.reserved.unwrap();
        let mut record =
            day.record(json!({"project_id": "p", "reservation_id": &*held.id, "response_status": 499}));
        (record.tokens, record.usage_known) = (says.unwrap_or(0), says.is_some());
        let answer = day.engine.record(&[record], day.now).await.remove(0);
        assert_eq!((answer.estimated, answer.limits.last().unwrap().used), (says.is_none(), used));
    }
}
