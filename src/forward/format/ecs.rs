//! Elastic Common Schema.
//!
//! Detections are alerts; refusals by what is in force, acts of people and trouble of the service are events. The four
//! categorisation fields hold allowed values only, and in `event.type` only those expected with their category.
//! `event.outcome` says how an act of a person or of the service ended; it is left out elsewhere, since neither
//! "success" nor "failure" says that a request was refused: `event.type: denied` does.
//!
//! What ECS has no field for is under `keyward`. `keyward.evidence` differs by detector: map it as `flattened`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    facts::{self, Effect, EventGroup, present},
    json::pruned,
    product::{PRODUCT, VENDOR, VERSION},
    text::one_line,
    wording,
};
use crate::domain::event::{BanExpired, Event, EventType, HighSeverityAnomaly, format_millis};

/// The version of ECS that the fields were checked against.
pub(super) const ECS_VERSION: &str = "9.4.0";
/// Elasticsearch does not index keywords that are longer (`ignore_above`).
const LONGEST: usize = 1024;

/// The event as a document.
pub(super) fn value(event: &Event) -> Value {
    let detector = present(&event.detector).map(|detector| one_line(detector, LONGEST));
    let name = |text: &str| Some(one_line(text, LONGEST)).filter(|text| !text.is_empty());
    let key = present(&event.key_id).and_then(name);
    let address = facts::address(event);
    // By ECS, `user` at the root is who acts, and `user.target` is who is acted on: of an act of a person, the key.
    let actor = facts::actor(event).and_then(name);
    let by_person = EventGroup::of(event) == EventGroup::Administration;
    let user = match by_person {
        true => json!({ "id": actor, "target": { "id": key } }),
        false => json!({ "id": key.as_ref().or(actor.as_ref()) }),
    };
    let users: Vec<&String> = actor.iter().chain(&key).collect();
    let mut document = pruned(json!({
        "@timestamp": format_millis(event.time),
        "ecs": { "version": ECS_VERSION },
        "message": wording::message(event),
        "log": { "level": event.severity.name() },
        "event": categorised(event),
        "rule": rule(event),
        "source": source(event, address),
        "user": user,
        "related": { "ip": address.into_iter().collect::<Vec<_>>(), "user": users },
        "http": { "request": { "id": event.request_id } },
        "observer": { "vendor": VENDOR, "product": PRODUCT, "version": VERSION, "type": "ids" },
        "keyward": {
            "subject": event.subject, "detector": detector, "action": event.action, "count": event.count,
            "policy_version": event.policy_version, "would": event.would,
            "radius_km": event.place.as_ref().and_then(|place| place.radius_km),
        },
    }));
    let (evidence, truncated) = facts::evidence(event, facts::MOST_EVIDENCE);
    if !evidence.is_null() {
        document["keyward"]["evidence"] = evidence;
    }
    if truncated {
        document["keyward"]["evidence_truncated"] = true.into();
    }
    document
}

/// What found or refused it; nothing where no rule was at work.
fn rule(event: &Event) -> Value {
    match EventGroup::of(event) {
        EventGroup::Administration | EventGroup::Service => Value::Null,
        group => json!({
            "id": present(&event.detector).map(|detector| one_line(detector, LONGEST)),
            "name": wording::name(event), "category": group.name(), "ruleset": "keyward",
            "version": event.policy_version,
        }),
    }
}

fn categorised(event: &Event) -> Value {
    let categories = Categories::of(event);
    let score = event.read().map(|found: HighSeverityAnomaly| found.score);
    json!({
        "kind": categories.kind,
        "category": categories.category,
        "type": categories.types,
        "outcome": categories.outcome,
        "id": event.id,
        "code": event.kind.name(),
        "action": event.kind.name().to_lowercase().replace('_', "-"),
        "severity": facts::severity_of_ten(event.severity),
        "risk_score": score,
        "reason": event.evidence.reason().map(|reason| one_line(reason, LONGEST)),
        "start": event.evidence.since().map(format_millis),
        // A ban in force ends in the future, which is no end of what this event tells.
        "end": event.read().map(|expired: BanExpired| format_millis(expired.until)),
        "module": "keyward",
        "dataset": "keyward.events",
        "provider": "keyward",
    })
}

fn source(event: &Event, address: Option<IpAddr>) -> Value {
    let place = event.place.as_ref();
    let location = facts::coordinates(event).map(|(lat, lon)| json!({ "lat": lat, "lon": lon }));
    json!({
        "ip": address,
        "address": present(&event.source_ip).map(|text| one_line(text, LONGEST)),
        "geo": {
            "city_name": place.and_then(|place| present(&place.city)),
            "country_iso_code": place.and_then(|place| present(&place.country)),
            "location": location,
        },
        "as": { "number": place.and_then(|place| place.asn) },
    })
}

/// The four categorisation fields, and the outcome.
struct Categories {
    kind: &'static str,
    category: &'static [&'static str],
    types: &'static [&'static str],
    outcome: Option<&'static str>,
}

impl Categories {
    fn of(event: &Event) -> Self {
        match EventGroup::of(event) {
            EventGroup::Anomaly | EventGroup::Response | EventGroup::Notice => Self::alert(Effect::of(event)),
            EventGroup::Refusal if event.would.is_some() => Self::event(&["api"], &["allowed", "info"], None),
            EventGroup::Refusal => Self::event(&["api"], &["denied"], None),
            EventGroup::Expiry => Self::event(&["iam"], &["change", "info"], None),
            EventGroup::Administration => Self::act(event),
            EventGroup::Service => Self::service(event.kind),
        }
    }

    fn event(
        category: &'static [&'static str],
        types: &'static [&'static str],
        outcome: Option<&'static str>,
    ) -> Self {
        Self { kind: "event", category, types, outcome }
    }

    fn alert(effect: Effect) -> Self {
        let types: &[&str] = match effect {
            Effect::Revoked | Effect::Blocked | Effect::Unauthorized => &["denied", "info"],
            Effect::Slowed | Effect::Alerted | Effect::Shadowed => &["allowed", "info"],
            Effect::Noted | Effect::Released => &["info"],
        };
        Self { kind: "alert", category: &["api", "intrusion_detection"], types, outcome: None }
    }

    fn act(event: &Event) -> Self {
        let success = Some("success");
        match event.kind {
            EventType::PolicyChanged => {
                let types: &[&str] = match facts::Change::of(event) {
                    facts::Change::Made => &["creation"],
                    facts::Change::Altered => &["change"],
                    facts::Change::Removed => &["deletion"],
                };
                Self::event(&["configuration"], types, success)
            }
            EventType::SubjectForgotten => Self::event(&["iam"], &["admin", "deletion"], success),
            EventType::DeadLettersChanged => Self::event(&["configuration"], &["change"], success),
            EventType::FeedbackGiven => Self::event(&["intrusion_detection"], &["info"], success),
            _ => Self::event(&["iam"], &["admin", "change"], success),
        }
    }

    fn service(kind: EventType) -> Self {
        match kind {
            EventType::StoreRecovered => Self::event(&["database"], &["info"], Some("success")),
            EventType::SettingsReloaded => Self::event(&["configuration"], &["change"], Some("success")),
            EventType::SettingsReloadFailed => Self::event(&["configuration"], &["info"], Some("failure")),
            _ => Self::event(&["database"], &["error"], Some("failure")),
        }
    }
}
