//! What a report counts, whatever is decided about it.

use super::*;
use crate::domain::{
    actor::Actor,
    enforcement::Enforcement,
    usage::{Bucket, Rows, UsageQuery},
};

#[tokio::test]
async fn a_check_from_a_banned_address_is_refused_also_for_a_key_that_is_not_at_hand() {
    let mut day = Day::with(|_| ()).await;
    for n in 0..11 {
        day.ask(json!({"key_id": format!("guess-{n}"), "response_status": 401})).await;
    }
    for reserve in [false, true] {
        let asked = day.record(json!({"key_id": "nobody-knows-it"}));
        let checked = day.engine.check(&asked, reserve, day.now).await;
        assert_eq!((checked.allowed, checked.reason), (false, Some(Reason::IpBanned)), "reserve: {reserve}");
        assert_eq!(checked.reserved, None);
    }
    let admission = day.ask(json!({"key_id": "nobody-knows-it", "admit": true})).await;
    assert_eq!(admission.reason, Some(Reason::IpBanned));
    assert_eq!(day.used("nobody-knows-it").await, 0);
}

#[tokio::test]
async fn a_banned_keys_reports_are_counted_behind_the_answer_and_a_retry_once() {
    let mut day = Day::with(|_| ()).await;
    day.ask(json!({})).await;
    let (key, by) = (Subject::key("a"), Actor::local());
    day.engine.bans().ban(&key, None, "x", &by, day.now).await.unwrap();
    for id in ["r-1", "r-1", "r-2"] {
        assert_eq!(day.ask(json!({"request_id": id})).await.reason, Some(Reason::ApiKeyBanned));
    }
    assert_eq!(day.used("a").await, 10, "nobody waited for the store");
    day.engine.decider.deferred.charge(day.now).await.unwrap();
    assert_eq!(day.used("a").await, 30);
}

#[tokio::test]
async fn a_flood_of_reports_of_a_banned_key_is_added_up_before_it_goes_to_the_store() {
    let mut day = Day::with(|_| ()).await;
    day.ask(json!({})).await;
    let (key, by) = (Subject::key("a"), Actor::local());
    day.engine.bans().ban(&key, None, "x", &by, day.now).await.unwrap();
    for _ in 0..5_000 {
        day.ask(json!({})).await;
    }
    assert_eq!(day.used("a").await, 10, "nobody waited for the store");
    let owed = day.engine.decider.fallback.take_usage(day.now);
    assert_eq!(owed.len(), 1, "one charge for all of them");
    assert_eq!((owed[0].counts.requests, owed[0].counts.tokens), (5_000, 50_000));
}

#[tokio::test]
async fn what_is_only_observed_is_counted_as_a_request_that_went_through() {
    let mut day = Day::with(|policy| policy.enforcement = Enforcement::Observe).await;
    day.ask(json!({})).await;
    let (key, by) = (Subject::key("a"), Actor::local());
    day.engine.bans().ban(&key, None, "x", &by, day.now).await.unwrap();
    for fields in [json!({}), json!({"request_id": "r-1"})] {
        let answer = day.ask(fields).await;
        assert!(answer.allowed && !answer.ruling().allowed);
    }
    let span = (Bucket::Day.start(day.now), day.now + DAY);
    let query = UsageQuery::new(Rows::Each(Bucket::Day), span, day.now);
    let rows = day.engine.usage().table(&query).await.unwrap().rows;
    let totals: Vec<_> = rows.values().map(|totals| (totals.requests, totals.refused)).collect();
    assert_eq!(totals, [(3, 0)]);
}

#[tokio::test]
async fn a_report_is_counted_where_it_does_not_fit_and_then_nothing_is_admitted() {
    let mut day = Day::with(|policy| {
        policy.limits.tokens.insert("1min".to_owned(), 25);
    })
    .await;
    let fits = day.ask(json!({"tokens_used": 25})).await;
    assert!(fits.allowed, "a report that just fits is allowed");
    let over = day.ask(json!({"tokens_used": 20})).await;
    assert_eq!((over.allowed, over.reason), (false, Some(Reason::RateLimitExceeded)));
    assert_eq!((over.limits[0].used, day.used("a").await), (45, 45));
    day.now += over.retry_after_seconds().unwrap() as Millis * 1000;
    assert!(day.ask(json!({"tokens_used": 20, "admit": true})).await.allowed, "the promised time is true");
}

#[tokio::test]
async fn a_key_that_may_be_known_elsewhere_is_counted_in_its_windows_and_a_made_up_one_in_none() {
    let mut day = limits::day(&[("a", limits::key(json!({"allowed_models": ["o3"]})))]).await;
    let by = Actor::local();
    for subject in ["key:b", "ip:203.0.113.9"] {
        let subject = Subject::parse(subject).unwrap();
        day.engine.bans().ban(&subject, None, "leaked", &by, day.now).await.unwrap();
    }
    for (key, source) in [("a", SINGAPORE), ("b", SINGAPORE), ("made-up", "203.0.113.9")] {
        let asked = json!({"key_id": key, "source_ip": source, "model": "gpt-4.1"});
        assert!(!day.ask(asked).await.allowed, "{key}");
    }
    let owed = day.engine.decider.fallback.take_usage(day.now);
    let mut owed: Vec<_> = owed.iter().map(|charge| (charge.subject.id(), charge.may_create)).collect();
    owed.sort_unstable();
    assert_eq!(owed, [("a", true), ("b", false)], "whether b has windows says the store");
}
