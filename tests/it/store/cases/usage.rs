//! Roll-ups of usage: what is added is there, once, exactly, and as long as was promised.

use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis,
        calendar::{Calendar, Zone},
        usage::{
            Bucket, Grouping, Latencies, Measured, Rows, Totals, UsageBatch, UsageDelta, UsageKey,
            UsageQuery, UsageTable,
        },
    },
    store::Store,
};

use crate::store::support::*;

const EVERYTHING: Grouping = Grouping { project: true, model: true, key: true, endpoint: false, user: false };

fn series(project: &str, model: Option<&str>, key: &str) -> UsageKey {
    let model = model.map(Into::into);
    UsageKey { project: Some(project.into()), model, key: Some(key.into()), ..UsageKey::default() }
}

fn used(requests: u64, cost_nanos: u64) -> Totals {
    Totals { requests, cost_nanos, tokens: 3 * requests, ..Totals::default() }
}

fn batch(instance: &str, seq: u64, now: Millis, deltas: &[(Millis, UsageKey, Totals)]) -> UsageBatch {
    let deltas = deltas.iter().map(|(at, key, totals)| UsageDelta {
        minute: Bucket::Minute.start(*at),
        key: key.clone(),
        measured: (*totals).into(),
    });
    UsageBatch { instance: instance.into(), seq, now, deltas: deltas.collect() }
}

fn query(bucket: Bucket, from: Millis, to: Millis, group: Grouping) -> UsageQuery {
    let span = (bucket.start(from), bucket.start(to - 1) + bucket.millis());
    UsageQuery { group, ..UsageQuery::new(Rows::Each(bucket), span, START + HOUR) }
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
        let only =
            UsageKey { project: name(project), model: name(model), key: name(key), ..UsageKey::default() };
        for group in [EVERYTHING, Grouping::default()] {
            let asked = UsageQuery { only: only.clone(), ..query(Bucket::Hour, START, START + 1, group) };
            assert_eq!(requests(store, &asked).await, expected, "{only:?}");
        }
    }
    let few = UsageQuery { max_rows: 3, ..query(Bucket::Hour, START, START + 1, EVERYTHING) };
    assert!(store.usage(&few).await.unwrap().overflowed);
}

/// What a series used in a minute, with how long each of its requests took.
fn took(at: Millis, key: UsageKey, latencies_ms: &[f64]) -> UsageDelta {
    let mut latencies = Latencies::default();
    latencies_ms.iter().for_each(|ms| latencies.merge(&Latencies::of(Some(*ms))));
    let measured = Measured { totals: used(latencies_ms.len() as u64, 1), latencies };
    UsageDelta { minute: Bucket::Minute.start(at), key, measured }
}

pub(crate) async fn latencies_merge_exactly_and_a_batch_that_is_sent_again_adds_none(store: &dyn Store) {
    let (a, b) = (series("p", Some("m"), "a"), series("p", None, "b"));
    // Before, between and after what is held, and the same again.
    let parts: [&[f64]; 4] = [&[100.0, 3_000.0], &[0.5, 100.0, 800.0], &[1e12, 0.0], &[100.0, 101.0, 9e5]];
    for (seq, part) in (1..).zip(parts) {
        let deltas = vec![took(START, a.clone(), part), took(START, b.clone(), &part[..1])];
        let batch = UsageBatch { instance: "i".into(), seq, now: START, deltas };
        store.add_usage(&batch).await.unwrap();
        store.add_usage(&batch).await.unwrap();
    }
    store.add_usage(&batch("j", 1, START, &[(START, series("q", None, "c"), used(1, 1))])).await.unwrap();
    let all = took(START, a.clone(), &parts.concat()).measured.latencies;
    let firsts: Vec<f64> = parts.iter().map(|part| part[0]).collect();
    let of_b = took(START, b.clone(), &firsts).measured.latencies;
    let both = Latencies::unpack(&{
        let mut both = all.clone();
        both.merge(&of_b);
        both.pack()
    });
    for bucket in Bucket::ALL {
        let asked = UsageQuery { latencies: true, ..query(bucket, START, START + 1, EVERYTHING) };
        let table = store.usage(&asked).await.unwrap();
        let row = |key: &UsageKey| table.latencies.get(&(bucket.start(START), key.clone()));
        assert_eq!((row(&a), row(&b)), (Some(&all), Some(&of_b)), "{bucket:?}");
        assert_eq!((table.latencies.len(), table.rows.len()), (2, 3), "who reported none has none");
        assert_eq!(Some(table.all_latencies), both);
        let by_project = UsageQuery { group: Grouping { project: true, ..Grouping::default() }, ..asked };
        let table = store.usage(&by_project).await.unwrap();
        assert_eq!(table.latencies.values().next(), both.as_ref());
        assert_eq!(table.latencies.len(), 1);
    }
    let unasked = store.usage(&query(Bucket::Day, START, START + 1, EVERYTHING)).await.unwrap();
    assert!(unasked.latencies.is_empty() && unasked.all_latencies.is_empty());
}

pub(crate) async fn usage_by_endpoint_and_user_sums_to_the_same(store: &dyn Store) {
    let of = |key: &str, endpoint: &str, user: Option<&str>| UsageKey {
        endpoint: Some(endpoint.into()),
        user: user.map(Into::into),
        ..series("p", Some("m"), key)
    };
    let deltas = [
        (START, of("a", "/v1/chat", Some("u")), used(1, 5)),
        (START, of("a", "/v1/chat", None), used(2, 7)),
        (START, of("a", "/v1/files/{id}", Some("u")), used(4, 11)),
        (START, of("b", "/v1/chat", Some("v")), used(8, 13)),
    ];
    store.add_usage(&batch("i", 1, START, &deltas)).await.unwrap();
    let rows = async |group: Grouping, only: UsageKey| {
        let asked = UsageQuery { only, ..query(Bucket::Hour, START, START + 1, group) };
        let table = store.usage(&asked).await.unwrap();
        let requests: Vec<u64> = table.rows.values().map(|totals| totals.requests).collect();
        (requests, table.total.cost_nanos)
    };
    let all = UsageKey::default();
    let endpoint = Grouping { endpoint: true, ..Grouping::default() };
    let user = Grouping { user: true, ..Grouping::default() };
    assert_eq!(rows(endpoint, all.clone()).await, (vec![11, 4], 36));
    assert_eq!(rows(user, all.clone()).await, (vec![2, 5, 8], 36), "who named no user is a row of its own");
    assert_eq!(rows(Grouping { key: true, ..Grouping::default() }, all.clone()).await, (vec![7, 8], 36));
    assert_eq!(rows(Grouping::default(), all.clone()).await, (vec![15], 36));
    let of_user = UsageKey { user: Some("u".into()), ..UsageKey::default() };
    assert_eq!(rows(endpoint, of_user).await, (vec![1, 4], 16));
}

pub(crate) async fn days_and_months_of_a_zone_are_made_of_what_was_used_in_them(store: &dyn Store) {
    let zone = Zone::named("Asia/Kathmandu").unwrap();
    let day = Calendar::Day.period(START - DAY, &zone);
    let a = series("p", None, "a");
    let moments = [day.0 - 1, day.0, day.0 + 12 * HOUR, day.1 - 1, day.1];
    let deltas: Vec<_> =
        moments.iter().zip([1, 2, 4, 8, 16]).map(|(at, n)| (*at, a.clone(), used(n, n))).collect();
    store.add_usage(&batch("i", 1, START, &deltas)).await.unwrap();
    let rows = async |period: Calendar, span: (Millis, Millis)| {
        let asked = UsageQuery::new(Rows::Calendar(period, zone), span, START + HOUR);
        let table = store.usage(&asked).await.unwrap();
        table.rows.into_iter().map(|((start, _), totals)| (start, totals.requests)).collect::<Vec<_>>()
    };
    let before = Calendar::Day.period(day.0 - 1, &zone).0;
    let days = rows(Calendar::Day, (before, day.1 + 1)).await;
    assert_eq!(days, [(before, 1), (day.0, 14), (day.1, 16)]);
    let month = Calendar::Month.period(day.0, &zone);
    let months = rows(Calendar::Month, (month.0, month.1)).await;
    let within: u64 = moments
        .iter()
        .zip([1, 2, 4, 8, 16])
        .filter(|(at, _)| (month.0..month.1).contains(*at))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(months, [(month.0, within)]);
    let whole = UsageQuery::new(Rows::Whole, (day.0, day.1), START + HOUR);
    assert_eq!(requests(store, &whole).await, 14);
}
