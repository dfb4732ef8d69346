//! A thief is stopped for as long as it goes on, and the owner's traffic passes.

use super::*;
use crate::{
    domain::{
        enforcement::Enforcement,
        event::{Event, RateLimitExceeded},
        finding::Severity,
        profile::Profile,
    },
    store::LogPosition,
};

const OWNER: &str = "openai-python/1.51.0";

/// A key of an owner in Singapore, at work on ten days, and a thief's first request from elsewhere with another client.
async fn robbed() -> (Day, Decision) {
    let (day, found) = robbed_under(Enforcement::Enforce).await;
    assert!(!found.allowed, "{found:?}");
    (day, found)
}

/// The same while the policy enforces or observes.
async fn robbed_under(enforcement: Enforcement) -> (Day, Decision) {
    let mut day = Day::with(|policy| policy.enforcement = enforcement).await;
    let first = day.now - 10 * DAY;
    for request in 0..200 {
        day.now = first + request * (DAY / 20);
        let asked = day.ask(json!({"user_agent": OWNER})).await;
        assert!(asked.allowed, "{asked:?}");
    }
    day.now += 10 * MINUTE;
    let found = day.ask(thief("/v1/files")).await;
    (day, found)
}

fn thief(endpoint: &str) -> serde_json::Value {
    json!({"user_agent": "curl/8.7.1", "source_ip": BUCHAREST, "endpoint": endpoint})
}

#[tokio::test]
async fn a_thief_is_refused_after_its_ban_has_ended_and_the_owner_passes() {
    let (mut day, found) = robbed().await;
    let held = found.anomalies.iter().find_map(|finding| finding.evidence["held"].as_str()).unwrap();
    assert!(held.starts_with("client curl from AS"), "{held}");
    day.now += 2 * HOUR;
    for _ in 0..3 {
        day.now += 3 * HOUR;
        let owner = day.ask(json!({"user_agent": OWNER})).await;
        assert!(owner.allowed, "{owner:?}");
        let refused = day.ask(thief("/v1/chat/completions")).await;
        assert_eq!((refused.allowed, refused.reason), (false, Some(Reason::RateLimitExceeded)));
        let scopes = refused.limits.iter().filter_map(|limit| limit.scope.as_deref());
        assert_eq!(scopes.collect::<Vec<_>>(), [held]);
    }
    let events = day.events(EventType::RateLimitExceeded).await;
    let scope = events.iter().filter_map(Event::read::<RateLimitExceeded>).find_map(|details| details.scope);
    assert_eq!(scope.as_deref(), Some(held));
}

#[tokio::test]
async fn a_check_for_the_thief_is_refused_and_one_for_the_owner_is_not() {
    let (mut day, _) = robbed().await;
    day.now += 3 * HOUR;
    for (fields, allowed) in [(thief("/v1/chat/completions"), false), (json!({"user_agent": OWNER}), true)] {
        let record = day.record(fields);
        assert_eq!(day.engine.check(&record, false, day.now).await.allowed, allowed);
    }
}

#[tokio::test]
async fn what_stops_a_part_is_lifted_with_the_ban_or_long_after_it() {
    let (mut day, _) = robbed().await;
    day.now += DAY;
    let (key, by) = (Subject::key("a"), Actor::local());
    let lifted = day.engine.bans().lift(&key, "it was us", &by, day.now).await.unwrap();
    assert!(lifted.is_some(), "a part is stopped, though the ban has ended");
    day.now += 1;
    let again = day.engine.bans().lift(&key, "it was us", &by, day.now).await.unwrap();
    assert!(again.is_none(), "nothing is stopped any more");
    let thief = day.ask(thief("/v1/chat/completions")).await;
    assert_ne!(thief.reason, Some(Reason::RateLimitExceeded), "{thief:?}");
}

/// Another instance over the same store, which reads the log on from `position`.
async fn other(day: &Day) -> (Arc<Engine>, LogPosition) {
    let (store, geo) = (day.engine.shared.store.clone(), day.engine.geo.clone());
    let base = Base::clone(&day.engine.in_force.base());
    let engine = Engine::start(store, geo, base, day.engine.options.clone()).await.unwrap();
    let position = engine.upkeep.log.begin().unwrap();
    (engine, position)
}

/// Another instance stops a thief, until the log tells it of a lifting or of a verdict that the first one took.
async fn lifted_elsewhere(by_verdict: bool) {
    let (mut day, _) = robbed().await;
    day.engine.upkeep.profiles.flush(day.engine.store(), day.now).await.unwrap();
    let ban = day.events(EventType::TemporaryBan).await.remove(0);
    day.now += 2 * HOUR;
    let (second, mut position) = other(&day).await;
    let ask = async |fields| second.record(&[day.record(fields)], day.now).await.remove(0);
    assert!(ask(json!({"user_agent": OWNER})).await.allowed);
    let refused = ask(thief("/v1/chat/completions")).await;
    assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
    let known = || {
        let handle = second.upkeep.profiles.get(&Subject::key("a")).unwrap();
        handle.with(|profile| (profile.requests, profile.later.parts.stops_any(day.now)))
    };
    let (requests, stops) = known();
    assert!(stops);
    let (key, by) = (Subject::key("a"), Actor::local());
    if by_verdict {
        day.engine
            .feedback()
            .give(&ban.id, Verdict::Benign, "it was us", &by, day.now)
            .await
            .unwrap()
            .unwrap();
    } else {
        day.engine.bans().lift(&key, "it was us", &by, day.now).await.unwrap().unwrap();
    }
    second.upkeep.log.read(&mut position).await.unwrap();
    assert_eq!(known(), (requests, false), "what was learned here is not flushed, and stays");
    assert_ne!(ask(thief("/v1/chat/completions")).await.reason, Some(Reason::RateLimitExceeded));
}

#[tokio::test]
async fn what_one_instance_lifts_passes_on_another_which_forgets_nothing() {
    lifted_elsewhere(false).await;
}

#[tokio::test]
async fn what_is_called_benign_on_one_instance_passes_on_another() {
    lifted_elsewhere(true).await;
}

#[tokio::test]
async fn a_lifting_that_is_in_the_log_before_parts_are_cleared_is_looked_at_once_more() {
    let (mut day, _) = robbed().await;
    day.engine.upkeep.profiles.flush(day.engine.store(), day.now).await.unwrap();
    day.now += 2 * HOUR;
    let (second, mut position) = other(&day).await;
    second.record(&[day.record(json!({"user_agent": OWNER}))], day.now).await;
    let key = Subject::key("a");
    let handle = second.upkeep.profiles.get(&key).unwrap();
    let stops = || handle.with(|profile| profile.later.parts.stops_any(day.now));
    let event = events::operator(day.now, EventType::BanLifted, Severity::Low, Some(&key));
    second.store().append(&[event]).await.unwrap();
    second.upkeep.log.read(&mut position).await.unwrap();
    assert!(stops());
    let mut cleared = Profile::default();
    cleared.later.parts.clear(day.now);
    second.store().merge_profile(&key, &cleared).await.unwrap();
    for _ in 0..3 {
        second.shared.clock.follow(second.shared.now() + 4 * SECOND, Duration::ZERO);
    }
    second.upkeep.log.read(&mut position).await.unwrap();
    assert!(!stops());
}

#[tokio::test]
async fn a_benign_verdict_frees_the_part_that_it_is_about_and_no_other() {
    let (mut day, _) = robbed().await;
    let ban = day.events(EventType::TemporaryBan).await.remove(0);
    day.now += 2 * HOUR;
    let other =
        json!({"user_agent": "python-requests/2.32", "source_ip": BUCHAREST, "endpoint": "/v1/batches"});
    assert!(!day.ask(other.clone()).await.allowed);
    day.now += 3 * HOUR;
    let refused_as_part = |decision: Decision| decision.reason == Some(Reason::RateLimitExceeded);
    assert!(refused_as_part(day.ask(other.clone()).await));
    assert!(refused_as_part(day.ask(thief("/v1/files")).await));
    day.engine.feedback().give(&ban.id, Verdict::Benign, "ours", &Actor::local(), day.now).await.unwrap();
    day.now += 1;
    assert!(!refused_as_part(day.ask(thief("/v1/files")).await));
    assert!(refused_as_part(day.ask(other).await), "nobody has vouched for it");
}

#[tokio::test]
async fn a_policy_that_only_observes_stops_nothing_later() {
    for (enforcement, stops) in [(Enforcement::Enforce, true), (Enforcement::Observe, false)] {
        let (day, _) = robbed_under(enforcement).await;
        let view = day.engine.subjects().view(&Subject::key("a"), day.now).await.unwrap().unwrap();
        assert_eq!(view.profile.unwrap().later.parts.stops_any(day.now), stops, "{enforcement:?}");
    }
}

#[tokio::test]
async fn what_is_only_noted_is_nothing_to_lift() {
    let mut day = Day::with(|_| ()).await;
    let first = day.now - 10 * DAY;
    for request in 0..200 {
        day.now = first + request * (DAY / 20);
        day.ask(json!({"user_agent": OWNER})).await;
    }
    // Late enough to have travelled there.
    day.now += 12 * HOUR;
    let found = day.ask(json!({"user_agent": "curl/8.7.1", "source_ip": BUCHAREST})).await;
    assert!(found.anomalies.iter().any(|finding| finding.evidence.get("part").is_some()), "{found:?}");
    let worst = found.anomalies.iter().map(|finding| finding.severity).max();
    assert_eq!(worst, Some(Severity::High), "{found:?}");
    day.now += DAY;
    let lifted = day.engine.bans().lift(&Subject::key("a"), "x", &Actor::local(), day.now).await.unwrap();
    assert!(lifted.is_none(), "{lifted:?}");
    assert!(day.events(EventType::BanLifted).await.is_empty());
}
