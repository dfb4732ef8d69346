//! What counts as usage, and under which name.

use super::*;
use crate::domain::{
    actor::Actor,
    observation::{Charge, ChargeMode, LedgerEntry},
    usage::{Bucket, Grouping, OTHER, Rows, Totals, UsageKey, UsageQuery},
};

impl Day {
    async fn usage_by(&self, bucket: Bucket, group: Grouping) -> Vec<(Millis, UsageKey, Totals)> {
        let span = (bucket.start(self.now - 30 * DAY), self.now + DAY);
        let query = UsageQuery { group, ..UsageQuery::new(Rows::Each(bucket), span, self.now) };
        let table = self.engine.usage().table(&query).await.unwrap();
        table.rows.into_iter().map(|((start, key), totals)| (start, key, totals)).collect()
    }

    async fn requests(&self) -> u64 {
        let rows = self.usage_by(Bucket::Day, Grouping::default()).await;
        rows.iter().map(|(_, _, totals)| totals.requests).sum()
    }
}

#[tokio::test]
async fn every_valid_record_counts_once_whatever_was_decided() {
    let mut day = Day::with(|_| ()).await;
    day.ask(json!({"request_id": "r-1"})).await;
    day.ask(json!({"request_id": "r-1"})).await;
    assert_eq!(day.requests().await, 1, "a retry");
    day.ask(json!({"request_id": "r-1", "tokens_used": 11})).await;
    assert_eq!(day.requests().await, 2, "the same id with another body");
    for _ in 0..2 {
        let refused = day.ask(json!({"request_id": "r-2", "tokens_used": 1_200_000})).await;
        assert!(!refused.allowed);
    }
    assert_eq!(day.requests().await, 3, "a refused record, and its retry");
    let (subject, now) = (Subject::key("a"), day.now);
    day.engine.bans().ban(&subject, None, "leaked", &Actor::local(), now).await.unwrap();
    for _ in 0..2 {
        day.ask(json!({"request_id": "r-3"})).await;
    }
    assert_eq!(day.requests().await, 4, "a banned one");
    day.now += 3 * MINUTE;
    day.ask(json!({"request_id": "r-3"})).await;
    assert_eq!(day.requests().await, 5, "after two minutes it is a request of its own");
    let record = day.record(json!({"key_id": "b"}));
    day.engine.check(&record, false, day.now).await;
    assert_eq!(day.requests().await, 5, "a check is no usage");
    let twice = day.record(json!({"key_id": "b", "request_id": "r-4"}));
    day.engine.record(&[twice.clone(), twice], day.now).await;
    assert_eq!(day.requests().await, 6, "twice in a batch");
}

#[tokio::test]
async fn a_late_record_is_in_the_bucket_of_its_own_time_and_others_in_that_of_now() {
    let mut day = Day::with(|_| ()).await;
    let late = day.ask(json!({"timestamp": "2026-02-20T10:30:00Z"})).await;
    assert!(late.late);
    day.ask(json!({"timestamp": "2026-03-02T08:59:30Z"})).await;
    let rows = day.usage_by(Bucket::Hour, Grouping::default()).await;
    let starts: Vec<Millis> = rows.iter().map(|(start, _, _)| *start).collect();
    assert_eq!(starts, [NOW - 10 * DAY + HOUR, NOW]);
}

#[tokio::test]
async fn a_model_is_one_row_by_whatever_name_it_was_called_and_an_unpriced_one_keeps_its_name() {
    let mut day = Day::with(|_| ()).await;
    for model in
        ["gpt-4.1", "openai/gpt-4.1", "azure/gpt-4.1-2025-04-14", "openai/gpt-99", "claude-sonnet-4-5"]
    {
        day.ask(json!({"model": model})).await;
    }
    let rows = day.usage_by(Bucket::Day, Grouping { model: true, ..Grouping::default() }).await;
    let rows: Vec<_> =
        rows.iter().map(|(_, key, sums)| (key.model.as_deref().unwrap(), sums.requests)).collect();
    assert_eq!(rows, [("claude-sonnet-4.5", 1), ("gpt-4.1", 3), ("openai/gpt-99", 1)]);
}

#[tokio::test]
async fn beyond_the_cap_names_are_summed_with_others_and_nothing_is_lost() {
    let mut day = Day::set_up(|options| options.usage_series = 8).await;
    for n in 0..40 {
        day.ask(json!({"key_id": format!("k{n}"), "project_id": format!("p{}", n % 5), "model": "m"})).await;
    }
    let group = Grouping { project: true, model: true, key: true, ..Grouping::default() };
    let rows = day.usage_by(Bucket::Day, group).await;
    assert_eq!(rows.iter().map(|(_, _, totals)| totals.requests).sum::<u64>(), 40);
    assert!(rows.len() <= 13, "{} series", rows.len());
    let others = rows.iter().filter(|(_, key, _)| key.key.as_deref() == Some(OTHER));
    assert_eq!(others.map(|(_, _, totals)| totals.requests).sum::<u64>(), 32);
    assert_eq!(day.requests().await, 40);
}

#[tokio::test]
async fn users_are_apart_where_the_setting_says_so_and_never_crowd_out_keys() {
    for by_user in [false, true] {
        let mut day =
            Day::set_up(|options| (options.usage_series, options.usage_by_user) = (8, by_user)).await;
        for n in 0..40 {
            let fields = json!({"key_id": format!("k{}", n % 4), "user": format!("u{n}"), "cost_usd": "0.1"});
            day.ask(fields).await;
        }
        let by = |user: bool, key: bool| Grouping { user, key, ..Grouping::default() };
        let keys = day.usage_by(Bucket::Day, by(false, true)).await;
        assert_eq!(keys.iter().map(|(_, _, totals)| totals.requests).collect::<Vec<_>>(), [10; 4]);
        let users = day.usage_by(Bucket::Day, by(true, false)).await;
        let named = users.iter().filter(|(_, key, _)| key.user.as_deref().is_some_and(|user| user != OTHER));
        assert_eq!(named.count(), if by_user { 8 } else { 0 });
        let cost: u64 = users.iter().map(|(_, _, totals)| totals.cost_nanos).sum();
        assert_eq!(cost, 4_000_000_000, "sums stay whole");
    }
}

#[tokio::test]
async fn endpoints_beyond_the_cap_are_summed_with_others() {
    let mut day = Day::set_up(|options| (options.usage_series, options.usage_by_user) = (8, true)).await;
    for n in 0..40 {
        let endpoint = format!("/v1/{}", char::from(b'a' + n % 26));
        day.ask(json!({"endpoint": endpoint, "user": format!("u{n}")})).await;
    }
    let group = Grouping { endpoint: true, user: true, ..Grouping::default() };
    let rows = day.usage_by(Bucket::Day, group).await;
    assert!(rows.len() <= 11, "{} series", rows.len());
    assert_eq!(rows.iter().map(|(_, _, totals)| totals.requests).sum::<u64>(), 40);
    let others = rows.iter().filter(|(_, key, _)| key.endpoint.as_deref() == Some(OTHER));
    assert!(others.count() == 1);
}

#[tokio::test]
async fn a_replay_counts_no_usage() {
    let mut day = Day::set_up(|options| options.usage_series = 0).await;
    day.ask(json!({})).await;
    assert_eq!(day.requests().await, 0);
}

#[tokio::test]
async fn a_request_that_another_instance_has_claimed_is_counted_there() {
    let mut day = Day::set_up(|options| options.shares_store = true).await;
    let claimed = day.record(json!({"request_id": "r-1"}));
    let entry = Some(Box::new(LedgerEntry { claim: Some(claimed.digest), ..LedgerEntry::default() }));
    let charge = Charge { entry, mode: ChargeMode::Report, ..Charge::look(Subject::key("a"), day.now) };
    day.engine.store().observe(&[Charge { may_create: true, ..charge }]).await.unwrap();
    day.ask(json!({"request_id": "r-1"})).await;
    assert_eq!(day.requests().await, 0);
    day.ask(json!({"request_id": "r-2"})).await;
    day.ask(json!({"request_id": "r-2"})).await;
    assert_eq!(day.requests().await, 1);
}

#[tokio::test]
async fn what_was_refused_before_it_was_made_has_used_nothing() {
    let mut day = Day::with(|_| ()).await;
    let refused =
        day.ask(json!({"admit": true, "tokens_used": 1_200_000, "cost_usd": "9", "latency_ms": 5})).await;
    assert!(!refused.allowed);
    day.ask(json!({"refused_by": "keyward", "tokens_used": 600, "cost_usd": "0.5", "response_status": 429}))
        .await;
    let rows = day.usage_by(Bucket::Day, Grouping::default()).await;
    let used: Vec<Totals> = rows.into_iter().map(|(_, _, totals)| totals).collect();
    assert_eq!(used, [Totals { refused: 2, ..Totals::default() }]);
    assert!(day.ask(json!({"admit": true, "tokens_used": 7})).await.allowed);
    assert_eq!(day.requests().await, 1);
}

#[tokio::test]
async fn a_request_that_was_observed_is_one_also_when_the_provider_refused_its_credentials() {
    for status in [401, 403, 404, 500] {
        let mut day = Day::with(|_| ()).await;
        let mut observed = day.record(json!({"request_id": "r-1"}));
        (observed.observes, observed.admit) = (true, true);
        day.engine.record(&[observed], day.now).await;
        day.ask(json!({"request_id": "r-1", "response_status": status, "tokens_used": null})).await;
        assert_eq!(day.requests().await, 1, "{status}");
    }
}
