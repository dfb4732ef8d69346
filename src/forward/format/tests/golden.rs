//! Golden files, one line each, compared byte for byte. `KEYWARD_BLESS=1 cargo test golden` writes them anew: then read
//! the difference, and tell in the change log what readers of a format will notice. A release changes the version that
//! most of them hold.

use std::{fs, path::PathBuf};

use super::{
    super::{Format, facts::EventGroup, syslog::SyslogHeader},
    cases, header, line, message,
};
use crate::domain::{
    event::{Event, EventType},
    finding::Severity,
};

fn check(format: &str, case: &str, ending: &str, line: &str) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/forward");
    let path = root.join(format).join(format!("{case}.{ending}"));
    let line = format!("{line}\n");
    if std::env::var_os("KEYWARD_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &line).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == line, "{}\n  is {line}not {golden}", path.display());
}

#[test]
fn every_case_is_written_as_its_golden_file_says() {
    for (case, event) in cases::all() {
        for format in Format::ALL {
            let ending = if format.is_json() { "json" } else { format.name() };
            check(format.name(), case, ending, &line(*format, &event));
        }
    }
}

#[test]
fn syslog_messages_are_written_as_their_golden_files_say() {
    let within = |case: &str, event: &Event, format: Format, settings: &SyslogHeader| {
        let text = message(event, &line(format, event), settings);
        check("syslog", &format!("{case}.{}", format.name()), "log", &text);
    };
    for (case, event) in cases::all() {
        within(case, &event, Format::Json, &header());
    }
    let (_, outside_ascii) = cases::all().into_iter().find(|(case, _)| *case == "unknown_key_ipv6").unwrap();
    within("unknown_key_ipv6", &outside_ascii, Format::Cef, &header());
}

/// Every type, bare and full: for those who validate a whole schema against it.
#[test]
fn every_type_is_written_as_its_golden_file_says() {
    for format in Format::ALL {
        let lines: Vec<String> = cases::every_type().iter().map(|event| line(*format, event)).collect();
        check(format.name(), "every_type", "lines", &lines.join("\n"));
    }
}

#[test]
fn the_page_about_formats_shows_lines_that_are_written() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/siem-formats.md")).unwrap();
    let shown = [
        "ocsf/impossible_travel.json",
        "ecs/rate_limit_exceeded.json",
        "cef/impossible_travel.cef",
        "leef/temporary_ban.leef",
        "syslog/banned_request_blocked.json.log",
    ];
    for name in shown {
        let golden = fs::read_to_string(root.join("tests/golden/forward").join(name)).unwrap();
        assert!(page.contains(&golden), "docs/siem-formats.md: its example is not {name}");
    }
    for format in Format::ALL {
        assert!(
            page.contains(&format!("| `{}` |", format.name())),
            "docs/siem-formats.md lacks {}",
            format.name()
        );
    }
}

#[test]
fn the_page_about_formats_names_the_group_of_every_type() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/siem-formats.md")).unwrap();
    for kind in EventType::names().map(|name| EventType::parse(name).unwrap()) {
        if matches!(kind, EventType::Anomaly(_)) {
            continue;
        }
        let group = EventGroup::of(&Event::new(0, kind, Severity::Low, None)).name();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{group}` | "))).unwrap();
        assert!(row.contains(&format!("`{kind}`")), "docs/siem-formats.md lacks {kind} in {row}");
    }
}
