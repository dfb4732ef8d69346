//! A thief is held back for as long as it goes on, and the owner's traffic passes.

use super::*;
use crate::domain::event::{Event, RateLimitExceeded};

const OWNER: &str = "openai-python/1.51.0";

/// A key of an owner in Singapore, at work on ten days, and a thief's first request from elsewhere with another client.
async fn robbed() -> (Day, Decision) {
    let mut day = Day::with(|_| ()).await;
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
    assert!(!found.allowed, "{found:?}");
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
async fn what_holds_a_part_back_is_lifted_with_the_ban_or_long_after_it() {
    let (mut day, _) = robbed().await;
    day.now += DAY;
    let (key, by) = (Subject::key("a"), Actor::local());
    let lifted = day.engine.bans().lift(&key, "it was us", &by, day.now).await.unwrap();
    assert!(lifted.is_some(), "a part is held back, though the ban has ended");
    day.now += 1;
    let again = day.engine.bans().lift(&key, "it was us", &by, day.now).await.unwrap();
    assert!(again.is_none(), "nothing is held back any more");
    let thief = day.ask(thief("/v1/chat/completions")).await;
    assert_ne!(thief.reason, Some(Reason::RateLimitExceeded), "{thief:?}");
}

#[tokio::test]
async fn a_policy_that_only_observes_holds_nothing_back_later() {
    let mut day =
        Day::with(|policy| policy.enforcement = crate::domain::enforcement::Enforcement::Observe).await;
    day.now += DAY;
    day.ask(json!({"user_agent": OWNER})).await;
    day.now += MINUTE;
    day.ask(thief("/v1/files")).await;
    let view = day.engine.subjects().view(&Subject::key("a"), day.now).await.unwrap().unwrap();
    assert!(!view.profile.unwrap().later.parts.holds_any(day.now));
}
