//! What a record settles though it is refused, and when limits begin anew.

use super::{
    limits::{day, key, project},
    *,
};
use crate::domain::{
    actor::Actor,
    calendar::parse_millis,
    decision::{Reserved, Settlement},
    registry::{Entry, Project},
    reservation::HoldTerms,
    window::Unit,
};

/// What happens between a check and its record.
enum Meanwhile {
    Banned(&'static str),
    Registered(serde_json::Value),
}

async fn happens(day: &Day, meanwhile: Meanwhile) {
    let by = Actor::local();
    match meanwhile {
        Meanwhile::Banned(subject) => {
            let subject = Subject::parse(subject).unwrap();
            day.engine.bans().ban(&subject, None, "meanwhile", &by, day.now).await.unwrap();
        }
        Meanwhile::Registered(body) => {
            day.engine.registry_changes().put("a", &key(body), &by, day.now).await.unwrap();
        }
    }
}

async fn held_by_two_limits() -> (Day, Reserved) {
    let limits = json!({"budget_usd": "10", "limits": [{"unit": "tokens", "window": "day", "limit": 1_000}]});
    let day = day(&[("p", project(limits)), ("a", key(json!({"project": "p"})))]).await;
    let estimate = day.record(json!({"model": "gpt-4.1", "tokens_used": 900}));
    let held = day.engine.reserve(&estimate, HoldTerms::default(), day.now).await;
    (day, held.reserved.unwrap())
}

/// What the project's limits count, and what of that is held.
async fn counted(day: &Day) -> Vec<(Unit, u64, Option<u64>)> {
    let limits = day.engine.limits().of(&Subject::project("p"), day.now).await.unwrap();
    limits.iter().map(|limit| (limit.status.unit, limit.status.used, limit.held)).collect()
}

#[tokio::test]
async fn a_reservation_is_settled_whatever_refuses_its_record_meanwhile() {
    for (meanwhile, reason) in [
        (Meanwhile::Banned("ip:203.0.113.7"), Reason::IpBanned),
        (Meanwhile::Banned("ip:203.0.113.0/24"), Reason::IpBanned),
        (Meanwhile::Banned("project:p"), Reason::ProjectBanned),
        (Meanwhile::Banned("key:a"), Reason::ApiKeyBanned),
        (
            Meanwhile::Registered(json!({"project": "p", "allowed_networks": ["198.51.100.0/24"]})),
            Reason::KeyNotAllowed,
        ),
        (Meanwhile::Registered(json!({"project": "p", "allowed_models": ["o3"]})), Reason::KeyNotAllowed),
        (Meanwhile::Registered(json!({"project": "p", "allowed_countries": ["DE"]})), Reason::KeyNotAllowed),
    ] {
        let (mut day, reservation) = held_by_two_limits().await;
        assert_eq!(counted(&day).await[0], (Unit::Tokens, 900, Some(900)), "{reason:?}");
        happens(&day, meanwhile).await;
        let record = json!({
            "source_ip": "203.0.113.7", "model": "gpt-4.1", "tokens_used": 250, "reservation_id": &*reservation.id,
        });
        let settled = day.ask(record.clone()).await;
        assert_eq!((settled.allowed, settled.reason), (false, Some(reason)));
        assert_eq!(settled.settlement, Some(Settlement::Settled), "{reason:?}");
        // 250 tokens at 8 dollars per million.
        let charged = [(Unit::Tokens, 250, Some(0)), (Unit::CostUsd, 2_000_000, Some(0))];
        assert_eq!(counted(&day).await, charged, "{reason:?}");
        assert_eq!(day.ask(record).await.settlement, Some(Settlement::Unknown), "{reason:?}");
    }
}

/// A limit of each calendar period, in Berlin.
async fn periods() -> Day {
    let limits: Vec<_> = ["day", "week", "month"]
        .map(|window| json!({"unit": "requests", "window": window, "limit": 9}))
        .into();
    let body = json!({"limits": limits, "timezone": "Europe/Berlin"});
    let body = serde_json::from_value::<Project>(body).unwrap().checked().unwrap();
    day(&[("p", Entry::Project(body))]).await
}

#[tokio::test]
async fn a_limit_begins_anew_when_its_period_ends_also_where_a_day_has_25_hours_or_23() {
    let hours = |hours: u64| hours * 3_600;
    for (now, resets) in [
        // The day of 25 hours, its week and its month: from their first moments on.
        ("2026-10-24T22:00:00Z", [hours(25), hours(25), hours(25 + 6 * 24)]),
        ("2026-10-18T22:00:00Z", [hours(24), hours(7 * 24 + 1), hours(13 * 24 + 1)]),
        ("2026-09-30T22:00:00Z", [hours(24), hours(4 * 24), hours(31 * 24 + 1)]),
        // Half past two, for the first time and for the second.
        ("2026-10-25T00:30:00Z", [hours(22) + 1_800, hours(22) + 1_800, hours(22 + 6 * 24) + 1_800]),
        ("2026-10-25T01:30:00Z", [hours(21) + 1_800, hours(21) + 1_800, hours(21 + 6 * 24) + 1_800]),
        // The day after.
        ("2026-10-25T23:00:00Z", [hours(24), hours(7 * 24), hours(6 * 24)]),
        // The day of 23 hours.
        ("2026-03-28T23:00:00Z", [hours(23), hours(23), hours(23 + 2 * 24)]),
    ] {
        let mut day = periods().await;
        day.now = parse_millis(now).unwrap();
        let answer = day.ask(json!({"project_id": "p"})).await;
        let seconds: Vec<u64> = answer.limits.iter().map(|limit| limit.reset_seconds).collect();
        assert_eq!(seconds, resets, "{now}");
        let held = day.engine.limits().of(&Subject::project("p"), day.now).await.unwrap();
        let seconds: Vec<u64> = held.iter().map(|limit| limit.status.reset_seconds).collect();
        assert_eq!(seconds, resets, "{now}");
    }
}

#[tokio::test]
async fn a_period_ends_when_it_ends_also_while_something_is_held() {
    let (day, _) = held_by_two_limits().await;
    let limits = day.engine.limits().of(&Subject::project("p"), day.now).await.unwrap();
    let tomorrow = (day.now / DAY + 1) * DAY;
    assert_eq!(limits[0].status.reset_seconds, ((tomorrow - day.now) / 1000) as u64);
    assert!(limits[1].status.reset_seconds >= limits[0].status.reset_seconds, "of a month");
}
