//! Any text in any field: one line each, and readers get the values back.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use serde_json::{Value, json};

use super::{super::Format, header, line, message, parsers};
use crate::domain::{
    event::{Event, EventEvidence, EventType},
    finding::Severity,
    place::PlaceSummary,
    subject::Subject,
};

/// Characters that mean something to some format, line or terminal.
const SHARP: &[char] = &[
    '|',
    '\\',
    '=',
    '^',
    '"',
    ']',
    '[',
    ' ',
    '\t',
    '\r',
    '\n',
    '\0',
    '\u{b}',
    '\u{c}',
    '\u{1b}',
    '\u{7f}',
    '\u{85}',
    '\u{9b}',
    '\u{2028}',
    '\u{2029}',
    '\u{202e}',
    '\u{2066}',
    '\u{feff}',
    '\u{1f511}',
    '\u{e9}',
    'n',
    'r',
    'a',
    '1',
];

/// Names in evidence that we read.
const KNOWN: &[&str] = &[
    "summary",
    "reason",
    "by",
    "since",
    "until",
    "cause",
    "observed",
    "samples",
    "score",
    "document",
    "after",
    "verdict",
    "note",
    "anomaly",
    "seconds",
    "registered",
    "reported",
];

fn text() -> impl Strategy<Value = String> {
    let c = prop_oneof![3 => select(SHARP), 1 => any::<char>()];
    vec(c, 0..40).prop_map(|chars| chars.into_iter().collect())
}

fn evidence() -> impl Strategy<Value = Value> {
    let number = (-1_000_000..1_000_000_i64).prop_map(|n| json!(n as f64 / 8.0));
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        number,
        any::<u32>().prop_map(Value::from),
        Just(Value::Null)
    ];
    let name = prop_oneof![select(KNOWN).prop_map(str::to_owned), text()];
    let inner = leaf.clone().prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(object)
        ]
    });
    prop_oneof![3 => btree_map(name, inner, 0..8).prop_map(object), 1 => leaf]
}

fn object(members: std::collections::BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn place() -> impl Strategy<Value = PlaceSummary> {
    let degrees = || option::of((-200_000..200_000_i64).prop_map(|n| n as f64 / 1024.0));
    (option::of(text()), option::of(text()), option::of(any::<u32>()), degrees(), degrees()).prop_map(
        |(city, country, asn, latitude, longitude)| PlaceSummary {
            city,
            country,
            asn,
            latitude,
            longitude,
            radius_km: asn.map(|n| n as u16),
        },
    )
}

prop_compose! {
    fn event()(
        names in (text(), option::of(text()), option::of(text()), option::of(text())),
        source_ip in prop_oneof![
            option::of(text()),
            any::<std::net::IpAddr>().prop_map(|address| Some(address.to_string())),
        ],
        more in (option::of(text()), option::of(text()), option::of(text())),
        place in option::of(place()),
        evidence in evidence().prop_map(EventEvidence::from),
        kind in select(EventType::names().collect::<Vec<_>>()),
        severity in select(vec![Severity::Low, Severity::Medium, Severity::High, Severity::Critical]),
        time in 0..253_402_300_799_999_i64,
        count in any::<u32>(),
    ) -> Event {
        let (id, subject, key_id, detector) = names;
        let (action, request_id, policy_version) = more;
        let kind = EventType::parse(kind).unwrap();
        Event {
            id, key_id, source_ip, place, detector, evidence, action, request_id, policy_version,
            count: u64::from(count),
            ..Event::new(time, kind, severity, subject.map(|id| Subject::key(&id)))
        }
    }
}

/// What formats without an escape make of text, said once more and otherwise: no character that breaks a line or moves
/// text, no space at the ends, no more than there is room for.
fn shown(text: &str, most: usize, spaced: impl Fn(char) -> bool) -> Option<String> {
    let mut chars: Vec<char> = text.chars().map(|c| if spaced(c) { ' ' } else { c }).collect();
    let blank = |c: &char| c.is_whitespace();
    chars.drain(..chars.iter().take_while(|c| blank(c)).count());
    chars.truncate(most);
    while chars.last().is_some_and(blank) {
        chars.pop();
    }
    Some(chars.into_iter().collect()).filter(|text: &String| !text.is_empty())
}

fn breaks(c: char) -> bool {
    let moves = [0x2028..=0x202e, 0x2066..=0x2069];
    matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f) || moves.iter().any(|range| range.contains(&u32::from(c)))
}

/// Whether a person did it.
fn is_act(event: &Event) -> bool {
    let acts =
        ["BAN_LIFTED", "POLICY_CHANGED", "FEEDBACK_GIVEN", "SUBJECT_FORGOTTEN", "DEAD_LETTERS_CHANGED"];
    event.detector.as_deref() == Some("operator") || acts.contains(&event.kind.name())
}

/// Who acted, as the event says.
fn by(event: &Event) -> Option<String> {
    let acted = is_act(event) || event.kind == EventType::SinkTest;
    event.evidence["by"].as_str().filter(|_| acted).map(str::to_owned)
}

/// Whether `part` has nothing that `whole` has not, and all of it when that is short.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    let longest = 6 * whole.to_string().chars().count();
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    part == whole
        || longest > 1_500 && members(part).iter().all(|(name, member)| whole.get(name) == Some(member))
}

fn fields(event: &Event) -> [(&'static str, Option<String>, usize); 6] {
    [
        ("id", Some(event.id.clone()), 40),
        ("key", event.key_id.clone(), 255),
        ("subject", event.subject.as_ref().map(Subject::to_string), 255),
        ("detector", event.detector.clone(), 255),
        ("action", event.action.clone(), 63),
        ("request", event.request_id.clone(), 255),
    ]
}

proptest! {
    #[test]
    fn every_rendering_is_one_line_without_anything_that_acts_on_a_terminal(event in event()) {
        for format in Format::ALL {
            let text = line(*format, &event);
            prop_assert!(!text.chars().any(breaks), "{}: {text:?}", format.name());
            prop_assert!(!format.is_json() || text.is_ascii(), "{}: {text:?}", format.name());
            let text = message(&event, &text, &header());
            prop_assert!(!text.chars().any(breaks), "syslog: {text:?}");
        }
    }

    #[test]
    fn json_is_the_event(event in event()) {
        let read: Value = serde_json::from_str(&line(Format::Json, &event)).unwrap();
        prop_assert_eq!(read, serde_json::to_value(&event).unwrap());
    }

    #[test]
    fn ocsf_and_ecs_hold_the_event(event in event()) {
        let said =
                |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).map_or(Value::Null, Value::from);
        let ocsf: Value = serde_json::from_str(&line(Format::Ocsf, &event)).unwrap();
        prop_assert_eq!(&ocsf["unmapped"]["evidence"], event.evidence.as_json());
        prop_assert_eq!(&ocsf["metadata"]["uid"], &said(&Some(event.id.clone())));
        let ecs: Value = serde_json::from_str(&line(Format::Ecs, &event)).unwrap();
        prop_assert_eq!(&ecs["keyward"]["evidence"], event.evidence.as_json());
        let key = event.key_id.as_deref().and_then(|key| shown(key, 1024, breaks));
        let by = by(&event).and_then(|by| shown(&by, 1024, breaks));
        let (user, target) = if is_act(&event) { (by, key) } else { (key.or(by), None) };
        prop_assert_eq!(ecs["user"]["id"].as_str(), user.as_deref());
        prop_assert_eq!(ecs["user"]["target"]["id"].as_str(), target.as_deref());
        prop_assert_eq!(&ecs["event"]["id"].as_str().unwrap_or_default(), &event.id);
    }

    #[test]
    fn readers_of_cef_get_the_values_back(event in event()) {
        let parsed = parsers::cef(&line(Format::Cef, &event));
        let kind = event.kind.name();
        prop_assert_eq!(&parsed.header[..3], ["CEF:0", "Keyward", "Keyward"]);
        prop_assert_eq!(&parsed.header[4], kind);
        let user = if is_act(&event) { "duid" } else { "suid" };
        let keys = ["externalId", user, "cs5", "cs1", "act", "cs3"];
        for (key, (_, value, most)) in keys.into_iter().zip(fields(&event)) {
            let value = value.and_then(|text| shown(&text, most, |c| breaks(c) && !matches!(c, '\r' | '\n')));
            prop_assert_eq!(parsed.pairs.get(key), value.as_ref(), "{}", key);
        }
        if is_act(&event) {
            let by = by(&event).and_then(|by| shown(&by, 1023, |c| breaks(c) && !matches!(c, '\r' | '\n')));
            prop_assert_eq!(parsed.pairs.get("suid"), by.as_ref());
        }
        if let Some(evidence) = parsed.pairs.get("cs6") {
            prop_assert!(is_part_of(&serde_json::from_str(evidence).unwrap(), &event.evidence));
        }
        for label in parsed.pairs.keys().filter_map(|key| key.strip_suffix("Label")) {
            prop_assert!(parsed.pairs.contains_key(label), "{label} has a label and no value");
        }
    }

    #[test]
    fn readers_of_leef_get_the_values_back(event in event()) {
        let parsed = parsers::leef(&line(Format::Leef, &event));
        prop_assert_eq!(&parsed.header[..3], ["LEEF:2.0", "Keyward", "Keyward"]);
        prop_assert_eq!(&parsed.header[4], event.kind.name());
        let keys = ["externalId", "usrName", "subject", "detector", "action", "requestId"];
        for (key, (_, value, _)) in keys.into_iter().zip(fields(&event)) {
            let value = if key == "usrName" && is_act(&event) { by(&event) } else { value };
            let value = value.and_then(|text| shown(&text, 255, |c| breaks(c) || c == '^'));
            prop_assert_eq!(parsed.pairs.get(key), value.as_ref(), "{}", key);
        }
        if let Some(evidence) = parsed.pairs.get("evidence") {
            prop_assert!(is_part_of(&serde_json::from_str(evidence).unwrap(), &event.evidence));
        }
    }

    #[test]
    fn readers_of_syslog_get_the_values_back(event in event(), names in (text(), text(), text(), text())) {
        let settings = super::SyslogHeader {
            facility: event.count as u8, hostname: names.0, app_name: names.1, proc_id: names.2, sd_id: names.3,
        };
        let body = line(Format::Cef, &event);
        let parsed = parsers::syslog(&message(&event, &body, &settings));
        let priority: u32 = parsed.header[0].strip_prefix('<').unwrap().strip_suffix(">1").unwrap().parse().unwrap();
        prop_assert!(priority <= 191);
        prop_assert_eq!(crate::domain::event::parse_millis(&parsed.header[1]).unwrap(), event.time);
        prop_assert_eq!(&parsed.header[5], event.kind.name());
        prop_assert_eq!(parsed.rest.strip_prefix('\u{feff}').is_some(), !body.is_ascii());
        prop_assert_eq!(parsed.rest.trim_start_matches('\u{feff}'), body);
        for (key, value, _) in fields(&event).into_iter().take(5) {
            let value = value.and_then(|text| shown(&text, 255, breaks)).unwrap_or_default();
            prop_assert_eq!(parsed.pairs.get(key).cloned().unwrap_or_default(), value, "{}", key);
        }
    }
}

#[test]
fn long_evidence_is_left_out_in_part_and_said_to_be() {
    let mut event = super::cases::impossible_travel();
    event.evidence["trace"] = "x".repeat(40_000).into();
    let ocsf: Value = serde_json::from_str(&line(Format::Ocsf, &event)).unwrap();
    assert_eq!(ocsf["metadata"]["is_truncated"], true);
    assert_eq!(ocsf["unmapped"]["evidence"]["speed_kmh"], 18528);
    assert!(ocsf["unmapped"]["evidence"].get("trace").is_none());
    let ecs: Value = serde_json::from_str(&line(Format::Ecs, &event)).unwrap();
    assert_eq!(ecs["keyward"]["evidence_truncated"], true);
    for format in [Format::Ocsf, Format::Ecs, Format::Cef, Format::Leef] {
        assert!(line(format, &event).len() < 20_000, "{}", format.name());
    }
}

#[test]
fn a_long_summary_is_cut() {
    let mut event = super::cases::impossible_travel();
    event.evidence["summary"] = "y".repeat(5_000).into();
    assert_eq!(parsers::cef(&line(Format::Cef, &event)).pairs["msg"].len(), 1023);
}
