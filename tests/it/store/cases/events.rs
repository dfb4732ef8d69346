//! The event log: ids, lists, filters, cursors, following.

use keyward::{
    domain::{
        event::{Event, EventType},
        finding::{AnomalyKind, Severity},
        place::PlaceSummary,
    },
    store::{EventQuery, LogPage, LogPosition, Store, StoreError},
};

use crate::store::support::*;

/// Appends one by one, so that every store agrees on their order.
async fn append_all(store: &dyn Store, events: Vec<Event>) -> Vec<Event> {
    let mut appended = Vec::new();
    for event in events {
        appended.extend(store.append(&[event]).await.unwrap());
    }
    appended
}

async fn list(store: &dyn Store, query: EventQuery) -> Vec<Event> {
    let (mut all, mut query) = (Vec::new(), query);
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

fn everything(limit: usize) -> EventQuery {
    EventQuery { limit, ..EventQuery::default() }
}

async fn follow(store: &dyn Store, position: &mut LogPosition, limit: usize) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let LogPage { events, next, gap } = store.read_log(position, limit).await.unwrap();
        assert!(!gap);
        *position = next;
        if events.is_empty() {
            return all;
        }
        all.extend(events);
    }
}

pub(crate) async fn an_event_is_kept_whole_and_found_by_its_id(store: &dyn Store) {
    let given = Event {
        key_id: Some("k1:a".to_owned()),
        source_ip: Some("2001:db8::1".to_owned()),
        place: Some(PlaceSummary {
            city: Some("Zürich".to_owned()),
            asn: Some(7),
            ..PlaceSummary::default()
        }),
        detector: Some("impossible_travel".to_owned()),
        action: Some("temporary_ban".to_owned()),
        policy_version: Some("7".to_owned()),
        count: 12,
        ..event(START, EventType::Anomaly(AnomalyKind::ALL[0]), Severity::Critical, Some(&key("a")))
    };
    let appended = store.append(&[given.clone(), note(START)]).await.unwrap();
    assert_eq!(appended.len(), 2);
    assert_ne!(appended[0].id, appended[1].id);
    assert_eq!(Event { id: String::new(), ..appended[0].clone() }, given);
    for event in &appended {
        assert_eq!(store.event(&event.id).await.unwrap().as_ref(), Some(event));
    }
    let again = store.append(&appended[..1]).await.unwrap();
    assert_ne!(again[0].id, appended[0].id, "an id is the store's to give");
    assert!(store.append(&[]).await.unwrap().is_empty());
}

pub(crate) async fn what_is_no_id_finds_nothing(store: &dyn Store) {
    let known = append_all(store, vec![note(START)]).await.remove(0).id;
    for id in ["", "nonsense", "e0-1-999999", "e999-1-1", &format!("{known}0"), &format!("{known} ")] {
        assert_eq!(store.event(id).await.unwrap(), None, "{id}");
    }
}

pub(crate) async fn newest_come_first_page_by_page(store: &dyn Store) {
    let mut expected = append_all(store, (0..25).map(|n| note(START + n)).collect()).await;
    expected.reverse();
    for limit in [1, 7, 25, 100] {
        assert_eq!(list(store, everything(limit)).await, expected, "{limit}");
    }
    let first = store.events(&everything(10)).await.unwrap();
    append_all(store, vec![note(START + 99)]).await;
    let next = EventQuery { cursor: first.next, ..everything(10) };
    assert_eq!(store.events(&next).await.unwrap().items, expected[10..20], "new events shift no page");
}

pub(crate) async fn filters_hold_together(store: &dyn Store) {
    let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let kinds = [EventType::Throttled, EventType::TemporaryBan, EventType::Anomaly(AnomalyKind::ALL[2])];
    let subjects = [key("a"), key("b")];
    let given = (0..48).map(|n| {
        let subject = subjects.get(n % 3);
        event(START + n as i64, kinds[n % kinds.len()], severities[n / 4 % 4], subject)
    });
    let all = append_all(store, given.collect()).await;
    let queries = [
        EventQuery { since: Some(START + 10), ..everything(5) },
        EventQuery { until: Some(START + 10), ..everything(5) },
        EventQuery { since: Some(START + 10), until: Some(START + 30), ..everything(5) },
        EventQuery { subject: Some(key("b")), ..everything(5) },
        EventQuery { subject: Some(key("nobody")), ..everything(5) },
        EventQuery { kind: Some(kinds[2]), ..everything(5) },
        EventQuery { severity: Some(Severity::High), ..everything(5) },
        EventQuery {
            severity: Some(Severity::Medium),
            kind: Some(kinds[0]),
            subject: Some(key("a")),
            since: Some(START + 3),
            until: Some(START + 40),
            ..everything(3)
        },
    ];
    for query in queries {
        let wanted = |e: &&Event| {
            query.since.is_none_or(|t| e.time >= t)
                && query.until.is_none_or(|t| e.time < t)
                && query.kind.is_none_or(|k| e.kind == k)
                && query.severity.is_none_or(|s| e.severity >= s)
                && query.subject.as_ref().is_none_or(|s| e.subject.as_ref() == Some(s))
        };
        // By time: stores may order events of different subjects within one millisecond as they like.
        let mut expected: Vec<_> = all.iter().filter(wanted).cloned().collect();
        let mut listed = list(store, query.clone()).await;
        expected.sort_by_key(|e| e.time);
        listed.sort_by_key(|e| e.time);
        assert_eq!(listed, expected, "{query:?}");
    }
}

pub(crate) async fn garbage_is_no_cursor(store: &dyn Store) {
    append_all(store, vec![note(START)]).await;
    for garbage in ["", "x", "!!!", "AAAA", "e0-1-1", &"A".repeat(90)] {
        let query = EventQuery { cursor: Some(garbage.to_owned()), ..everything(5) };
        let answer = store.events(&query).await;
        assert!(matches!(answer, Err(StoreError::BadCursor)), "{garbage}: {answer:?}");
    }
}

pub(crate) async fn the_log_is_followed_without_a_gap(store: &dyn Store) {
    append_all(store, (0..3).map(|n| note(START + n)).collect()).await;
    let mut position = store.log_end().await.unwrap();
    assert!(follow(store, &mut position, 10).await.is_empty());
    let mut seen = Vec::new();
    let mut appended = Vec::new();
    for round in 0..4 {
        let events = (0..7).map(|n| note(START + round * 10 + n)).collect();
        appended.extend(append_all(store, events).await);
        seen.extend(follow(store, &mut position, 3).await);
    }
    assert_eq!(seen, appended);
    assert_eq!(follow(store, &mut LogPosition::default(), 100).await.len(), 31);
}

pub(crate) async fn following_starts_after_a_known_event(store: &dyn Store) {
    let appended = append_all(store, (0..10).map(|n| note(START + n)).collect()).await;
    let mut position = store.position_after(&appended[3].id).await.unwrap();
    assert_eq!(follow(store, &mut position, 100).await, appended[4..]);
    let mut end = store.position_after(&appended[9].id).await.unwrap();
    assert!(follow(store, &mut end, 100).await.is_empty());
}

pub(crate) async fn an_id_of_another_log_is_refused(store: &dyn Store) {
    append_all(store, vec![note(START)]).await;
    for id in ["", "nonsense", "e999-1-1", "e0-1"] {
        let answer = store.position_after(id).await;
        assert!(matches!(answer, Err(StoreError::BadCursor)), "{id}: {answer:?}");
    }
}

pub(crate) async fn a_subjects_events_stay_in_order(store: &dyn Store) {
    let subjects: Vec<_> = (0..5).map(|n| key(&n.to_string())).collect();
    let given: Vec<_> = (0..40)
        .map(|n| event(START + n, EventType::Throttled, Severity::Low, subjects.get(n as usize % 6)))
        .collect();
    let appended = store.append(&given).await.unwrap();
    let seen = follow(store, &mut LogPosition::default(), 7).await;
    assert_eq!(seen.len(), 40);
    for subject in subjects.iter().map(Some).chain([None]) {
        let of = |events: &[Event]| -> Vec<_> {
            events.iter().filter(|e| e.subject.as_ref() == subject).cloned().collect()
        };
        assert_eq!(of(&seen), of(&appended), "{subject:?}");
    }
}
