//! Entity Management: what people did.
//!
//! The class does not require an `actor`; where the event names who acted, it is the user whose id that is. Who acts
//! has an id and nothing else: a token is no person, and has no name.

use serde_json::{Value, json};

use super::class::{CREATE, Choice, Class, ENTITY_MANAGEMENT, type_of};
use crate::{
    domain::event::{Event, EventType},
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
pub fn management(event: &Event) -> (Class, Choice, Value) {
    let special = json!({
        "actor": { "user": { "uid": facts::actor(event) } },
        "entity": entity(event),
        "comment": facts::word(&event.evidence, "reason").or_else(|| facts::word(&event.evidence, "note")),
        // It is in the log because it is in force.
        "status_id": 1, "status": "Success",
    });
    (ENTITY_MANAGEMENT, activity(event), special)
}

fn activity(event: &Event) -> Choice {
    match event.kind {
        EventType::TemporaryBan => SUSPEND,
        EventType::PermanentBan => DEACTIVATE,
        EventType::BanLifted => RESUME,
        EventType::SubjectForgotten => DELETE,
        EventType::PolicyChanged => change(&event.evidence),
        EventType::DeadLettersChanged if facts::word(&event.evidence, "act") == Some("discard") => DELETE,
        _ => UPDATE,
    }
}

fn change(evidence: &Value) -> Choice {
    match facts::Change::of(evidence) {
        facts::Change::Made => CREATE,
        facts::Change::Altered => UPDATE,
        facts::Change::Removed => DELETE,
    }
}

fn entity(event: &Event) -> Value {
    match (event.kind, &event.subject) {
        (EventType::FeedbackGiven, _) => judged(event),
        (EventType::PolicyChanged, _) => document(event),
        (EventType::DeadLettersChanged, _) => letters(event),
        (_, Some(subject)) => {
            json!({ "type_id": OTHER, "type": type_of(subject), "uid": subject.id(), "name": subject })
        }
        (_, None) => json!({ "type_id": OTHER, "type": "Subject", "name": event.kind }),
    }
}

fn judged(event: &Event) -> Value {
    let uid = facts::word(&event.evidence, "event");
    json!({
        "type_id": OTHER, "type": "Security Event", "uid": uid, "name": "Security event",
        "data": { "verdict": facts::word(&event.evidence, "verdict") },
    })
}

fn letters(event: &Event) -> Value {
    let sink = facts::word(&event.evidence, "sink");
    json!({ "type_id": OTHER, "type": "Dead Letters", "uid": sink, "name": sink.unwrap_or("Dead letters") })
}

fn document(event: &Event) -> Value {
    let evidence = &event.evidence;
    if let Some(entry) = facts::word(evidence, "allowlist") {
        return json!({ "type_id": OTHER, "type": "Allowlist Entry", "uid": entry, "name": entry });
    }
    let name = facts::word(evidence, "name");
    let (type_id, caption) = match facts::word(evidence, "document") {
        Some("plan") => (OTHER, "Plan"),
        Some("project") => (OTHER, "Project"),
        Some("key") => (OTHER, "API Key"),
        Some("allowlist") => (OTHER, "Allowlist Entry"),
        _ => return policy(event),
    };
    json!({ "type_id": type_id, "type": caption, "uid": name, "name": name.unwrap_or(caption) })
}

fn policy(event: &Event) -> Value {
    let version = facts::word(&event.evidence, "version").or(present(&event.policy_version));
    json!({
        "type_id": POLICY.0, "type": POLICY.1, "name": "Keyward policy", "version": version,
        "policy": { "name": "Keyward policy", "uid": version, "version": version },
    })
}
