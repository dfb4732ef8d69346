//! The event log: lists, pages, following, and what is let go.

use std::time::Duration;

use keyward::{
    domain::{
        DAY,
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    store::{
        EventLog, EventQuery, EventWriter, LogPage, LogPosition, StandingStore, StoreControl, StoreError,
        redis::{RedisOptions, RedisStore},
    },
};

use crate::{T0, event, options, server, store};

async fn fill(store: &RedisStore, count: i64) -> Vec<Event> {
    let events: Vec<Event> = (0..count)
        .map(|i| {
            let kind = if i % 3 == 0 { EventType::Throttled } else { EventType::RateLimitExceeded };
            let severity = if i % 5 == 0 { Severity::High } else { Severity::Low };
            Event { severity, ..event(&format!("k{}", i % 7), T0 + i, kind) }
        })
        .collect();
    store.append(&events).await.unwrap()
}

async fn all_pages(store: &RedisStore, query: EventQuery) -> Vec<Event> {
    let (mut query, mut all) = (query, Vec::new());
    loop {
        let page = store.events(&query).await.unwrap();
        assert!(page.items.len() <= query.limit);
        all.extend(page.items);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_add_up_to_the_whole_list() {
    let store = store().await;
    let mut appended = fill(&store, 150).await;
    // A subject-less event is the service's own.
    let own = Event::new(T0, EventType::StoreRecovered, Severity::Low, None);
    appended.extend(store.append(&[own]).await.unwrap());
    let whole = all_pages(&store, EventQuery { limit: 1_000, ..EventQuery::default() }).await;
    assert_eq!(whole.len(), 151);
    for limit in [1, 7, 50, 151] {
        assert_eq!(all_pages(&store, EventQuery { limit, ..EventQuery::default() }).await, whole);
    }
    let mut sorted = (appended, whole);
    sorted.0.sort_by(|a, b| a.id.cmp(&b.id));
    sorted.1.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(sorted.0, sorted.1);
}

#[tokio::test]
async fn filters_look_at_the_events_themselves() {
    let store = store().await;
    let mut newest_first = fill(&store, 100).await;
    newest_first.reverse();
    let check = async |query: EventQuery, wanted: &dyn Fn(&Event) -> bool| {
        let mut got = all_pages(&store, EventQuery { limit: 13, ..query }).await;
        let mut expected: Vec<_> = newest_first.iter().filter(|e| wanted(e)).cloned().collect();
        got.sort_by_key(|e| e.time);
        expected.sort_by_key(|e| e.time);
        assert_eq!(got, expected);
    };
    let none = EventQuery::default;
    check(EventQuery { since: Some(T0 + 20), until: Some(T0 + 30), ..none() }, &|e| {
        (T0 + 20..T0 + 30).contains(&e.time)
    })
    .await;
    check(EventQuery { subject: Some(Subject::key("k3")), ..none() }, &|e| {
        e.subject == Some(Subject::key("k3"))
    })
    .await;
    check(EventQuery { kind: Some(EventType::Throttled), ..none() }, &|e| e.kind == EventType::Throttled)
        .await;
    check(EventQuery { severity: Some(Severity::Medium), ..none() }, &|e| e.severity == Severity::High).await;
}

#[tokio::test]
async fn the_log_is_followed_without_gaps_and_in_order_per_subject() {
    let store = store().await;
    let start = store.log_end().await.unwrap();
    let appended = fill(&store, 120).await;
    for limit in [1, 10, 1_000] {
        let (mut position, mut read) = (start.clone(), Vec::new());
        loop {
            let LogPage { events, next, .. } = store.read_log(&position, limit).await.unwrap();
            assert!(events.len() <= limit);
            if events.is_empty() {
                assert_eq!(next, position);
                break;
            }
            (position, read) = (next, [read, events].concat());
        }
        assert_eq!(position, store.log_end().await.unwrap());
        assert_eq!(read.len(), appended.len());
        for key in 0..7 {
            let of = |events: &[Event]| -> Vec<Event> {
                let subject = Some(Subject::key(&format!("k{key}")));
                events.iter().filter(|e| e.subject == subject).cloned().collect()
            };
            assert_eq!(of(&read), of(&appended));
        }
    }
    let events = store.read_log(&LogPosition::default(), 1_000).await.unwrap().events;
    assert_eq!(events.len(), appended.len());
}

#[tokio::test]
async fn a_position_behind_an_event_skips_none_that_came_later() {
    let store = store().await;
    let appended = fill(&store, 40).await;
    let position = store.position_after(&appended[19].id).await.unwrap();
    let events = store.read_log(&position, 1_000).await.unwrap().events;
    assert!(appended[20..].iter().all(|e| events.contains(e)));
    assert!(!events.contains(&appended[19]));
}

#[tokio::test]
async fn what_was_never_given_out_is_refused() {
    let store = store().await;
    for cursor in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAA", "!!!"] {
        let query = EventQuery { cursor: Some(cursor.into()), limit: 1, ..EventQuery::default() };
        assert!(matches!(store.events(&query).await, Err(StoreError::BadCursor)), "{cursor}");
        assert!(matches!(store.position_after(cursor).await, Err(StoreError::BadCursor)), "{cursor}");
        assert_eq!(store.event(cursor).await.unwrap(), None);
    }
    assert!(matches!(store.position_after("e99-1-1").await, Err(StoreError::BadCursor)));
    assert_eq!(store.event("e0-1-1").await.unwrap(), None);
}

#[tokio::test]
async fn events_past_their_number_or_age_are_let_go() {
    let own = RedisOptions { max_events_per_partition: 100, partitions: 1, ..options() };
    let few = RedisStore::connect(&server::shared().url(), own).await.unwrap();
    fill(&few, 1_000).await;
    let kept = all_pages(&few, EventQuery { limit: 500, ..EventQuery::default() }).await.len();
    assert!((100..=300).contains(&kept), "{kept}");
    let own = RedisOptions { event_retention: Duration::from_secs(60), partitions: 1, ..options() };
    let short = RedisStore::connect(&server::shared().url(), own).await.unwrap();
    fill(&short, 1_000).await;
    let now = short.clock().await.unwrap().unwrap();
    short.expire_bans(now).await.unwrap();
    assert_eq!(all_pages(&short, EventQuery { limit: 500, ..EventQuery::default() }).await.len(), 1_000);
    short.expire_bans(now + DAY).await.unwrap();
    assert_eq!(all_pages(&short, EventQuery { limit: 500, ..EventQuery::default() }).await.len(), 0);
}
