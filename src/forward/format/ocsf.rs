//! Open Cybersecurity Schema Framework.
//!
//! What was found, done, refused or noticed about a subject is a Detection Finding (2004) with the profile
//! `security_control`: that profile is what says which action a control took. Acts of people are Entity Management
//! (3004): somebody changed a managed thing, and nothing was found. Trouble of the service and its end are Application
//! Error (6008), whose words are "issues with an application"; they are no findings about anybody, and Application
//! Lifecycle (6002) is about installing, starting and stopping. Its two activities are errors, so the end of trouble is
//! 99, Other.
//!
//! A ban is one finding over its life: created by the ban, updated by each request that it refuses, closed when it runs
//! out. Its `finding_info.uid` is made of the subject and the moment since when it is banned, which all three know. A
//! ban that a person set or lifted is Entity Management, and knows no finding.

mod class;
mod entity;

use std::net::IpAddr;

use serde_json::{Value, json};

use self::class::{APPLICATION_ERROR, CLOSE, CREATE, Choice, Class, DETECTION_FINDING, UPDATE, type_of};
use super::{
    facts::{self, Effect, EventGroup, present},
    json::pruned,
    product::{PRODUCT, VENDOR, VERSION},
    wording,
};
use crate::domain::{
    Millis,
    event::{Event, EventType, HighSeverityAnomaly},
    finding::{AnomalyKind, Severity},
    subject::SubjectKind,
};

/// The version of the schema that the attributes were checked against.
pub(super) const OCSF_VERSION: &str = "1.8.0";

/// The event as an OCSF event.
pub(super) fn value(event: &Event) -> Value {
    let (class, activity, special) = match EventGroup::of(event) {
        EventGroup::Administration => entity::management(event),
        EventGroup::Service => (APPLICATION_ERROR, service_activity(event.kind), service(event.kind)),
        _ => finding(event),
    };
    let mut whole = base(event, &class, activity);
    for part in [special, observables(event, &class)] {
        if let (Value::Object(whole), Value::Object(part)) = (&mut whole, part) {
            whole.extend(part);
        }
    }
    let (evidence, truncated) = facts::evidence(event, facts::MOST_EVIDENCE);
    whole["metadata"]["is_truncated"] = truncated.then_some(true).into();
    whole["unmapped"] = json!({
        "type": event.kind, "subject": event.subject, "detector": event.detector, "action": event.action,
        "source_ip": event.source_ip.as_ref().filter(|_| facts::address(event).is_none()),
        "radius_km": event.place.as_ref().and_then(|place| place.radius_km),
        "would": event.would,
    });
    let mut whole = pruned(whole);
    if !evidence.is_null() {
        whole["unmapped"]["evidence"] = evidence;
    }
    whole
}

fn base(event: &Event, class: &Class, activity: Choice) -> Value {
    let Class(class_uid, class_name, category_uid, category_name) = class;
    let severity = severity(event.severity);
    let profiles: &[&str] = if *class_uid == DETECTION_FINDING.0 { &["security_control"] } else { &[] };
    json!({
        "category_uid": category_uid, "category_name": category_name,
        "class_uid": class_uid, "class_name": class_name,
        "activity_id": activity.0, "activity_name": activity.1,
        "type_uid": class_uid * 100 + u32::from(activity.0), "type_name": format!("{class_name}: {}", activity.1),
        "time": event.time,
        "severity_id": severity.0, "severity": severity.1,
        "message": wording::message(event),
        "count": integer(event.count),
        "metadata": {
            "version": OCSF_VERSION,
            "product": { "name": PRODUCT, "vendor_name": VENDOR, "version": VERSION },
            "profiles": profiles,
            "uid": Some(&event.id).filter(|id| !id.is_empty()),
            "event_code": event.kind, "log_name": "keyward.events",
            // What one request led to: its findings and the ban that came of them.
            "correlation_uid": event.request_id,
        },
    })
}

fn severity(severity: Severity) -> Choice {
    match severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn service_activity(kind: EventType) -> Choice {
    if kind == EventType::StoreRecovered { (99, "Recovered") } else { (1, "General Error") }
}

fn service(kind: EventType) -> Value {
    if kind == EventType::StoreRecovered {
        json!({ "status_id": 1, "status": "Success" })
    } else {
        json!({ "status_id": 2, "status": "Failure" })
    }
}

fn finding(event: &Event) -> (Class, Choice, Value) {
    let (uid, activity, created) = identity(event);
    let status: Option<Choice> = match activity {
        CREATE => Some((1, "New")),
        CLOSE => Some((4, "Resolved")),
        _ => None,
    };
    let ((action_id, action), (disposition_id, disposition)) = control(Effect::of(event));
    let alerts = Effect::of(event) == Effect::Alerted || event.severity >= Severity::High;
    let special = json!({
        "finding_info": {
            "uid": uid, "title": wording::event_title(event), "desc": wording::message(event),
            "types": [event.kind], "analytic": analytic(event),
            "created_time": created, "modified_time": (activity != CREATE).then_some(event.time),
        },
        "status_id": status.map(|status| status.0), "status": status.map(|status| status.1),
        "action_id": action_id, "action": action,
        "disposition_id": disposition_id, "disposition": disposition,
        "is_alert": activity == CREATE && alerts && Effect::of(event) != Effect::Shadowed,
        "policy": { "name": "Keyward policy", "uid": event.policy_version, "version": event.policy_version },
        "confidence_score": event.read().map(|found: HighSeverityAnomaly| percent(found.score)),
        "evidences": [evidence(event)],
        "resources": [resource(event)],
        "anomaly_analyses": [analysis(event)],
    });
    (DETECTION_FINDING, activity, special)
}

/// Which finding an event is about, what it does to it, and when that was created.
fn identity(event: &Event) -> (String, Choice, Millis) {
    let own = || match event.id.as_str() {
        "" => format!("{}/{}", event.kind, event.time),
        id => id.to_owned(),
    };
    let (since, by_operator) = (event.evidence.since(), event.evidence.is_by_operator());
    let (Some(since), Some(subject), false) = (since, &event.subject, by_operator) else {
        return (own(), if event.kind == EventType::BanExpired { CLOSE } else { CREATE }, event.time);
    };
    let uid = format!("ban/{subject}/{since}");
    match event.kind {
        EventType::TemporaryBan | EventType::PermanentBan => (uid, CREATE, event.time),
        EventType::BannedRequestBlocked => (uid, UPDATE, since),
        EventType::BanExpired => (uid, CLOSE, since),
        _ => (own(), CREATE, event.time),
    }
}

/// Action and disposition, each a pair that the schema calls fitting.
fn control(effect: Effect) -> (Choice, Choice) {
    const ALLOWED: Choice = (1, "Allowed");
    const DENIED: Choice = (2, "Denied");
    const OBSERVED: Choice = (3, "Observed");
    match effect {
        Effect::Revoked => (DENIED, (24, "Access Revoked")),
        Effect::Blocked => (DENIED, (2, "Blocked")),
        Effect::Unauthorized => (DENIED, (26, "Unauthorized")),
        Effect::Slowed => ((4, "Modified"), (14, "Delayed")),
        Effect::Alerted => (OBSERVED, (19, "Alert")),
        Effect::Shadowed => (OBSERVED, (17, "Logged")),
        Effect::Noted => (OBSERVED, (15, "Detected")),
        Effect::Released => (ALLOWED, (1, "Allowed")),
    }
}

/// What found it. The sinks, which tell of their own work, find nothing.
fn analytic(event: &Event) -> Value {
    let detector = present(&event.detector).unwrap_or("keyward");
    let part = detector.split_once(':').map_or(detector, |(part, _)| part);
    if matches!(part, "hook" | "forward")
        || matches!(event.kind, EventType::EmergencyHook | EventType::SinkTest)
    {
        return Value::Null;
    }
    if detector == "spend" {
        let name = wording::title(EventType::SpendAnomaly);
        return json!({ "uid": detector, "name": name, "type_id": 3, "type": "Statistical" });
    }
    let anomaly = match event.kind {
        EventType::Anomaly(kind) => Some(kind),
        _ => AnomalyKind::of_detector(detector),
    };
    let (type_id, caption) = match anomaly {
        None | Some(AnomalyKind::CanaryKeyUsed) => (1, "Rule"),
        Some(
            AnomalyKind::TrafficBurst
            | AnomalyKind::RequestSizeAnomaly
            | AnomalyKind::HighFailureRate
            | AnomalyKind::TokenUsageSpike
            | AnomalyKind::CostSpike,
        ) => (3, "Statistical"),
        Some(_) => (2, "Behavioral"),
    };
    let name = anomaly.map(wording::anomaly_title).unwrap_or(detector);
    json!({ "uid": detector, "name": name, "type_id": type_id, "type": caption })
}

fn evidence(event: &Event) -> Value {
    let user = present(&event.key_id)
        .map(|key| json!({ "uid": key, "programmatic_credentials": [{ "uid": key, "type": "API Key" }] }));
    json!({ "actor": { "user": user }, "src_endpoint": endpoint(event) })
}

/// Where the request came from; nothing without an address, which the schema asks of an endpoint.
fn endpoint(event: &Event) -> Value {
    let Some(address) = facts::address(event) else { return Value::Null };
    let place = event.place.as_ref();
    let city = place.and_then(|place| present(&place.city));
    let country = place.and_then(|place| present(&place.country));
    // A location needs a name; coordinates alone are none.
    let coordinates = facts::coordinates(event).filter(|_| city.is_some() || country.is_some());
    json!({
        "ip": address,
        "location": {
            "city": city, "country": country,
            "lat": coordinates.map(|(latitude, _)| latitude), "long": coordinates.map(|(_, longitude)| longitude),
        },
        "autonomous_system": { "number": place.and_then(|place| place.asn) },
    })
}

/// What the finding is about, where that is something to protect: an address is not.
fn resource(event: &Event) -> Value {
    match &event.subject {
        Some(subject) if subject.kind() != SubjectKind::Ip => {
            json!({ "uid": subject.id(), "name": subject, "type": type_of(subject) })
        }
        _ => Value::Null,
    }
}

/// A share from 0 to 1 as a whole number of percent.
fn percent(share: f64) -> i32 {
    (share * 100.0).clamp(0.0, 100.0).round() as i32
}

/// What was measured and what is usual, of findings that come of a comparison.
fn analysis(event: &Event) -> Value {
    let (EventType::Anomaly(kind), Some(subject)) = (event.kind, &event.subject) else { return Value::Null };
    let found = event.evidence.finding();
    let Some(observed) = found.observed.map(|amount| amount.text()) else { return Value::Null };
    let baseline = found.baseline.map(|amount| amount.text()).filter(|text| text != "0");
    let baseline = baseline.map(|value| {
        let samples = found.samples.map(integer);
        json!({
            "observation_parameter": kind.detector(),
            "observations": [{ "value": value, "count": samples }],
        })
    });
    json!({
        "analysis_targets": [{ "name": subject, "type": type_of(subject) }],
        "anomalies": [{ "observation_parameter": kind.detector(), "observations": [{ "value": observed }] }],
        "baselines": baseline.into_iter().collect::<Vec<_>>(),
    })
}

/// What to pivot on. The names point to where it is in the event.
fn observables(event: &Event, class: &Class) -> Value {
    if class.0 != DETECTION_FINDING.0 {
        return Value::Null;
    }
    let address = facts::address(event).map(|address: IpAddr| address.to_string());
    let country = event.place.as_ref().and_then(|place| present(&place.country));
    let all = [
        (2, "IP Address", "evidences[0].src_endpoint.ip", address.as_deref()),
        (14, "Country", "evidences[0].src_endpoint.location.country", country.filter(|_| address.is_some())),
        // Of the types there are, the one for the ids of credentials.
        (
            19,
            "User Credential ID",
            "evidences[0].actor.user.programmatic_credentials[0].uid",
            present(&event.key_id),
        ),
    ];
    let observable = |(type_id, caption, name, value): (u8, &str, &str, Option<&str>)| {
        value.map(|value| json!({ "type_id": type_id, "type": caption, "name": name, "value": value }))
    };
    json!({ "observables": all.into_iter().filter_map(observable).collect::<Vec<_>>() })
}

/// OCSF's integers are signed; nothing here counts beyond 32 bits of them.
fn integer(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: EventType, detector: &str) -> Value {
        let event = Event::new(0, kind, Severity::Critical, None);
        value(&Event { detector: Some(detector.to_owned()), ..event })["finding_info"]["analytic"].clone()
    }

    #[test]
    fn spending_is_judged_by_statistics_and_sinks_are_no_analytic() {
        for kind in [EventType::SpendAnomaly, EventType::KeyCutOff, EventType::PermanentBan] {
            let expected = json!({
                "uid": "spend", "name": "Unusual spend of a day", "type_id": 3, "type": "Statistical",
            });
            assert_eq!(of(kind, "spend"), expected);
        }
        assert_eq!(of(EventType::EmergencyHook, "hook:leader"), Value::Null);
        assert_eq!(of(EventType::SinkTest, "forward"), Value::Null);
        assert_eq!(of(EventType::SinkTest, "forward:leader"), Value::Null);
        assert_eq!(of(EventType::AlertRule, "alerts")["type"], "Rule");
    }
}
