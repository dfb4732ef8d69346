//! Profiles, documents, claims, peppers, the clock.

use std::sync::Arc;

use keyward::{
    domain::{
        MINUTE,
        event::{Event, EventType},
        finding::Severity,
        observation::{Charge, ChargeMode, LedgerEntry},
        profile::Profile,
        subject::Subject,
        usage::{Bucket, Grouping, Rows, Totals, UsageBatch, UsageDelta, UsageKey, UsageQuery},
    },
    store::{
        Claim, ClaimStore, CounterStore, Document, DocumentKind, DocumentStore, EventLog, EventQuery,
        ProfileStore, Revision, Store, StoreControl, UsageStore,
        redis::{RedisOptions, RedisStore},
    },
};

use crate::{T0, options, server::shared, store};

#[tokio::test]
async fn deltas_of_many_instances_all_arrive_in_the_profile() {
    let store = Arc::new(store().await);
    let subject = Subject::key("k");
    assert_eq!(store.profile(&subject).await.unwrap(), None);
    let flushes = (0..6).map(|i| {
        let (store, subject) = (store.clone(), subject.clone());
        let delta = Profile { requests: 1 << i, first_seen: Some(T0 + i), ..Profile::default() };
        tokio::spawn(async move { store.merge_profile(&subject, &delta).await.unwrap() })
    });
    futures::future::join_all(flushes).await.into_iter().for_each(|flushed| drop(flushed.unwrap()));
    let profile = store.profile(&subject).await.unwrap().unwrap();
    assert_eq!((profile.requests, profile.first_seen), (63, Some(T0)));
}

#[tokio::test]
async fn a_document_and_the_event_about_it_come_together() {
    let store = store().await;
    let event = Event::new(T0, EventType::PolicyChanged, Severity::Low, None);
    assert_eq!(store.documents().await.unwrap(), (Revision::default(), Vec::new()));
    let mut document = Document {
        kind: DocumentKind::Allowlist,
        name: "office/1".into(),
        body: serde_json::json!({ "a": 1 }),
    };
    assert!(!store.write_document(&document, &event).await.unwrap());
    let (first, documents) = store.documents().await.unwrap();
    assert_eq!(documents, std::slice::from_ref(&document));
    document.body = serde_json::Value::Null;
    assert!(store.write_document(&document, &event).await.unwrap());
    let (second, documents) = store.documents().await.unwrap();
    assert!(documents.is_empty() && second != first);
    assert_eq!(store.documents_revision().await.unwrap(), second);
    let query = EventQuery { limit: 10, ..EventQuery::default() };
    assert_eq!(store.events(&query).await.unwrap().items.len(), 2);
}

/// Writes a key through the store.
async fn write(store: &impl Store, name: &str, label: &str) {
    let body = serde_json::json!({ "label": label });
    let document = Document { kind: DocumentKind::Key, name: name.into(), body };
    store
        .write_document(&document, &Event::new(T0, EventType::PolicyChanged, Severity::Low, None))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_version_without_a_list_of_changes_writes_is_not_missed() {
    let options = options();
    let documents = format!("{}:1:{{0}}:documents", options.namespace);
    let store = RedisStore::connect(&shared().url(), options).await.unwrap();
    let as_before = |name: &str| {
        shared().cli(&["HSET", &documents, &format!("key/{name}"), "{}"]);
        shared().cli(&["HINCRBY", &documents, "#", "1"]);
    };
    as_before("a");
    let (first, all) = store.documents().await.unwrap();
    assert_eq!((first, all.len()), (Revision { number: 1, mark: 0 }, 1));
    write(&store, "b", "1").await;
    let changed = store.documents_since(first).await.unwrap().expect("what follows is noted");
    assert_eq!((changed.documents.len(), changed.revision.number), (1, 2));
    as_before("c");
    for known in [first, changed.revision] {
        assert_eq!(store.documents_since(known).await.unwrap(), None, "a change was not noted");
    }
    let (third, all) = store.documents().await.unwrap();
    assert_eq!((third, all.len()), (Revision { number: 3, mark: 0 }, 3));
    write(&store, "d", "1").await;
    for known in [first, changed.revision] {
        assert_eq!(store.documents_since(known).await.unwrap(), None, "a change was not noted");
    }
    assert_eq!(store.documents_since(third).await.unwrap().unwrap().documents.len(), 1);
}

#[tokio::test]
async fn a_store_that_lost_changes_and_counted_on_is_told_from_the_one_that_was_known() {
    let options = options();
    let keys = ["documents", "document_changes"].map(|key| format!("{}:1:{{0}}:{key}", options.namespace));
    let store = RedisStore::connect(&shared().url(), options).await.unwrap();
    write(&store, "a", "1").await;
    let old = store.documents_revision().await.unwrap();
    for key in &keys {
        assert_eq!(shared().cli(&["COPY", key, &format!("{key}:old")]), "1");
    }
    write(&store, "b", "lost").await;
    let lost = store.documents_revision().await.unwrap();
    for key in &keys {
        assert_eq!(shared().cli(&["COPY", &format!("{key}:old"), key, "REPLACE"]), "1");
    }
    assert_eq!(store.documents_since(lost).await.unwrap(), None, "it is ahead");
    write(&store, "c", "1").await;
    let now = store.documents_revision().await.unwrap();
    assert_eq!((now.number, now == lost), (lost.number, false));
    assert_eq!(store.documents_since(lost).await.unwrap(), None, "that never was");
    assert_eq!(store.documents_since(old).await.unwrap().unwrap().documents.len(), 1);
    shared().cli(&["DEL", &keys[0]]);
    write(&store, "d", "1").await;
    assert_eq!(store.documents_revision().await.unwrap().number, 1);
    assert_eq!(store.documents_since(now).await.unwrap(), None);
    let none = Revision::default();
    assert_eq!(store.documents_since(none).await.unwrap().unwrap().documents.len(), 1);
}

#[tokio::test]
async fn work_is_claimed_once_for_two_minutes() {
    let store = store().await;
    assert_eq!(store.claim("r", T0).await.unwrap(), Claim::Fresh);
    assert_eq!(store.claim("r", T0 + 1).await.unwrap(), Claim::InFlight);
    assert_eq!(store.claim("r", T0 + 2 * MINUTE - 1).await.unwrap(), Claim::InFlight);
    assert_eq!(store.claim("r", T0 + 2 * MINUTE).await.unwrap(), Claim::Fresh);
}

#[tokio::test]
async fn another_pepper_under_the_same_name_is_noticed() {
    let store = store().await;
    assert_eq!(store.register_pepper("k1", "aa").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "aa").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "bb").await.unwrap().as_deref(), Some("aa"));
    assert_eq!(store.register_pepper("k2", "bb").await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_of_the_server_is_shared() {
    let store = store().await;
    assert!(store.clock().await.unwrap().unwrap() > T0);
    store.ping().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_roll_up_of_many_series_is_read_whole_while_it_grows() {
    let store = Arc::new(store().await);
    let batch = |instance: &str, seq: u64, keys: std::ops::Range<u64>| UsageBatch {
        instance: instance.into(),
        seq,
        now: T0,
        deltas: keys
            .map(|n| UsageDelta {
                minute: Bucket::Minute.start(T0),
                key: UsageKey { key: Some(format!("k{n}").into()), ..UsageKey::default() },
                measured: Totals { requests: 1, cost_nanos: n, ..Totals::default() }.into(),
            })
            .collect(),
    };
    const OLD: u64 = 4_000;
    for part in 0..8 {
        store.add_usage(&batch("old", part + 1, part * OLD / 8..(part + 1) * OLD / 8)).await.unwrap();
    }
    let grows = {
        let (store, batches): (_, Vec<_>) = (
            store.clone(),
            (0..40).map(|part| batch("new", part + 1, OLD + part * 250..OLD + (part + 1) * 250)).collect(),
        );
        tokio::spawn(async move {
            for batch in batches {
                store.add_usage(&batch).await.unwrap();
            }
        })
    };
    let group = Grouping { key: true, ..Grouping::default() };
    let span = (Bucket::Day.start(T0), T0 + MINUTE);
    let query = UsageQuery { group, ..UsageQuery::new(Rows::Each(Bucket::Day), span, T0) };
    for last in [false, false, true] {
        if last {
            while !grows.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        let table = store.usage(&query).await.unwrap();
        assert!(table.rows.len() >= OLD as usize);
        assert!(table.rows.values().all(|totals| totals.requests == 1), "each once");
        assert!(!last || table.rows.len() == 14_000);
    }
}

#[tokio::test]
async fn a_request_is_claimed_for_as_long_as_its_retries_are_recognised() {
    let store = RedisStore::connect(&shared().url(), RedisOptions { retry_span: 5 * MINUTE, ..options() })
        .await
        .unwrap();
    let claimed = async |now| {
        let entry = LedgerEntry { claim: Some(7), ..LedgerEntry::default() };
        let charge = Charge {
            mode: ChargeMode::Report,
            may_create: true,
            entry: Some(Box::new(entry)),
            ..Charge::look(Subject::key("claims"), now)
        };
        store.observe(&[charge]).await.unwrap().remove(0).claim
    };
    assert_eq!(claimed(T0).await, Claim::Fresh);
    assert_eq!(claimed(T0 + 5 * MINUTE - 1).await, Claim::InFlight);
    assert_eq!(claimed(T0 + 5 * MINUTE).await, Claim::Fresh);
}
