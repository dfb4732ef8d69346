//! Entity Management: what people did.
//!
//! The class does not require an `actor`; where the event names who acted, it is the user whose id that is. Who acts
//! has an id and nothing else: a token is no person, and has no name.

use serde_json::{Value, json};

use super::class::{CREATE, Choice, Class, ENTITY_MANAGEMENT, type_of};
use crate::{
    domain::event::{DeadLetterAct, DeadLettersChanged, Event, EventType, FeedbackGiven, PolicyChanged},
    forward::format::facts::{self, present},
};

const UPDATE: Choice = (3, "Update");
const DELETE: Choice = (4, "Delete");
const DEACTIVATE: Choice = (11, "Deactivate");
const SUSPEND: Choice = (12, "Suspend");
const RESUME: Choice = (13, "Resume");
/// The type of a managed entity that is a policy.
const POLICY: Choice = (5, "Policy");
const OTHER: u8 = 99;

/// The class, the activity, and what the class has beside the base.
pub(super) fn management(event: &Event) -> (Class, Choice, Value) {
    let word = event.read::<FeedbackGiven>();
    let note = word.as_ref().map(|word| word.note.as_str()).filter(|note| !note.is_empty());
    let special = json!({
        "actor": { "user": { "uid": facts::actor(event) } },
        "entity": entity(event, word.as_ref()),
        "comment": event.evidence.reason().or(note),
        // It is in the log because it is in force.
        "status_id": 1, "status": "Success",
    });
    (ENTITY_MANAGEMENT, activity(event), special)
}

fn activity(event: &Event) -> Choice {
    match event.kind {
        // Nobody is held by it yet.
        _ if event.would.is_some() => UPDATE,
        EventType::TemporaryBan => SUSPEND,
        EventType::PermanentBan => DEACTIVATE,
        EventType::BanLifted => RESUME,
        EventType::SubjectForgotten => DELETE,
        EventType::PolicyChanged => change(event),
        EventType::DeadLettersChanged if gives_up(event) => DELETE,
        _ => UPDATE,
    }
}

fn gives_up(event: &Event) -> bool {
    event.read().is_some_and(|letters: DeadLettersChanged| letters.act == DeadLetterAct::Discard)
}

fn change(event: &Event) -> Choice {
    match facts::Change::of(event) {
        facts::Change::Made => CREATE,
        facts::Change::Altered => UPDATE,
        facts::Change::Removed => DELETE,
    }
}

fn entity(event: &Event, word: Option<&FeedbackGiven>) -> Value {
    match (event.kind, &event.subject) {
        (EventType::FeedbackGiven, _) => judged(word),
        (EventType::PolicyChanged, _) => document(event),
        (EventType::DeadLettersChanged, _) => letters(event),
        (_, Some(subject)) => {
            json!({ "type_id": OTHER, "type": type_of(subject), "uid": subject.id(), "name": subject })
        }
        (_, None) => json!({ "type_id": OTHER, "type": "Subject", "name": event.kind }),
    }
}

fn judged(word: Option<&FeedbackGiven>) -> Value {
    json!({
        "type_id": OTHER, "type": "Security Event", "uid": word.map(|word| &word.event), "name": "Security event",
        "data": { "verdict": word.map(|word| word.verdict) },
    })
}

fn letters(event: &Event) -> Value {
    let sink = event.read().map(|letters: DeadLettersChanged| letters.sink);
    let name = sink.as_deref().unwrap_or("Dead letters");
    json!({ "type_id": OTHER, "type": "Dead Letters", "uid": sink, "name": name })
}

fn document(event: &Event) -> Value {
    match event.read() {
        Some(PolicyChanged::Allowlist { allowlist, .. }) => listed("Allowlist Entry", &allowlist),
        Some(
            PolicyChanged::Registry { document, name, .. } | PolicyChanged::Restored { document, name, .. },
        ) => match document.as_str() {
            "plan" => listed("Plan", &name),
            "project" => listed("Project", &name),
            "key" => listed("API Key", &name),
            "allowlist" => listed("Allowlist Entry", &name),
            _ => policy(present(&event.policy_version)),
        },
        Some(PolicyChanged::Policy { version, .. }) => policy(Some(&version)),
        None => policy(present(&event.policy_version)),
    }
}

fn listed(caption: &str, name: &str) -> Value {
    json!({ "type_id": OTHER, "type": caption, "uid": name, "name": name })
}

fn policy(version: Option<&str>) -> Value {
    json!({
        "type_id": POLICY.0, "type": POLICY.1, "name": "Keyward policy", "version": version,
        "policy": { "name": "Keyward policy", "uid": version, "version": version },
    })
}
