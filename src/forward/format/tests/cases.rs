//! Events as the engine words them, for golden files.

use serde_json::{Value, json};

use crate::domain::{
    Millis,
    decision::{Action, Reason, Would},
    event::{Event, EventType, parse_millis},
    finding::{AnomalyKind, Severity},
    place::PlaceSummary,
    subject::Subject,
};

const NOW: Millis = 1_772_442_802_123;
const KEY: &str = "k1:9f2c41d07be5a8c3";

/// Every case, by the name of its golden files.
pub(super) fn all() -> Vec<(&'static str, Event)> {
    vec![
        ("impossible_travel", impossible_travel()),
        ("high_severity", high_severity()),
        ("throttled", throttled()),
        ("temporary_ban", temporary_ban()),
        ("permanent_ban", permanent_ban()),
        ("ban_expired", ban_expired()),
        ("operator_ban", operator_ban()),
        ("ban_lifted", ban_lifted()),
        ("policy_changed", policy_changed()),
        ("key_deleted", key_deleted()),
        ("feedback_given", feedback_given()),
        ("dead_letters_changed", dead_letters_changed()),
        ("rate_limit_exceeded", rate_limit_exceeded()),
        ("banned_request_blocked", banned_request_blocked()),
        ("observed_impossible_travel", observed(impossible_travel(), "alert")),
        ("observed_throttled", observed(throttled(), "none")),
        ("observed_temporary_ban", observed(temporary_ban(), "none")),
        ("observed_permanent_ban", observed(permanent_ban(), "none")),
        ("observed_rate_limit_exceeded", observed(rate_limit_exceeded(), "none")),
        ("observed_banned_request_blocked", observed(banned_request_blocked(), "none")),
        ("observed_unknown_key", observed(unknown_key_ipv6(), "none")),
        ("observed_key_cut_off", observed(key_cut_off(), "none")),
        ("observed_operator_ban", observed(operator_ban(), "none")),
        ("unknown_key_ipv6", unknown_key_ipv6()),
        ("store_degraded", store_degraded()),
        ("store_recovered", store_recovered()),
        ("hostile_text", hostile_text()),
    ]
}

/// A bare event and a full one of each type.
pub(super) fn every_type() -> Vec<Event> {
    let kinds = EventType::names().map(|name| EventType::parse(name).unwrap());
    let bare = |kind| Event::new(NOW, kind, Severity::Medium, None);
    kinds.flat_map(|kind| [bare(kind), Event { kind, ..impossible_travel() }]).collect()
}

/// An event as it is while the policy only observes.
pub(super) fn observed(event: Event, done: &str) -> Event {
    let action =
        Action::ALL.into_iter().find(|action| Some(action.name()) == event.action.as_deref()).unwrap();
    let reason = match event.kind {
        EventType::BannedRequestBlocked | EventType::KeyCutOff => Reason::ApiKeyBanned,
        EventType::RateLimitExceeded => Reason::RateLimitExceeded,
        EventType::UnknownKey => Reason::UnknownKey,
        _ if event.detector.as_deref() == Some("operator") => Reason::ApiKeyBanned,
        _ => Reason::CriticalAnomalyDetected,
    };
    let until = event.evidence["until"].as_str().map(|until| parse_millis(until).unwrap());
    let would = match event.kind {
        EventType::Throttled => Would::go_on(action),
        _ => Would::refuse(action, reason, until, event.time),
    };
    let mut event = event;
    if event.kind == EventType::UnknownKey {
        event.evidence["summary"] = json!("Would be refused: the key is not registered.");
    }
    Event { action: Some(done.to_owned()), would: Some(would), ..event }
}

fn key_cut_off() -> Event {
    let evidence = json!({
        "summary": "Spent $390 on 2026-03-02, usually $100 a day; critical at 3 hourly checks in a row.",
        "observed": "390", "baseline": "100", "threshold": "300", "samples": 7,
    });
    Event {
        id: "e17-1772442802140-0".to_owned(),
        key_id: Some(KEY.to_owned()),
        detector: Some("spend".to_owned()),
        evidence: evidence.into(),
        action: Some("permanent_ban".to_owned()),
        policy_version: Some("p-3f9c2b1a".to_owned()),
        ..Event::new(NOW, EventType::KeyCutOff, Severity::Critical, Some(key()))
    }
}

fn key() -> Subject {
    Subject::key(KEY)
}

fn from_bucharest(kind: EventType, severity: Severity, detector: &str, evidence: Value) -> Event {
    Event {
        id: "e17-1772442802130-0".to_owned(),
        key_id: Some(KEY.to_owned()),
        source_ip: Some("203.0.113.7".to_owned()),
        place: Some(PlaceSummary {
            city: Some("Bucharest".to_owned()),
            country: Some("RO".to_owned()),
            asn: Some(9050),
            latitude: Some(44.4323),
            longitude: Some(26.1063),
            radius_km: Some(20),
        }),
        detector: Some(detector.to_owned()),
        evidence: evidence.into(),
        request_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        policy_version: Some("p-3f9c2b1a".to_owned()),
        ..Event::new(NOW, kind, severity, Some(key()))
    }
}

fn travel_evidence() -> Value {
    json!({
        "summary": "Used in Bucharest 30 minutes after Singapore, 9,264 km away: 18,528 km/h, limit 1,000.",
        "observed": 18528, "baseline": 0, "threshold": 1000, "samples": 4210,
        "previous": { "city": "Singapore", "country": "SG", "asn": 3758, "latitude": 1.2897, "longitude": 103.8501 },
        "current": { "city": "Bucharest", "country": "RO", "asn": 9050, "latitude": 44.4323, "longitude": 26.1063 },
        "distance_km": 9264, "speed_kmh": 18528, "limit_kmh": 1000, "seconds": 1800,
        "new": ["country", "network"], "weight": 6.25, "known_days": 14,
    })
}

pub(super) fn impossible_travel() -> Event {
    let kind = EventType::Anomaly(AnomalyKind::ImpossibleTravel);
    let event = from_bucharest(kind, Severity::Critical, "impossible_travel", travel_evidence());
    Event { action: Some("temporary_ban".to_owned()), ..event }
}

fn high_severity() -> Event {
    let evidence = json!({
        "anomaly": "IMPOSSIBLE_TRAVEL", "score": 0.998,
        "recommendation": "Ask the key's owner whether they use this place; rotate the key if not.",
    });
    Event { kind: EventType::HighSeverityAnomaly, evidence: evidence.into(), ..impossible_travel() }
}

fn standing(until: Option<&str>) -> Value {
    json!({ "since": "2026-03-02T09:13:22.123Z", "until": until, "strikes": 1.0, "origin": "detector" })
}

pub(super) fn throttled() -> Event {
    let mut evidence = standing(Some("2026-03-02T09:28:22.123Z"));
    let cause = json!({
        "summary": "412 requests in a minute; usual at this hour: 38.", "observed": 412, "baseline": 38.4,
        "threshold": 190.5, "samples": 2016,
    });
    evidence["cause"] = json!({ "anomaly": "TRAFFIC_BURST", "evidence": cause });
    let event = from_bucharest(EventType::Throttled, Severity::Medium, "traffic_burst", evidence);
    Event { action: Some("throttle".to_owned()), ..event }
}

fn temporary_ban() -> Event {
    let mut evidence = standing(Some("2026-03-02T10:13:22.123Z"));
    evidence["cause"] = json!({ "anomaly": "IMPOSSIBLE_TRAVEL", "evidence": travel_evidence() });
    let event = from_bucharest(EventType::TemporaryBan, Severity::High, "impossible_travel", evidence);
    Event { action: Some("temporary_ban".to_owned()), ..event }
}

fn permanent_ban() -> Event {
    let mut event = temporary_ban();
    event.evidence["until"] = Value::Null;
    event.evidence["strikes"] = json!(4.0);
    let action = Some("permanent_ban".to_owned());
    Event { kind: EventType::PermanentBan, severity: Severity::Critical, action, ..event }
}

fn ban_expired() -> Event {
    let evidence = json!({ "since": "2026-03-02T09:13:22.123Z", "until": "2026-03-02T10:13:22.123Z" });
    Event {
        id: "e17-1772446402900-0".to_owned(),
        detector: Some("ladder".to_owned()),
        evidence: evidence.into(),
        ..Event::new(NOW + 3_600_000, EventType::BanExpired, Severity::Low, Some(key()))
    }
}

fn by_operator(kind: EventType, severity: Severity, subject: Option<Subject>, mut evidence: Value) -> Event {
    evidence["by"] = json!("5b1e9c07a2d4");
    Event {
        id: "e3-1772442802999-1".to_owned(),
        detector: Some("operator".to_owned()),
        key_id: subject.as_ref().filter(|s| **s == key()).map(|_| KEY.to_owned()),
        evidence: evidence.into(),
        ..Event::new(NOW, kind, severity, subject)
    }
}

fn operator_ban() -> Event {
    let mut evidence = standing(Some("2026-03-03T09:13:22.123Z"));
    evidence["origin"] = json!("operator");
    evidence["reason"] = json!("leaked in a public repository");
    let event = by_operator(EventType::TemporaryBan, Severity::High, Some(key()), evidence);
    Event { action: Some("temporary_ban".to_owned()), ..event }
}

fn ban_lifted() -> Event {
    let evidence = json!({ "reason": "the owner travels; ticket=SEC-118" });
    let event = by_operator(EventType::BanLifted, Severity::Low, Some(key()), evidence);
    Event { action: Some("none".to_owned()), ..event }
}

fn policy_changed() -> Event {
    let evidence = json!({ "version": "p-77aa10ce", "former_version": "p-3f9c2b1a" });
    by_operator(EventType::PolicyChanged, Severity::Low, None, evidence)
}

fn key_deleted() -> Event {
    let before = json!({ "project": "shop", "state": "active" });
    let evidence = json!({ "document": "key", "name": KEY, "before": before, "after": null });
    by_operator(EventType::PolicyChanged, Severity::Low, None, evidence)
}

fn feedback_given() -> Event {
    let evidence = json!({
        "event": "e17-1772442802130-0", "verdict": "benign", "note": "the owner is in Bucharest this week",
        "judged": impossible_travel(),
    });
    by_operator(EventType::FeedbackGiven, Severity::Low, Some(key()), evidence)
}

fn dead_letters_changed() -> Event {
    let evidence = json!({
        "summary": "Dead letters of the sink siem given up: 2.", "sink": "siem", "act": "discard", "count": 2,
        "events": ["e17-1772442802130-0", "e17-1772442802131-0"],
    });
    by_operator(EventType::DeadLettersChanged, Severity::Low, None, evidence)
}

fn rate_limit_exceeded() -> Event {
    let evidence = json!({
        "scope": "plan", "model": null, "window": "1min", "unit": "requests", "limit": 600, "used": 600,
        "requested_tokens": 1200, "requested_cost_usd": "0.018",
    });
    let event = from_bucharest(EventType::RateLimitExceeded, Severity::Medium, "limits", evidence);
    Event { action: Some("throttle".to_owned()), count: 318, ..event }
}

fn banned_request_blocked() -> Event {
    let evidence = standing(Some("2026-03-02T10:13:22.123Z"));
    let event = from_bucharest(EventType::BannedRequestBlocked, Severity::Low, "ladder", evidence);
    Event { time: NOW + 60_000, action: Some("temporary_ban".to_owned()), ..event }
}

fn unknown_key_ipv6() -> Event {
    let evidence = json!({
        "summary": "Refused: the key is not registered.", "cause": "unknown_key", "endpoint": "/v1/chat/completions",
        "model": "small-1", "project": null,
    });
    let event = from_bucharest(EventType::UnknownKey, Severity::Low, "registry", evidence);
    let place = PlaceSummary {
        city: Some("S\u{e3}o Paulo".to_owned()),
        country: Some("BR".to_owned()),
        ..Default::default()
    };
    Event {
        subject: Some(Subject::parse("ip:2001:db8:7::1").unwrap()),
        source_ip: Some("2001:db8:7::1".to_owned()),
        place: Some(place),
        action: Some("none".to_owned()),
        count: 12,
        ..event
    }
}

fn store_degraded() -> Event {
    Event {
        id: "e0-1772442802200-0".to_owned(),
        detector: Some("store".to_owned()),
        evidence: json!({ "error": "the store is unavailable: no answer within the deadline" }).into(),
        ..Event::new(NOW, EventType::StoreDegraded, Severity::High, None)
    }
}

fn store_recovered() -> Event {
    let evidence = json!({ "since": "2026-03-02T09:13:22.123Z", "seconds": 41, "subjects_reconciled": 7 });
    let event = Event {
        kind: EventType::StoreRecovered,
        severity: Severity::Medium,
        evidence: evidence.into(),
        ..store_degraded()
    };
    Event { time: NOW + 41_000, ..event }
}

/// What somebody might send to break a line, a header, a terminal or a reader.
fn hostile_text() -> Event {
    let text =
        "a|b=c\\d^e\"f]g\r\nCEF:0|x|\t\u{1b}[31mred\u{1b}[0m\u{2028}next\u{202e}desrever\u{85}\u{7f}\u{0}z";
    let evidence = json!({ "summary": text, "reason": text, text: text });
    Event {
        id: text.to_owned(),
        source_ip: Some(text.to_owned()),
        action: Some(text.to_owned()),
        detector: Some(text.to_owned()),
        request_id: Some(text.to_owned()),
        ..from_bucharest(EventType::KeyNotAllowed, Severity::Medium, "registry", evidence)
    }
}
