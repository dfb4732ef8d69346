//! Profiles, documents, claims, peppers, and being there at all.

use std::collections::BTreeMap;

use keyward::{
    domain::{
        MINUTE,
        event::EventType,
        place::PlaceCore,
        profile::{Profile, Sample},
        record::Outcome,
    },
    store::{Claim, Document, DocumentKind, EventQuery, Revision, SeenSubject, Store},
};
use serde_json::{Value, json};

use crate::store::support::*;

fn learned(requests: i64, octet: u8) -> Profile {
    let mut profile = Profile::default();
    for n in 0..requests {
        profile.learn(&Sample {
            now: START + n * MINUTE,
            place: Some(&PlaceCore::unknown([203, 0, octet, 1].into())),
            came_from: None,
            client: Some("openai-python"),
            endpoint: "/v1/chat/completions",
            model: None,
            tokens: 100,
            fresh_tokens: 100,
            cost_nanos: 5,
            outcome: Outcome::Success,
            peaks: (1, 1),
        });
    }
    profile
}

pub(crate) async fn profile_deltas_add_up(store: &dyn Store) {
    let subject = key("a");
    assert_eq!(store.profile(&subject).await.unwrap(), None);
    let (first, second) = (learned(3, 1), learned(4, 2));
    assert_eq!(store.merge_profile(&subject, &first).await.unwrap(), first);
    let mut both = first.clone();
    both.merge(&second);
    assert_eq!(store.merge_profile(&subject, &second).await.unwrap(), both);
    assert_eq!(store.profile(&subject).await.unwrap(), Some(both));
    assert_eq!(store.profile(&key("b")).await.unwrap(), None);
    assert!(store.inspect(&subject, START).await.unwrap().is_none(), "a profile is not a standing");
}

fn seen_at(time: i64) -> Profile {
    Profile { requests: 1, last_seen: Some(time), ..Profile::default() }
}

pub(crate) async fn subjects_are_listed_by_when_they_were_last_seen(store: &dyn Store) {
    assert_eq!(store.subjects_seen(None, 10).await.unwrap(), []);
    for n in 0..40 {
        store.merge_profile(&key(&format!("k{n:02}")), &seen_at(START + n * MINUTE)).await.unwrap();
    }
    for name in ["a", "b", "c", "d", "e"] {
        store.merge_profile(&key(name), &seen_at(START + 40 * MINUTE)).await.unwrap();
    }
    let names = |seen: &[SeenSubject]| -> Vec<String> {
        seen.iter().map(|one| one.subject.id().trim_start_matches("k1:").to_owned()).collect()
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.subjects_seen(after.as_ref(), 2).await.unwrap();
        all.extend(names(&page));
        match page.last() {
            Some(last) if page.len() == 2 => after = Some(last.clone()),
            _ => break,
        }
    }
    let mut expected: Vec<String> = ["e", "d", "c", "b", "a"].map(str::to_owned).into();
    expected.extend((0..40).rev().map(|n| format!("k{n:02}")));
    assert_eq!(all, expected, "each once, also those of one millisecond");
    store.merge_profile(&key("k00"), &seen_at(START + 41 * MINUTE)).await.unwrap();
    store.forget(&key("e"), &note(START)).await.unwrap();
    let first = store.subjects_seen(None, 2).await.unwrap();
    assert_eq!(names(&first), ["k00", "d"], "who is seen again comes first, and who is forgotten is gone");
    assert_eq!(first[0].last_seen, START + 41 * MINUTE);
}

fn document(kind: DocumentKind, name: &str, body: Value) -> Document {
    Document { kind, name: name.to_owned(), body }
}

async fn changes_told(store: &dyn Store) -> usize {
    let query = EventQuery { kind: Some(EventType::PolicyChanged), limit: 100, ..EventQuery::default() };
    store.events(&query).await.unwrap().items.len()
}

/// Of two who change the same from the same revision one writes, and the other is told.
pub(crate) async fn a_document_is_written_at_a_revision_only_while_it_is_the_last(store: &dyn Store) {
    let plan = |n: u64| document(DocumentKind::Plan, "free", json!({ "n": n }));
    let begun = store.documents_revision().await.unwrap();
    assert!(store.write_document_at(&plan(1), &note(START), begun).await.unwrap());
    let told = changes_told(store).await;
    assert!(!store.write_document_at(&plan(2), &note(START + 1), begun).await.unwrap());
    assert_eq!(changes_told(store).await, told, "no event tells of what was not written");
    let (next, documents) = store.documents().await.unwrap();
    assert_eq!(documents, [plan(1)]);
    let other = document(DocumentKind::Key, "k", json!({}));
    store.write_document(&other, &note(START + 2)).await.unwrap();
    assert!(
        !store.write_document_at(&plan(3), &note(START + 3), next).await.unwrap(),
        "whatever has changed"
    );
    let last = store.documents_revision().await.unwrap();
    assert!(store.write_document_at(&plan(4), &note(START + 4), last).await.unwrap());
}

pub(crate) async fn documents_have_a_revision_that_moves(store: &dyn Store) {
    assert!(store.documents().await.unwrap().1.is_empty());
    let policy = document(DocumentKind::Policy, "current", json!({"preset": "strict", "x": [1.5, null]}));
    let entry = document(DocumentKind::Allowlist, "203.0.113.0/24", json!({"note": "büro"}));
    let mut revisions = vec![store.documents_revision().await.unwrap()];
    assert!(!store.write_document(&policy, &note(START)).await.unwrap());
    revisions.push(store.documents_revision().await.unwrap());
    assert!(!store.write_document(&entry, &note(START + 1)).await.unwrap());
    revisions.push(store.documents_revision().await.unwrap());
    let (revision, mut documents) = store.documents().await.unwrap();
    documents.sort_by_key(|d| d.kind);
    assert_eq!((revision, documents), (revisions[2], vec![policy.clone(), entry.clone()]));
    let changed = Document { body: json!({"preset": "balanced"}), ..policy };
    assert!(store.write_document(&changed, &note(START + 2)).await.unwrap());
    revisions.push(store.documents_revision().await.unwrap());
    let gone = Document { body: Value::Null, ..entry };
    assert!(store.write_document(&gone, &note(START)).await.unwrap());
    revisions.push(store.documents_revision().await.unwrap());
    assert_eq!(store.documents().await.unwrap(), (revisions[4], vec![changed]));
    assert!(revisions.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
    assert_eq!(changes_told(store).await, 4);
}

pub(crate) async fn deleting_what_is_not_there_writes_nothing(store: &dyn Store) {
    let absent = document(DocumentKind::Key, "none", Value::Null);
    assert!(!store.write_document(&absent, &note(START)).await.unwrap());
    assert_eq!(
        (store.documents_revision().await.unwrap(), changes_told(store).await),
        (Revision::default(), 0)
    );
    let there = document(DocumentKind::Key, "none", json!({"label": "there"}));
    assert!(!store.write_document(&there, &note(START)).await.unwrap());
    let deletions = futures::future::join_all((0..8).map(|_| {
        let absent = &absent;
        async move { store.write_document(absent, &note(START)).await.unwrap() }
    }));
    let deleted = deletions.await.into_iter().filter(|was_there| *was_there).count();
    assert_eq!((deleted, changes_told(store).await), (1, 2), "one of them found it, and one is told");
    assert_eq!(store.documents_revision().await.unwrap().number, 2);
}

/// What `known` has to be told to hold what all have that are read.
async fn follow(store: &dyn Store, known: &mut (Revision, BTreeMap<(DocumentKind, String), Value>)) -> usize {
    let changed = store.documents_since(known.0).await.unwrap().expect("it can tell");
    known.0 = changed.revision;
    let number = changed.documents.len();
    for Document { kind, name, body } in changed.documents {
        match body {
            Value::Null => drop(known.1.remove(&(kind, name))),
            body => drop(known.1.insert((kind, name), body)),
        }
    }
    number
}

pub(crate) async fn what_changed_since_a_revision_is_told_and_nothing_else(store: &dyn Store) {
    let key = |n: usize, body| document(DocumentKind::Key, &format!("k{n}"), body);
    let mut early = (store.documents_revision().await.unwrap(), BTreeMap::new());
    let mut known = early.clone();
    assert_eq!(follow(store, &mut known).await, 0);
    for n in 0..40 {
        store.write_document(&key(n, json!({"label": n})), &note(START)).await.unwrap();
    }
    assert_eq!(follow(store, &mut known).await, 40);
    assert_eq!(follow(store, &mut known).await, 0);
    for body in [json!({"label": "x"}), Value::Null, json!({"label": "ü"})] {
        store.write_document(&key(7, body), &note(START + 1)).await.unwrap();
    }
    store.write_document(&key(9, Value::Null), &note(START + 2)).await.unwrap();
    store.write_document(&document(DocumentKind::Plan, "k9", json!({})), &note(START + 3)).await.unwrap();
    assert_eq!(follow(store, &mut known).await, 3, "each once, as it is now");
    assert_eq!(follow(store, &mut early).await, 41);
    let (revision, documents) = store.documents().await.unwrap();
    let all = documents.into_iter().map(|d| ((d.kind, d.name), d.body)).collect();
    assert_eq!(known, (revision, all));
    assert_eq!(early, known);
}

pub(crate) async fn changes_that_are_long_past_or_never_were_are_not_told(store: &dyn Store) {
    let write = async |n: usize| {
        let key = document(DocumentKind::Key, &format!("k{}", n % 3), json!({"label": n}));
        store.write_document(&key, &note(START + n as i64)).await.unwrap();
    };
    write(0).await;
    let first = store.documents_revision().await.unwrap();
    for from in (1..6_000).step_by(250) {
        futures::future::join_all((from..6_000.min(from + 250)).map(&write)).await;
    }
    assert_eq!(store.documents_since(first).await.unwrap(), None, "it was 5,999 changes ago");
    let now = store.documents_revision().await.unwrap();
    for never in [
        Revision { number: now.number + 1, ..now },
        Revision { mark: now.mark ^ 1, ..now },
        Revision { mark: now.mark ^ 1, number: now.number - 1 },
    ] {
        assert_eq!(store.documents_since(never).await.unwrap(), None, "{never:?}");
    }
    write(0).await;
    let changed = store.documents_since(now).await.unwrap().expect("it was one change ago");
    assert_eq!((changed.documents.len(), changed.revision.number), (1, now.number + 1));
}

pub(crate) async fn work_is_claimed_once(store: &dyn Store) {
    assert_eq!(store.claim("r-1", START).await.unwrap(), Claim::Fresh);
    assert_eq!(store.claim("r-1", START + 1).await.unwrap(), Claim::InFlight);
    assert_eq!(store.claim("r-2", START).await.unwrap(), Claim::Fresh);
    store.answer_claim(&key("a"), 1, b"x", START).await.unwrap();
    assert_eq!(store.claimed(&key("a"), 1, START).await.unwrap(), Claim::Fresh, "nobody had claimed it");
}

pub(crate) async fn a_claim_ends_after_two_minutes(store: &dyn Store) {
    store.claim("r-1", START).await.unwrap();
    let late = START + 2 * MINUTE;
    assert_eq!(store.claim("r-1", late - 1).await.unwrap(), Claim::InFlight);
    assert_eq!(store.claim("r-1", late).await.unwrap(), Claim::Fresh);
    assert_eq!(store.claim("r-1", late + 1).await.unwrap(), Claim::InFlight);
}

pub(crate) async fn a_pepper_is_recognised(store: &dyn Store) {
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "other").await.unwrap(), Some("abc".to_owned()));
    assert_eq!(store.register_pepper("k2", "other").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
}

pub(crate) async fn it_answers_and_closes(store: &dyn Store) {
    store.ping().await.unwrap();
    store.clock().await.unwrap();
    observe(store, charge(&key("a"), START, 1)).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
}
