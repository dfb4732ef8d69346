//! Roll-ups of usage: what is added is there, once, exactly, and as long as was promised.

use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis,
        usage::{Bucket, Grouping, Totals, UsageBatch, UsageDelta, UsageKey, UsageQuery, UsageTable},
    },
    store::Store,
};

use crate::store::support::*;

const EVERYTHING: Grouping = Grouping { project: true, model: true, key: true };

fn series(project: &str, model: Option<&str>, key: &str) -> UsageKey {
    UsageKey { project: Some(project.into()), model: model.map(Into::into), key: Some(key.into()) }
}

fn used(requests: u64, cost_nanos: u64) -> Totals {
    Totals { requests, cost_nanos, tokens: 3 * requests, ..Totals::default() }
}

fn batch(instance: &str, seq: u64, now: Millis, deltas: &[(Millis, UsageKey, Totals)]) -> UsageBatch {
    let deltas = deltas.iter().map(|(at, key, totals)| UsageDelta {
        minute: Bucket::Minute.start(*at),
        key: key.clone(),
        totals: *totals,
    });
    UsageBatch { instance: instance.into(), seq, now, deltas: deltas.collect() }
}

fn query(bucket: Bucket, from: Millis, to: Millis, group: Grouping) -> UsageQuery {
    let (from, to, only) = (bucket.start(from), bucket.start(to - 1) + bucket.millis(), UsageKey::default());
    UsageQuery { bucket, from, to, now: START + HOUR, group, only, max_rows: 1_000, max_scanned: 1_000_000 }
}

async fn requests(store: &dyn Store, query: &UsageQuery) -> u64 {
    store.usage(query).await.unwrap().total.requests
}

pub(crate) async fn usage_adds_up_in_every_bucket(store: &dyn Store) {
    let (a, b) = (series("p", Some("m"), "a"), series("ü \"q\"", None, "b"));
    let other_minute = START + 2 * MINUTE;
    let other_day = START - 3 * DAY;
    let first = [(START, a.clone(), used(1, 5)), (other_minute, a.clone(), used(2, 7))];
    let second =
        [(START, a.clone(), used(4, 1)), (START, b.clone(), used(8, 2)), (other_day, b.clone(), used(16, 3))];
    store.add_usage(&batch("i", 1, START, &first)).await.unwrap();
    store.add_usage(&batch("i", 2, START, &second)).await.unwrap();
    let rows = async |bucket, group| {
        let table: UsageTable =
            store.usage(&query(bucket, other_day, other_minute + 1, group)).await.unwrap();
        assert!(!table.overflowed);
        table.rows.into_iter().map(|((start, key), t)| (start, key, t.requests, t.cost_nanos)).collect()
    };
    let at = |bucket: Bucket, at| bucket.start(at);
    let minutes: Vec<_> = rows(Bucket::Minute, EVERYTHING).await;
    assert_eq!(
        minutes,
        [
            (at(Bucket::Minute, START), a.clone(), 5, 6),
            (at(Bucket::Minute, START), b.clone(), 8, 2),
            (at(Bucket::Minute, other_minute), a.clone(), 2, 7),
        ],
        "what is older than minutes are kept is in none"
    );
    let hours: Vec<_> = rows(Bucket::Hour, EVERYTHING).await;
    assert_eq!(
        hours,
        [
            (at(Bucket::Hour, other_day), b.clone(), 16, 3),
            (at(Bucket::Hour, START), a.clone(), 7, 13),
            (at(Bucket::Hour, START), b.clone(), 8, 2),
        ]
    );
    let days: Vec<_> = rows(Bucket::Day, Grouping::default()).await;
    let nobody = UsageKey::default();
    assert_eq!(
        days,
        [
            (at(Bucket::Day, other_day), nobody.clone(), 16, 3),
            (at(Bucket::Day, START), nobody.clone(), 15, 15),
        ]
    );
    let by_project: Vec<_> = rows(Bucket::Day, Grouping { project: true, ..Grouping::default() }).await;
    let project = |of: &UsageKey| UsageKey { project: of.project.clone(), ..UsageKey::default() };
    assert_eq!(
        by_project,
        [
            (at(Bucket::Day, other_day), project(&b), 16, 3),
            (at(Bucket::Day, START), project(&a), 7, 13),
            (at(Bucket::Day, START), project(&b), 8, 2),
        ]
    );
}

pub(crate) async fn a_batch_that_is_sent_again_counts_once(store: &dyn Store) {
    let a = series("p", None, "a");
    let first = batch("i", 1, START, &[(START, a.clone(), used(1, 1)), (START - DAY, a.clone(), used(1, 1))]);
    let second = batch("i", 2, START, &[(START, a.clone(), used(10, 1))]);
    let day = query(Bucket::Day, START - DAY, START + 1, Grouping::default());
    for batch in [&first, &first, &second, &first, &second] {
        store.add_usage(batch).await.unwrap();
    }
    assert_eq!(requests(store, &day).await, 12);
    let elsewhere = UsageBatch { instance: "j".into(), ..first.clone() };
    store.add_usage(&elsewhere).await.unwrap();
    assert_eq!(requests(store, &day).await, 14, "another instance has numbers of its own");
}

pub(crate) async fn a_batch_of_nothing_is_taken(store: &dyn Store) {
    store.add_usage(&batch("i", 1, START, &[])).await.unwrap();
    let old = [(START - 4_000 * DAY, series("p", None, "a"), used(1, 1))];
    store.add_usage(&batch("i", 2, START, &old)).await.unwrap();
    let days = query(Bucket::Day, START - 5_000 * DAY, START, EVERYTHING);
    assert!(store.usage(&days).await.unwrap().rows.is_empty());
}

pub(crate) async fn usage_is_kept_as_long_as_was_promised(store: &dyn Store) {
    let a = series("p", None, "a");
    store.add_usage(&batch("i", 1, START, &[(START, a.clone(), used(1, 1))])).await.unwrap();
    for (bucket, days) in [(Bucket::Minute, 2), (Bucket::Hour, 35), (Bucket::Day, 400)] {
        let gone = bucket.start(START) + bucket.millis() + days * DAY;
        let asked = |now| UsageQuery { now, ..query(bucket, START, START + 1, EVERYTHING) };
        assert_eq!(requests(store, &asked(gone - 1)).await, 1, "{bucket:?}");
        let table = store.usage(&asked(gone)).await.unwrap();
        assert!(table.rows.is_empty() && table.kept_from > START, "{bucket:?}");
    }
    let later = START + 36 * DAY;
    store.add_usage(&batch("i", 2, later, &[(later, a.clone(), used(1, 1))])).await.unwrap();
    let days = UsageQuery { now: later, ..query(Bucket::Day, START, later + 1, EVERYTHING) };
    assert_eq!(requests(store, &days).await, 2, "days stay when minutes go");
}

pub(crate) async fn sums_are_exact_and_stop_at_the_largest_number(store: &dyn Store) {
    let a = series("p", None, "a");
    // What a double cannot hold, the carry between the halves, and the end.
    let costs = [(1 << 53) + 1, 1, u64::from(u32::MAX), 1 << 62, u64::MAX / 3];
    let mut sum = 0_u64;
    for (n, cost) in (1..).zip(costs) {
        store.add_usage(&batch("i", n, START, &[(START, a.clone(), used(1, cost))])).await.unwrap();
        sum += cost;
        let table = store.usage(&query(Bucket::Day, START, START + 1, Grouping::default())).await.unwrap();
        assert_eq!(table.total.cost_nanos, sum);
    }
    store.add_usage(&batch("i", 9, START, &[(START, a, used(1, u64::MAX))])).await.unwrap();
    let table = store.usage(&query(Bucket::Day, START, START + 1, EVERYTHING)).await.unwrap();
    assert_eq!((table.total.cost_nanos, table.total.requests), (u64::MAX, 6));
}

pub(crate) async fn usage_of_one_project_model_or_key_is_found(store: &dyn Store) {
    let all =
        [("p", Some("m"), "a", 1), ("p", None, "b", 2), ("q", Some("m"), "c", 4), ("q", Some("n"), "d", 8)];
    let deltas = all.map(|(project, model, key, n)| (START, series(project, model, key), used(n, 0)));
    store.add_usage(&batch("i", 1, START, &deltas)).await.unwrap();
    let name = |name: &str| (!name.is_empty()).then(|| name.into());
    for (project, model, key, expected) in [
        ("p", "", "", 3),
        ("", "m", "", 5),
        ("", "", "d", 8),
        ("q", "m", "", 4),
        ("p", "n", "", 0),
        ("", "", "", 15),
    ] {
        let only = UsageKey { project: name(project), model: name(model), key: name(key) };
        for group in [EVERYTHING, Grouping::default()] {
            let asked = UsageQuery { only: only.clone(), ..query(Bucket::Hour, START, START + 1, group) };
            assert_eq!(requests(store, &asked).await, expected, "{only:?}");
        }
    }
    let few = UsageQuery { max_rows: 3, ..query(Bucket::Hour, START, START + 1, EVERYTHING) };
    assert!(store.usage(&few).await.unwrap().overflowed);
}
