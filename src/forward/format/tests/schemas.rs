//! What the schemas require and allow, as far as we use it: copied from OCSF 1.8.0 (commit 3dcb905d of ocsf-schema) and
//! ECS 9.4.0 (tag v9.4.0), and held against every type of event, bare and full, and every golden case.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{super::Format, cases, line};
use crate::domain::event::{Event, EventType};

/// What each class of OCSF requires of every event.
const BASE: &[&str] =
    &["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
/// Class, category, what else it requires, and its activities.
const CLASSES: &[(u64, u64, &[&str], &[u64])] = &[
    (2004, 2, &["finding_info"], &[0, 1, 2, 3, 99]),
    (3004, 3, &["entity"], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99]),
    (6008, 6, &[], &[0, 1, 2, 99]),
];
/// Attributes that hold an object: what it requires.
const REQUIRED: &[(&str, &[&str])] = &[
    ("metadata", &["product", "version"]),
    ("finding_info", &["uid"]),
    ("analytic", &["type_id"]),
    ("observables", &["type_id"]),
    ("programmatic_credentials", &["uid"]),
    ("anomaly_analyses", &["analysis_targets", "anomalies"]),
    ("analysis_targets", &["name"]),
    ("anomalies", &["observation_parameter", "observations"]),
    ("baselines", &["observation_parameter", "observations"]),
    ("observations", &["value"]),
];
/// Attributes that hold an object: of what it must have at least one.
const AT_LEAST_ONE: &[(&str, &[&str])] = &[
    ("product", &["name", "uid"]),
    ("analytic", &["name", "uid"]),
    ("evidences", &["actor", "src_endpoint", "data"]),
    ("actor", &["process", "user", "invoked_by", "session", "app_name", "app_uid"]),
    ("user", &["account", "name", "uid"]),
    ("src_endpoint", &["ip", "uid", "name", "hostname", "domain"]),
    ("location", &["city", "country", "postal_code", "region"]),
    ("autonomous_system", &["number", "name"]),
    ("resources", &["name", "uid"]),
    ("entity", &["name", "uid", "device", "group", "org", "policy", "user"]),
    ("policy", &["name", "type", "uid"]),
];
/// Enums: what may be in them.
const ENUMS: &[(&str, &[u64])] = &[
    ("severity_id", &[0, 1, 2, 3, 4, 5, 6, 99]),
    ("action_id", &[0, 1, 2, 3, 4, 99]),
    ("status_id", &[0, 1, 2, 3, 4, 5, 6, 99]),
];
/// Categories of ECS, with the types that are expected in each.
const CATEGORIES: &[(&str, &[&str])] = &[
    (
        "api",
        &[
            "access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start",
            "user",
        ],
    ),
    ("configuration", &["access", "change", "creation", "deletion", "info"]),
    ("database", &["access", "change", "info", "error"]),
    ("iam", &["admin", "change", "creation", "deletion", "group", "info", "user"]),
    ("intrusion_detection", &["allowed", "denied", "info"]),
];

fn events() -> Vec<Event> {
    let mut events = cases::every_type();
    events.extend(cases::all().into_iter().map(|(_, event)| event));
    // A subject of each kind, and an operator behind each type.
    for subject in ["ip:203.0.113.7", "project:shop"] {
        let subject = crate::domain::subject::Subject::parse(subject).unwrap();
        events.extend(cases::every_type().into_iter().map(|e| Event { subject: Some(subject.clone()), ..e }));
    }
    let operator = Some("operator".to_owned());
    events.extend(cases::every_type().into_iter().map(|e| Event { detector: operator.clone(), ..e }));
    events
}

fn rendered(format: Format) -> impl Iterator<Item = (Event, Value)> {
    events().into_iter().map(move |event| {
        let value = serde_json::from_str(&line(format, &event)).unwrap();
        (event, value)
    })
}

fn has(object: &Value, name: &str) -> bool {
    object.get(name).is_some_and(|value| !value.is_null())
}

fn follow(path: &str, value: &Value, problems: &mut Vec<String>) {
    let items = match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    };
    let name = path.rsplit('.').next().unwrap_or(path);
    let rules = |rules: &'static [(&str, &[&str])]| rules.iter().filter(move |(of, _)| *of == name);
    for object in items.iter().filter(|item| item.is_object()) {
        for (_, names) in rules(REQUIRED) {
            let lacks = names.iter().filter(|name| !has(object, name));
            problems.extend(lacks.map(|lacking| format!("{path} lacks {lacking}")));
        }
        for (_, names) in rules(AT_LEAST_ONE) {
            if !names.iter().any(|name| has(object, name)) {
                problems.push(format!("{path} has none of {names:?}"));
            }
        }
        for (member, value) in object.as_object().into_iter().flatten() {
            let allowed = ENUMS.iter().find(|(of, _)| of == member).map(|(_, allowed)| allowed);
            if allowed.is_some_and(|allowed| !value.as_u64().is_some_and(|id| allowed.contains(&id))) {
                problems.push(format!("{path}.{member} is {value}"));
            }
            if member != "unmapped" {
                follow(&format!("{path}.{member}"), value, problems);
            }
        }
    }
}

#[test]
fn ocsf_events_have_what_their_class_requires() {
    for (event, value) in rendered(Format::Ocsf) {
        let id = |name: &str| value[name].as_u64().unwrap();
        let class = CLASSES.iter().find(|(uid, ..)| *uid == id("class_uid")).expect("a class that we know");
        let (uid, category, required, activities) = class;
        let mut problems = Vec::new();
        let lacks = BASE.iter().chain(*required).filter(|name| !has(&value, name));
        problems.extend(lacks.map(|lacking| format!("it lacks {lacking}")));
        follow("", &value, &mut problems);
        assert!(problems.is_empty(), "{}: {problems:?} in {value}", event.kind);
        assert_eq!((id("category_uid"), id("type_uid")), (*category, uid * 100 + id("activity_id")));
        assert!(activities.contains(&id("activity_id")), "{value}");
        assert_eq!(value["metadata"]["version"], "1.8.0");
    }
}

#[test]
fn ocsf_classes_follow_from_who_did_what() {
    for (event, value) in rendered(Format::Ocsf) {
        let by_operator = event.detector.as_deref() == Some("operator");
        let class = match event.kind {
            _ if by_operator => 3004,
            EventType::PolicyChanged | EventType::FeedbackGiven => 3004,
            EventType::SubjectForgotten | EventType::BanLifted | EventType::DeadLettersChanged => 3004,
            EventType::StoreDegraded | EventType::StoreRecovered | EventType::EventGap => 6008,
            EventType::ClockJumped | EventType::DataMissing => 6008,
            EventType::AnswersDegraded | EventType::UpkeepFailed => 6008,
            EventType::ProviderCredentialRefused => 6008,
            EventType::SettingsReloaded | EventType::SettingsReloadFailed => 6008,
            _ => 2004,
        };
        assert_eq!(value["class_uid"], class, "{}", event.kind);
        let control = class == 2004;
        assert_eq!(has(&value, "disposition_id"), control);
        assert_eq!(value["metadata"]["profiles"] == serde_json::json!(["security_control"]), control);
    }
}

#[test]
fn a_ban_is_one_finding_from_its_beginning_to_its_end() {
    let named = |name: &str| {
        let (_, event) = cases::all().into_iter().find(|(case, _)| *case == name).unwrap();
        let value: Value = serde_json::from_str(&line(Format::Ocsf, &event)).unwrap();
        (value["finding_info"]["uid"].clone(), value["activity_id"].as_u64().unwrap())
    };
    let (uid, activity) = named("temporary_ban");
    assert_eq!((uid.as_str().unwrap(), activity), ("ban/key:k1:9f2c41d07be5a8c3/1772442802123", 1));
    assert_eq!(named("banned_request_blocked"), (uid.clone(), 2));
    assert_eq!(named("ban_expired"), (uid, 3));
}

#[test]
fn ecs_events_are_categorised_with_allowed_values() {
    for (event, value) in rendered(Format::Ecs) {
        let fields = &value["event"];
        let texts = |name: &str| -> Vec<String> {
            fields[name].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        assert!(["alert", "event"].contains(&fields["kind"].as_str().unwrap()), "{value}");
        let outcome = fields["outcome"].as_str();
        assert!(outcome.is_none_or(|outcome| ["success", "failure"].contains(&outcome)));
        let types = texts("type");
        assert!(!types.is_empty());
        for category in texts("category") {
            let (_, expected) = CATEGORIES.iter().find(|(name, _)| *name == category).expect("a category");
            let stray: Vec<_> = types.iter().filter(|kind| !expected.contains(&kind.as_str())).collect();
            assert!(stray.is_empty(), "{}: {stray:?} is not expected in {category}", event.kind);
        }
        assert!(has(&value, "@timestamp") && has(&value, "message"));
        assert_eq!(value["ecs"]["version"], "9.4.0");
    }
}

#[test]
fn every_type_has_a_title_and_a_sentence_of_its_own() {
    let titles: BTreeSet<&str> = EventType::names()
        .map(|name| super::super::wording::title(EventType::parse(name).unwrap()))
        .collect();
    assert_eq!(titles.len(), EventType::names().count());
    for (case, event) in cases::all() {
        let sentence = super::super::wording::message(&event);
        assert!(!sentence.is_empty(), "{case}");
    }
}
