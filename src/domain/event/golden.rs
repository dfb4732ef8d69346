//! The wire form of events, compared byte for byte with golden files. Each room that makes events checks its own.
//!
//! `KEYWARD_BLESS=1 cargo test golden` writes the files anew: then read the difference, for sinks and readers of the
//! log will see it too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// Where the files are: `<TYPE>.json`, or `<TYPE>.<case>.json` where a type has several forms.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events")
}

/// Every golden event: the name of its file, its text, and the event that it says.
pub(crate) fn all() -> Vec<(String, String, Event)> {
    let files = fs::read_dir(directory()).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let read = |path: PathBuf| {
        let (name, text) = (path.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        (name.to_owned(), text.trim_end().to_owned(), serde_json::from_str(&text).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// Compares an event, without what changes with each run: its id, its request and the version of the default policy.
pub(crate) fn check(case: &str, event: &Event) {
    let mut event = event.clone();
    event.id = String::new();
    event.policy_version = event.policy_version.map(|_| "p-1".to_owned());
    event.request_id = event.request_id.map(|_| "r-1".to_owned());
    let case = if case.is_empty() { String::new() } else { format!(".{case}") };
    let path = directory().join(format!("{}{case}.json", event.kind));
    let line = format!("{}\n", serde_json::to_string(&event).unwrap());
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        fs::create_dir_all(directory()).unwrap();
        fs::write(&path, &line).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == line, "{}\n  is {line}not {golden}", path.display());
}

#[test]
fn every_type_of_event_has_a_golden_file_and_so_have_the_anomalies() {
    let events = all();
    let missing: Vec<&str> = EventType::names()
        .map(|name| EventType::parse(name).unwrap())
        .filter(|kind| !matches!(kind, EventType::Anomaly(_)))
        .filter(|kind| !events.iter().any(|(_, _, event)| event.kind == *kind))
        .map(EventType::name)
        .collect();
    assert_eq!(missing, [""; 0]);
    assert!(events.iter().any(|(_, _, event)| matches!(event.kind, EventType::Anomaly(_))));
}

#[test]
fn what_the_log_holds_is_written_again_as_it_was_read() {
    for (name, text, event) in all() {
        assert_eq!(serde_json::to_string(&event).unwrap(), text, "{name}");
    }
}

/// The members of evidence that `docs/events.md` names, by the types of the heading above them.
fn documented() -> Vec<(Vec<EventType>, BTreeSet<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let page = fs::read_to_string(page).unwrap();
    let mut sections: Vec<(Vec<EventType>, BTreeSet<String>)> = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let types = heading.split('`').filter_map(EventType::parse).collect();
            sections.push((types, BTreeSet::new()));
        } else if let (true, Some((_, members))) = (line.starts_with('|'), sections.last_mut()) {
            let cells = line.split('|').map(str::trim).take(3);
            let name = cells.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`')).next();
            members.extend(name.map(str::to_owned));
        }
    }
    sections
}

#[test]
fn the_page_on_events_names_each_member_of_evidence_and_no_other() {
    let (events, sections) = (all(), documented());
    for (types, members) in &sections {
        let of_section = events.iter().filter(|(_, _, event)| types.contains(&event.kind));
        let written = of_section.filter_map(|(_, _, event)| event.evidence.as_json().as_object());
        let written: BTreeSet<String> = written.flat_map(|evidence| evidence.keys().cloned()).collect();
        assert_eq!(*members, written, "docs/events.md and tests/golden/events of {types:?}");
    }
    let has_section = |kind: &EventType| sections.iter().any(|(types, _)| types.contains(kind));
    let without: Vec<EventType> =
        events.iter().map(|(_, _, event)| event.kind).filter(|kind| !has_section(kind)).collect();
    assert!(without.iter().all(|kind| matches!(kind, EventType::Anomaly(_))), "{without:?}");
}

#[test]
fn a_member_that_a_newer_version_wrote_is_read_past_and_kept() {
    let (_, text, event) = all().into_iter().find(|(name, ..)| name == "STORE_RECOVERED").unwrap();
    let newer = text.replace("\"seconds\":", "\"newer\":[1],\"seconds\":");
    let read: Event = serde_json::from_str(&newer).unwrap();
    assert_eq!(read.read::<StoreRecovered>().unwrap(), event.read().unwrap());
    assert_eq!(serde_json::to_string(&read).unwrap(), newer);
    assert_eq!(read.read::<StoreDegraded>(), None, "that is another type");
}

#[test]
fn the_struct_of_its_type_says_all_that_a_golden_event_says() {
    for (name, _, event) in all() {
        let said = match event.kind {
            EventType::Anomaly(_) | EventType::CardinalityCapped => continue,
            EventType::HighSeverityAnomaly => again::<HighSeverityAnomaly>(&event),
            EventType::BannedRequestBlocked => again::<BannedRequestBlocked>(&event),
            EventType::RateLimitExceeded => again::<RateLimitExceeded>(&event),
            EventType::KeyNotAllowed | EventType::UnknownKey => again::<KeyNotAllowed>(&event),
            EventType::Throttled | EventType::TemporaryBan | EventType::PermanentBan => {
                again::<StandingChanged>(&event)
            }
            EventType::KeySpared => again::<KeySpared>(&event),
            EventType::BanLifted => again::<BanLifted>(&event),
            EventType::BanExpired => again::<BanExpired>(&event),
            EventType::PolicyChanged => again::<PolicyChanged>(&event),
            EventType::FeedbackGiven => again::<FeedbackGiven>(&event),
            EventType::SubjectForgotten => again::<SubjectForgotten>(&event),
            EventType::ProjectMismatch => again::<ProjectMismatch>(&event),
            EventType::BudgetUsed => again::<BudgetUsed>(&event),
            EventType::LimitUsed => again::<LimitUsed>(&event),
            EventType::AlertRule => again::<AlertRuleFired>(&event),
            EventType::SpendAnomaly => again::<SpendAnomaly>(&event),
            EventType::KeyCutOff => again::<KeyCutOff>(&event),
            EventType::EventGap => again::<EventGap>(&event),
            EventType::EmergencyHook => again::<EmergencyHookCalled>(&event),
            EventType::SinkTest => again::<SinkTest>(&event),
            EventType::DeadLettersChanged => again::<DeadLettersChanged>(&event),
            EventType::ProviderCredentialRefused => again::<ProviderCredentialRefused>(&event),
            EventType::UsageMismatch => again::<UsageMismatch>(&event),
            EventType::StoreDegraded => again::<StoreDegraded>(&event),
            EventType::StoreRecovered => again::<StoreRecovered>(&event),
            EventType::ClockJumped => again::<ClockJumped>(&event),
            EventType::DataMissing => again::<DataMissing>(&event),
            EventType::AnswersDegraded => again::<AnswersDegraded>(&event),
            EventType::UpkeepFailed => again::<UpkeepFailed>(&event),
        };
        assert_eq!(said, event.evidence, "{name}");
    }
}

/// The evidence of an event, read as its struct and made from it again.
fn again<D: Details>(event: &Event) -> EventEvidence {
    EventEvidence::of(&event.read::<D>().unwrap())
}
