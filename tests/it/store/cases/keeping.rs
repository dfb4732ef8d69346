//! Profiles, documents, claims, peppers, and being there at all.

use keyward::{
    domain::{
        MINUTE, SECOND,
        event::EventType,
        place::PlaceCore,
        profile::{Profile, Sample},
        record::Outcome,
    },
    store::{Claim, Document, DocumentKind, EventQuery, Store},
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
            cost_nanos: 5,
            outcome: Outcome::Success,
            peaks: (1, 1),
        });
    }
    profile
}

pub async fn profile_deltas_add_up(store: &dyn Store) {
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

pub async fn documents_have_a_revision_that_moves(store: &dyn Store) {
    assert!(store.documents().await.unwrap().1.is_empty());
    let document = |kind, name: &str, body| Document { kind, name: name.to_owned(), body };
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
    assert!(
        store.write_document(&Document { body: Value::Null, ..entry.clone() }, &note(START)).await.unwrap()
    );
    revisions.push(store.documents_revision().await.unwrap());
    assert_eq!(store.documents().await.unwrap(), (revisions[4], vec![changed]));
    assert!(!store.write_document(&Document { body: Value::Null, ..entry }, &note(START)).await.unwrap());
    let distinct: std::collections::BTreeSet<_> = revisions.iter().collect();
    assert_eq!(distinct.len(), revisions.len());
    let query = EventQuery { kind: Some(EventType::PolicyChanged), limit: 10, ..EventQuery::default() };
    assert_eq!(store.events(&query).await.unwrap().items.len(), 5);
}

pub async fn a_request_is_claimed_once(store: &dyn Store) {
    assert_eq!(store.claim("r-1", START).await.unwrap(), Claim::Fresh);
    assert_eq!(store.claim("r-1", START + 1).await.unwrap(), Claim::InFlight);
    assert_eq!(store.claim("r-2", START).await.unwrap(), Claim::Fresh);
    let answer = [0, 255, b'=', b'?'];
    store.finish_claim("r-1", &answer, START + 2).await.unwrap();
    assert_eq!(store.claim("r-1", START + 3).await.unwrap(), Claim::Answered(answer.to_vec()));
    assert_eq!(store.claim("r-2", START + 3).await.unwrap(), Claim::InFlight);
    store.finish_claim("never claimed", b"x", START).await.unwrap();
    assert_eq!(store.claim("never claimed", START).await.unwrap(), Claim::Fresh);
}

pub async fn a_claim_ends_after_two_minutes(store: &dyn Store) {
    store.claim("r-1", START).await.unwrap();
    store.finish_claim("r-1", b"yes", START + 119 * SECOND).await.unwrap();
    let late = START + 2 * MINUTE;
    assert_eq!(store.claim("r-1", late - 1).await.unwrap(), Claim::Answered(b"yes".to_vec()));
    assert_eq!(store.claim("r-1", late).await.unwrap(), Claim::Fresh);
    assert_eq!(store.claim("r-1", late + 1).await.unwrap(), Claim::InFlight);
}

pub async fn a_pepper_is_recognised(store: &dyn Store) {
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "other").await.unwrap(), Some("abc".to_owned()));
    assert_eq!(store.register_pepper("k2", "other").await.unwrap(), None);
    assert_eq!(store.register_pepper("k1", "abc").await.unwrap(), None);
}

pub async fn it_answers_and_closes(store: &dyn Store) {
    store.ping().await.unwrap();
    store.clock().await.unwrap();
    observe(store, charge(&key("a"), START, 1)).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
}
