//! The wire form of events, compared byte for byte with golden files. Each room that makes events checks its own.
//!
//! `KEYWARD_BLESS=1 cargo test golden` writes the files anew: then read the difference, for sinks and readers of the log
//! will see it too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Event, EventType};

/// Where the files are: `<TYPE>.json`, or `<TYPE>.<case>.json` where a type has several forms.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events")
}

/// Every golden event: the name of its file, its text, and the event that it says.
pub fn all() -> Vec<(String, String, Event)> {
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
pub fn check(case: &str, event: &Event) {
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
