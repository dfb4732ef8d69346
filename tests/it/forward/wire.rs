//! What a message looks like.

use std::sync::Arc;

use keyward::{
    domain::event::Event,
    forward::SinkContext,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use sha2::{Digest, Sha256};

use super::{
    Forwarding, SECRET, emergency_hook, events,
    receiver::{Mood, Receiver},
    webhook, whole,
};

fn secret() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    file
}

fn memory() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap())
}

/// As docs/sinks.md says that it is made.
fn batch_id(events: &[Event]) -> String {
    let lines: String = events.iter().map(|event| format!("{}\n", event.id)).collect();
    let hash = hex::encode(Sha256::digest(lines));
    format!("{}+{}-{}", events[0].id, events.len(), &hash[..16])
}

#[tokio::test]
async fn a_message_of_one_event_has_its_id_and_one_of_several_lists_them() {
    for (batch, kind) in [(1, "TEMPORARY_BAN"), (20, "events")] {
        let receiver = Receiver::start(|_| Mood::Well).await;
        let (store, secret) = (memory(), secret());
        let appended = store.append(&events(50)).await.unwrap();
        let more = format!("secret = \"file:{}\"\nbatch = {batch}", secret.path().display());
        let forwarding = Forwarding::start(store, &[webhook(&receiver.url, &more)]);
        receiver.until(50).await;
        forwarding.finish().await;
        assert_eq!(receiver.events(), appended, "every field arrives as it was written");
        assert_eq!(whole(&receiver.events(), 50), 0);
        let message = receiver.taken.lock().messages[0].clone();
        assert_eq!(message.body["type"], kind);
        let id = if batch == 1 { appended[0].id.clone() } else { batch_id(&appended[..20]) };
        assert_eq!(message.id, id);
    }
}

#[tokio::test]
async fn the_id_of_a_message_is_the_same_at_each_attempt() {
    let receiver = Receiver::start(|n| if n < 3 { Mood::Broken } else { Mood::Well }).await;
    let (store, secret) = (memory(), secret());
    store.append(&events(5)).await.unwrap();
    let more = format!("secret = \"file:{}\"\nbatch = 1", secret.path().display());
    let forwarding = Forwarding::start(store, &[webhook(&receiver.url, &more)]);
    receiver.until(5).await;
    forwarding.finish().await;
    let seen = receiver.taken.lock().seen.clone();
    assert!(seen[..4].iter().all(|id| *id == seen[0]) && seen[4] != seen[0], "{seen:?}");
}

/// A name that leads to this machine is as forbidden as its address.
#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_not_connected_to() {
    let receiver = Receiver::start(|_| Mood::Well).await;
    let port = receiver.url.split([':', '/']).nth(4).unwrap();
    let text = format!(
        "name = \"siem\"\ntype = \"webhook\"\nurl = \"http://localhost:{port}/hook\"\nstart = \"beginning\"\n\
             allow_networks = [\"10.0.0.0/8\"]\n"
    );
    let sink = keyward::forward::SinkSettings::read(text.parse().unwrap()).unwrap();
    let store = memory();
    store.append(&events(1)).await.unwrap();
    let forwarding = Forwarding::start(store, &[sink]);
    let status = forwarding.forwarder.statuses().list()[0].clone();
    let error = loop {
        match status.show(keyward::clock::wall()).error {
            Some(error) => break error,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(error.contains("loopback") && error.contains("allow_networks"), "{error}");
    forwarding.finish().await;
    assert!(receiver.taken.lock().seen.is_empty());
}

#[tokio::test]
async fn an_emergency_hook_is_signed_and_what_it_answers_is_an_event() {
    use keyward::{
        domain::{
            decision::{Action, Reason, Would},
            event::{Event, EventType},
            finding::Severity,
            standing::{Standing, StandingDetail, StandingState},
            subject::Subject,
        },
        store::Respond,
    };
    let receiver = Receiver::start(|n| if n == 0 { Mood::Broken } else { Mood::Well }).await;
    let (store, secret) = (memory(), secret());
    let cut = |key: &str, action: &str| {
        let mut event = Event::new(
            keyward::clock::wall(),
            EventType::KeyCutOff,
            Severity::Critical,
            Some(Subject::key(key)),
        );
        event.action = Some(action.to_owned());
        event
    };
    store.append(&events(3)).await.unwrap();
    let now = keyward::clock::wall();
    let ban =
        Standing { state: StandingState::PermanentlyBanned, since: now, version: 1, ..Standing::default() };
    let respond = Respond {
        subject: Subject::key("leaked"),
        now,
        standing: Some((ban, StandingDetail::default())),
        refunds: vec![],
        events: vec![],
    };
    store.respond(&respond).await.unwrap();
    // The policy only observed: whatever else is in force, nothing is to be done.
    let would = Would::refuse(Action::PermanentBan, Reason::ApiKeyBanned, None, now);
    let observed = Event { would: Some(would), ..cut("leaked", "none") };
    // The ban of the third was lifted before the hook could be called.
    store
        .append(&[
            cut("forgiven", "permanent_ban"),
            cut("watched", "shadow"),
            observed,
            cut("leaked", "permanent_ban"),
        ])
        .await
        .unwrap();
    let forwarding = Forwarding::start(store, &[emergency_hook(&receiver.url, secret.path())]);
    while forwarding.told.lock().len() < 3 {
        tokio::task::yield_now().await;
    }
    let told = forwarding.finish().await;
    let outcomes: Vec<&str> =
        told.iter().map(|event| event.evidence.as_json()["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["withdrawn", "failed", "taken"]);
    assert!(told.iter().all(|event| event.kind == EventType::EmergencyHook));
    assert_eq!(told[1].subject, Some(Subject::key("leaked")));
    assert_eq!(
        (&told[1].evidence.as_json()["cause"], &told[1].evidence.as_json()["rule"]),
        (&"KEY_CUT_OFF".into(), &"spend".into())
    );
    let taken = receiver.taken.lock();
    assert_eq!(taken.messages.len(), 1);
    let data = &taken.messages[0].body["data"];
    assert_eq!((data["request"].as_str(), data["key_id"].as_str()), (Some("rotate"), Some("leaked")));
}

#[tokio::test]
async fn a_trial_of_an_emergency_hook_asks_for_nothing_to_be_done() {
    let receiver = Receiver::start(|_| Mood::Well).await;
    let secret = secret();
    let context = SinkContext {
        store: memory(),
        now: Arc::new(keyward::clock::wall),
        log_event: Arc::new(|event| panic!("a trial is not told of: {event:?}")),
        instance: "check-config".to_owned(),
        log_changes: None,
        replace_key: None,
    };
    let mut hook = emergency_hook(&receiver.url, secret.path()).open(&context).unwrap();
    let sent = hook.test(&events(1)[0]).await.unwrap();
    assert_eq!(sent.answer, "answered 202: ok");
    assert_eq!(receiver.taken.lock().messages[0].body["data"]["request"], "test");
}
