//! Nobody is harmed in another's name: refused credentials accuse their source, and a ban of an address spares those
//! who work from there.

use super::*;
use crate::domain::profile::Profile;

/// Two weeks of work: each key sixty times a day, from Singapore.
async fn past(day: &mut Day, keys: &[&str]) {
    for n in 0..14 {
        for request in 0..20 {
            day.now = NOW + n * DAY + request * 20 * MINUTE;
            for key in keys {
                day.ask(json!({ "key_id": key, "user_agent": "acme-sdk/3.1" })).await;
            }
        }
    }
    day.now = NOW + 14 * DAY;
}

fn wrong(key: &str, from: &str) -> serde_json::Value {
    json!({ "key_id": key, "source_ip": from, "response_status": 401, "tokens_used": 0, "user_agent": "curl/8.5.0" })
}

#[tokio::test]
async fn wrong_credentials_in_a_keys_name_touch_nothing_of_it() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["victim"]).await;
    let key = Subject::key("victim");
    let before = day.engine.store().inspect(&key, day.now).await.unwrap();
    let profile = day.engine.decider.profiles.get(&key).unwrap().with(Profile::clone);
    for _ in 0..24 {
        day.ask(wrong("victim", BUCHAREST)).await;
    }
    assert_eq!(day.engine.store().inspect(&key, day.now).await.unwrap(), before);
    assert_eq!(day.engine.decider.profiles.get(&key).unwrap().with(Profile::clone), profile);
    let owner = day.ask(json!({"key_id": "victim", "user_agent": "acme-sdk/3.1"})).await;
    assert!(owner.allowed && owner.anomalies.is_empty(), "{owner:?}");
}

#[tokio::test]
async fn who_guesses_at_a_key_is_banned_and_its_owner_is_warned() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["victim"]).await;
    let mut last = day.ask(wrong("victim", BUCHAREST)).await;
    for _ in 0..33 {
        day.now += SECOND;
        last = day.ask(wrong("victim", BUCHAREST)).await;
    }
    assert_eq!(last.reason, Some(Reason::IpBanned));
    let warned = day.events(EventType::Anomaly(AnomalyKind::HighFailureRate)).await;
    let of_key = warned.iter().filter(|event| event.subject == Some(Subject::key("victim")));
    assert_eq!(of_key.map(|event| event.severity).max(), Some(crate::domain::finding::Severity::Medium));
    assert!(day.ask(json!({"key_id": "victim", "user_agent": "acme-sdk/3.1"})).await.allowed);
}

#[tokio::test]
async fn a_wrong_secret_in_a_keys_name_counts_what_it_used() {
    let mut day = Day::with(|_| ()).await;
    day.ask(json!({"response_status": 401, "tokens_used": 7})).await;
    assert_eq!(day.used("a").await, 7);
    day.ask(json!({"response_status": 401, "tokens_used": 0})).await;
    let seen = day.engine.store().inspect(&Subject::key("a"), day.now).await.unwrap().unwrap();
    assert_eq!((seen.counts[0].requests, seen.counts[0].auth_failures, seen.peers.len()), (1, 0, 0));
}

#[tokio::test]
async fn a_key_that_fails_at_home_is_not_accused_and_a_403_there_is_its_own() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["a"]).await;
    for _ in 0..60 {
        day.now += SECOND;
        let decision =
            day.ask(json!({"response_status": 401, "tokens_used": 0, "user_agent": "acme-sdk/3.1"})).await;
        assert!(decision.allowed && decision.anomalies.is_empty(), "{decision:?}");
    }
    for _ in 0..12 {
        day.now += 20 * SECOND;
        let decision =
            day.ask(json!({"response_status": 403, "tokens_used": 0, "user_agent": "acme-sdk/3.1"})).await;
        assert!(decision.allowed, "{decision:?}");
    }
    let seen = day.engine.store().inspect(&Subject::key("a"), day.now).await.unwrap().unwrap();
    assert_eq!(seen.counts[1].auth_failures, 12);
    let mended = day.ask(json!({"user_agent": "acme-sdk/3.1"})).await;
    assert_eq!((mended.allowed, mended.action), (true, Action::None));
}

#[tokio::test]
async fn a_ban_of_an_address_spares_the_keys_that_work_from_there_and_says_which() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["desk-1", "desk-2"]).await;
    for n in 0..10 {
        day.ask(wrong(&format!("made-up-{n}"), SINGAPORE)).await;
    }
    let address = Subject::parse(&format!("ip:{SINGAPORE}")).unwrap();
    assert!(day.engine.standings().known_ban(&address, day.now).is_some());
    for key in ["desk-1", "desk-2", "desk-1"] {
        assert!(day.ask(json!({ "key_id": key, "user_agent": "acme-sdk/3.1" })).await.allowed);
        let check = day.record(json!({ "key_id": key }));
        assert!(day.engine.check(&check, false, day.now).await.allowed);
    }
    let stranger = day.ask(json!({"key_id": "new"})).await;
    assert_eq!(stranger.reason, Some(Reason::IpBanned), "a key without a past from there is not spared");
    let spared = day.events(EventType::KeySpared).await;
    let mut keys: Vec<_> = spared.iter().map(|event| event.key_id.clone().unwrap()).collect();
    keys.sort();
    assert_eq!(keys, ["desk-1", "desk-2"], "each is logged of once");
    assert!(spared.iter().all(|event| event.subject.as_ref() == Some(&address)));
    let standing = day.engine.store().standing(&address).await.unwrap().unwrap();
    assert_eq!(day.engine.standings().spared_by(&standing, day.now).await.unwrap(), ["desk-1", "desk-2"]);
}

#[tokio::test]
async fn a_spared_key_is_recognised_after_a_restart() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["desk-1"]).await;
    for n in 0..10 {
        day.ask(wrong(&format!("made-up-{n}"), SINGAPORE)).await;
    }
    day.engine.decider.profiles.flush(day.engine.store(), day.now).await.unwrap();
    let (store, geo) = (day.engine.shared.store.clone(), day.engine.geo.clone());
    let again = Engine::start(store, geo, default_policy(), day.engine.options.clone()).await.unwrap();
    again.standings.reload(day.now).await.unwrap();
    let desk = day.record(json!({"key_id": "desk-1"}));
    let stranger = day.record(json!({"key_id": "new"}));
    let decisions = again.record(&[desk, stranger], day.now).await;
    assert_eq!(decisions.iter().map(|decision| decision.allowed).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn a_ban_by_a_person_spares_nobody() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["desk-1"]).await;
    let address = Subject::parse(&format!("ip:{SINGAPORE}")).unwrap();
    day.engine.bans().ban(&address, None, "all of it", &Actor::local(), day.now).await.unwrap();
    assert_eq!(day.ask(json!({"key_id": "desk-1"})).await.reason, Some(Reason::IpBanned));
}

#[tokio::test]
async fn a_thief_who_came_lately_is_not_spared() {
    let mut day = Day::with(|_| ()).await;
    past(&mut day, &["victim"]).await;
    day.ask(json!({"key_id": "victim", "source_ip": BUCHAREST, "user_agent": "acme-sdk/3.1"})).await;
    day.now += HOUR;
    for n in 0..10 {
        day.ask(wrong(&format!("made-up-{n}"), BUCHAREST)).await;
    }
    let thief =
        day.ask(json!({"key_id": "victim", "source_ip": BUCHAREST, "user_agent": "acme-sdk/3.1"})).await;
    assert_eq!(thief.reason, Some(Reason::IpBanned));
}
