//! What a report makes of events.

use serde_json::json;

use super::{super::table, *};
use crate::domain::{
    decision::{Action, Would},
    finding::Severity,
    place::PlaceSummary,
};

const NOW: Millis = 1_772_442_000_000;

fn event(kind: EventType, detector: &str, evidence: Value) -> Event {
    let place =
        PlaceSummary { city: Some("Bucharest".into()), country: Some("RO".into()), ..Default::default() };
    Event {
        key_id: Some("a".into()),
        detector: Some(detector.into()),
        request_id: Some("r".into()),
        place: Some(place),
        evidence: evidence.into(),
        ..Event::new(NOW, kind, Severity::Low, Some(Subject::key("a")))
    }
}

fn observed(event: Event) -> Event {
    let would = Would::refuse(Action::TemporaryBan, Reason::ApiKeyBanned, None, NOW);
    Event { would: Some(would), action: Some("none".into()), ..event }
}

fn blocked(call: &str, count: u64) -> Event {
    let evidence = json!({ "since": format_millis(NOW), "origin": "detector", "call": call });
    let event = event(EventType::BannedRequestBlocked, "ladder", evidence);
    observed(Event { count, time: NOW + 60_000, ..event })
}

fn ban() -> Event {
    let evidence = json!({ "since": format_millis(NOW) });
    observed(event(EventType::TemporaryBan, "impossible_travel", evidence))
}

fn limit(unit: &str, call: &str) -> Value {
    json!({ "window": "1min", "unit": unit, "limit": 5, "used": 5, "call": call })
}

fn report(events: &[Event]) -> Report {
    let mut tally = Tally::default();
    events.iter().for_each(|event| tally.add(event));
    tally.report((NOW - 1, NOW + 3_600_000), &json!("observe"), Some(12))
}

#[test]
fn what_a_ban_would_have_refused_is_put_down_to_the_detector_that_made_it() {
    let report = report(&[ban(), blocked("record", 1), blocked("record", 211)]);
    assert_eq!((report.keys_hit, report.would_refuse, report.refused), (1, 213, 0));
    let detectors: Vec<_> = report.by_detector.iter().map(|t| (t.name.as_str(), t.would_refuse)).collect();
    assert_eq!(detectors, [("impossible_travel", 213)]);
    let reasons: Vec<_> = report.by_reason.iter().map(|t| (t.name.as_str(), t.would_refuse)).collect();
    assert_eq!(reasons, [("API_KEY_BANNED", 212), ("CRITICAL_ANOMALY_DETECTED", 1)]);
    let row = &report.subjects[0];
    assert_eq!(
        (row.first.as_str(), row.last.as_str()),
        ("2026-03-02T09:00:00.000Z", "2026-03-02T09:01:00.000Z")
    );
    assert!(row.places.contains("Bucharest, RO"));
}

#[test]
fn a_request_that_was_asked_about_and_reported_is_one() {
    let report = report(&[ban(), blocked("check", 10), blocked("record", 9)]);
    assert_eq!(report.would_refuse, 11);
    assert_eq!(report.subjects[0].answers, BTreeMap::from([("check", 10), ("record", 10)]));
}

#[test]
fn what_was_refused_is_counted_apart_from_what_would_have_been() {
    let limited = event(EventType::RateLimitExceeded, "limits", limit("tokens", "check"));
    let budget = event(EventType::RateLimitExceeded, "limits", limit("cost_usd", "record"));
    let report = report(&[limited, observed(budget)]);
    assert_eq!((report.would_refuse, report.refused), (1, 1));
    assert_eq!(
        report.subjects[0].reasons,
        BTreeMap::from([("BUDGET_EXCEEDED", 1), ("RATE_LIMIT_EXCEEDED", 1)])
    );
}

#[test]
fn an_earlier_ban_and_an_operators_are_named_as_such() {
    let mut by_person = blocked("record", 1);
    by_person.evidence["origin"] = json!("operator");
    let names = |event| report(&[event]).by_detector[0].name.clone();
    assert_eq!(names(by_person), "operator");
    assert_eq!(names(blocked("record", 1)), "earlier ban");
}

#[test]
fn a_throttle_hits_a_subject_and_refuses_nothing() {
    let report = report(&[observed(event(EventType::Throttled, "traffic_burst", json!({})))]);
    assert_eq!((report.subjects.len(), report.keys_hit, report.would_refuse), (1, 0, 0));
    assert_eq!(report.by_detector[0].throttles, 1);
}

#[test]
fn a_table_fits_a_hundred_columns_whatever_subjects_are_called() {
    let mut long = blocked("record", 4_000_000_000);
    long.subject = Some(Subject::key(&"k".repeat(200)));
    long.place = Some(PlaceSummary { city: Some("L".repeat(200)), ..Default::default() });
    let mut report = report(&[ban(), long]);
    let key = report.subjects[0].subject.clone();
    report.put_costs(&HashMap::from([(key, "1234567.123456789".to_owned())]));
    let text = table::text(&report);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
    }
    for part in ["keys hit         1 of 12 keys seen", "the policy observes", "1234567.1234", "Bucharest, RO"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
