//! What people do, and who is named for it.

use super::*;
use crate::domain::event::EventType::{BannedRequestBlocked, RateLimitExceeded, TemporaryBan};

#[tokio::test]
async fn an_operator_bans_and_lifts_and_the_reasons_are_in_the_log() {
    let mut day = Day::with(|_| ()).await;
    let by = Actor::token("ops");
    for subject in ["key:a", "ip:203.0.113.7", "ip:203.0.113.0/24", "project:p"] {
        let subject = Subject::parse(subject).unwrap();
        let (_, fresh) = day.engine.bans().ban(&subject, None, "leaked", &by, day.now).await.unwrap();
        assert!(fresh);
        assert!(!day.ask(json!({"project_id": "p"})).await.allowed, "{subject}");
        assert!(day.engine.bans().lift(&subject, "found", &by, day.now).await.unwrap().is_some());
        assert!(day.ask(json!({"project_id": "p"})).await.allowed, "{subject}");
        assert!(day.engine.bans().lift(&subject, "again", &by, day.now).await.unwrap().is_none());
    }
    let banned = day.events(EventType::PermanentBan).await;
    assert_eq!(banned.len(), 4);
    let lifted = day.events(EventType::BanLifted).await;
    assert_eq!(lifted[0].evidence["reason"], "found");
    assert!(banned.iter().chain(&lifted).all(|event| event.evidence["by"] == "ops"));
}

#[tokio::test]
async fn what_a_detector_the_ladder_or_a_limit_does_names_nobody() {
    let mut day = Day::strict().await;
    day.engine.bans().ban(&Subject::key("b"), None, "leaked", &Actor::token("ops"), day.now).await.unwrap();
    day.ask(json!({"key_id": "b"})).await;
    day.ask(json!({"key_id": "c", "tokens_used": 1_000_000_000})).await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    day.ask(json!({"source_ip": BUCHAREST})).await;
    let travel = EventType::Anomaly(AnomalyKind::ImpossibleTravel);
    for kind in [travel, TemporaryBan, BannedRequestBlocked, RateLimitExceeded] {
        let logged = day.events(kind).await;
        assert!(!logged.is_empty(), "{kind}");
        assert!(logged.iter().all(|event| event.evidence.get("by").is_none()), "{logged:?}");
    }
}

#[tokio::test]
async fn of_more_documents_than_are_kept_beside_the_store_the_tokens_are() {
    let day = Day::with(|_| {}).await;
    let token = NewToken { id: "alice", hash: "00", scopes: &["admin".to_owned()], expires: None };
    let by = Actor::local();
    assert_eq!(day.engine.token_changes().put(&token, &by, NOW).await.unwrap(), TokenChange::Done);
    day.engine
        .policy_changes()
        .write_allowlist("country:SG", json!({"reason": "x"}), &by, NOW)
        .await
        .unwrap();
    let (revision, all) = day.engine.in_force.kept(2);
    assert_eq!((revision, all.len()), (day.engine.policy().revision, 2));
    let (revision, tokens) = day.engine.in_force.kept(1);
    assert_eq!(revision, crate::store::Revision::default(), "the store is not held against a part");
    let [kept] = tokens.as_slice() else { panic!("{tokens:?}") };
    assert!(is_token(kept) && kept.name == "alice");
    // So a start while the store is away lets nobody in without one.
    day.engine.in_force.restore(revision, tokens);
    assert_eq!(day.engine.stored_tokens().borrow().len(), 1);
}
