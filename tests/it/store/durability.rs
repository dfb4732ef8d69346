//! What the embedded store keeps through a crash and a restart.

use std::{fs, path::Path};

use keyward::{
    domain::{
        DAY, HOUR, MINUTE,
        observation::{Charge, ChargeMode, Claim, LedgerEntry},
        profile::Profile,
    },
    store::{
        ClaimStore, CounterStore, Document, DocumentKind, DocumentStore, EventLog, EventQuery, EventWriter,
        ProfileStore, ReservationStore, StandingLookup, StandingStore, StoreControl, StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

use super::{cases, support::*};
use crate::support::eventually;

fn open(directory: &Path) -> EmbeddedStore {
    // Snapshots only at the end, so that what is found after a crash was not saved by luck.
    let options = EmbeddedOptions { snapshot_seconds: 3_600, ..EmbeddedOptions::default() };
    EmbeddedStore::open(directory, options).unwrap()
}

/// The files as a process that is killed at this moment leaves them.
fn crashed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    respond(&store, change(&key("a"), START, permanent_ban(1, START))).await;
    respond(&store, change(&key("b"), START, ban(1, START, START + HOUR))).await;
    respond(&store, change(&key("c"), START, ban(1, START, START + HOUR))).await;
    respond(&store, change(&key("c"), START, cleared(2, START))).await;
    let policy = Document {
        kind: DocumentKind::Policy,
        name: "current".to_owned(),
        body: serde_json::json!({"a": 1}),
    };
    store.write_document(&policy, &note(START)).await.unwrap();
    store.register_pepper("k1", "abc").await.unwrap();
    let appended = store.append(&[note(START + 1)]).await.unwrap();
    let end = store.log_end().await.unwrap();

    let copy = crashed(directory.path());
    let again = open(copy.path());
    assert!(!observe(&again, charge(&key("a"), START + 30 * DAY, 1)).await.admitted);
    assert!(!observe(&again, charge(&key("b"), START + HOUR - 1, 1)).await.admitted);
    assert!(observe(&again, charge(&key("c"), START, 1)).await.admitted);
    assert_eq!(again.standing(&key("a")).await.unwrap(), store.standing(&key("a")).await.unwrap());
    assert_eq!(again.documents().await.unwrap(), store.documents().await.unwrap());
    assert_eq!(again.register_pepper("k1", "other").await.unwrap(), Some("abc".to_owned()));
    assert_eq!(again.event(&appended[0].id).await.unwrap().as_ref(), appended.first());
    assert_eq!(again.log_end().await.unwrap(), end);
    assert_eq!(again.expire_bans(START + HOUR).await.unwrap(), 1, "the end of a ban is still noted");
    respond(&again, change(&key("b"), START, ban(2, START, START + HOUR))).await;
}

#[tokio::test]
async fn windows_peers_and_profiles_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for step in 0..20 {
        let charge =
            Charge { peer: Some(peer(step % 3)), ..charge(&key("a"), START + step as i64 * MINUTE, 5) };
        observe(&store, charge).await;
    }
    observe(&store, charge(&key("gone"), START - 2 * DAY, 5)).await;
    let delta = Profile { requests: 7, last_seen: Some(START), ..Profile::default() };
    let learned = store.merge_profile(&key("a"), &delta).await.unwrap();
    let now = START + 20 * MINUTE;
    let before = store.inspect(&key("a"), now).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.append(&[note(START)]).await, Err(StoreError::Unavailable(_))));
    assert!(store.ping().await.is_err());

    let again = open(directory.path());
    assert_eq!(again.inspect(&key("a"), now).await.unwrap(), before);
    assert!(again.inspect(&key("gone"), now).await.unwrap().is_none());
    assert_eq!(again.profile(&key("a")).await.unwrap(), Some(learned));
    assert_eq!(again.merge_profile(&key("a"), &delta).await.unwrap().requests, 14);
    drop(again);
    assert_eq!(open(directory.path()).profile(&key("a")).await.unwrap().unwrap().requests, 14);
}

#[tokio::test]
async fn counters_and_reservations_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    cases::counters::half_used(&store).await;
    store.close().await.unwrap();
    drop(store);
    let store = open(directory.path());
    cases::counters::is_half_used(&store).await;
    drop(store);
    let store = open(directory.path());
    assert_eq!(
        store.ended_reservations(START + HOUR, 10).await.unwrap(),
        [],
        "what was ended is not there again"
    );
}

#[tokio::test]
async fn a_retry_is_recognised_after_a_restart_and_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let reported = |claim| {
        let entry = LedgerEntry { claim: Some(claim), ..LedgerEntry::default() };
        Charge { mode: ChargeMode::Report, entry: Some(Box::new(entry)), ..charge(&key("retried"), START, 7) }
    };
    assert_eq!(observe(&store, reported(1)).await.claim, Claim::Fresh);
    store.answer_claim(&key("retried"), 1, b"yes", START + 1).await.unwrap();
    eventually("the claim is on the disk, though snapshots are an hour apart", async || {
        let copy = crashed(directory.path());
        let found = open(copy.path()).claimed(&key("retried"), 1, START + 2).await.unwrap();
        found == Claim::Answered(b"yes".to_vec())
    })
    .await;
    for claim in 2..2_000 {
        observe(&store, reported(claim)).await;
    }
    store.close().await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(observe(&store, reported(1)).await.claim, Claim::Answered(b"yes".to_vec()));
    for claim in 2..2_000 {
        assert_eq!(observe(&store, reported(claim)).await.claim, Claim::InFlight, "{claim}");
    }
    let day = store.inspect(&key("retried"), START).await.unwrap().unwrap().counts[3];
    assert_eq!((day.requests, day.tokens), (1_999, 1_999 * 7), "each is charged once");
}

#[tokio::test]
async fn a_crash_forgets_no_more_of_a_budget_than_its_last_moments() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    cases::counters::half_used(&store).await;
    assert_eq!(cases::counters::used_of_half(&store).await, 40);
    eventually("the counter is on the disk, though snapshots are an hour apart", async || {
        let copy = crashed(directory.path());
        cases::counters::used_of_half(&open(copy.path())).await == 40
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_subject_stays_forgotten_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    observe(&store, charge(&key("a"), START, 5)).await;
    respond(&store, change(&key("a"), START, permanent_ban(1, START))).await;
    store.merge_profile(&key("a"), &Profile { requests: 7, ..Profile::default() }).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert!(store.profile(&key("a")).await.unwrap().is_some());
    store.forget(&key("a"), &note(START)).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert!(store.inspect(&key("a"), START).await.unwrap().is_none());
    assert!(store.profile(&key("a")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let error = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).err().unwrap();
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn concurrent_changes_of_one_standing_never_both_win() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let attempts = (0..20).map(|n| {
        let store = &store;
        async move {
            let change = change(&key("a"), START, ban(1, START, START + n));
            matches!(store.respond(&change).await.unwrap(), keyward::store::Responded::Done(_))
        }
    });
    let won = futures::future::join_all(attempts).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    let query = EventQuery { limit: 1, ..EventQuery::default() };
    assert!(store.events(&query).await.unwrap().items.is_empty());
}

#[test]
fn it_works_without_an_executor() {
    let directory = tempfile::tempdir().unwrap();
    for store in [open(directory.path()), EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap()] {
        futures::executor::block_on(async {
            respond(&store, change(&key("a"), START, ban(1, START, START + HOUR))).await;
            assert_eq!(store.standings_in_force(START).await.unwrap().len(), 1);
            assert_eq!(store.expire_bans(START + HOUR).await.unwrap(), 1);
            store.close().await.unwrap();
        });
    }
}
