//! What the formats need to know of an event and the event does not say in so many words: which group it belongs to,
//! what became of the request, how severe it is as a number, and as much of its evidence as fits.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::json;
use crate::domain::{
    address,
    alert::AlertState,
    event::{AlertRuleFired, Event, EventType, PolicyChanged},
    finding::Severity,
};

/// The most bytes of evidence that are forwarded: more than any detector writes, and less than the 32,766 bytes that
/// Elasticsearch takes as one keyword.
pub(crate) const MOST_EVIDENCE: usize = 16 * 1024;

/// The kind of thing that an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventGroup {
    /// A detector found something.
    Anomaly,
    /// The ladder answered: a throttle or a ban.
    Response,
    /// A request was refused by what is in force.
    Refusal,
    /// Something to know, on which nothing was done.
    Notice,
    /// A ban ran out.
    Expiry,
    /// A person changed something.
    Administration,
    /// Keyward itself has trouble, or is over it.
    Service,
}

/// Whether it says that an alert rule is no longer true.
pub(crate) fn is_cleared(event: &Event) -> bool {
    event.kind == EventType::AlertRule
        && event.read::<AlertRuleFired>().is_some_and(|fired| fired.state == AlertState::Cleared)
}

impl EventGroup {
    /// The group of an event.
    pub(crate) fn of(event: &Event) -> Self {
        if event.detector.as_deref() == Some("operator") {
            return Self::Administration;
        }
        match event.kind {
            EventType::Anomaly(_) | EventType::HighSeverityAnomaly | EventType::SpendAnomaly => Self::Anomaly,
            EventType::Throttled
            | EventType::TemporaryBan
            | EventType::PermanentBan
            | EventType::KeyCutOff => Self::Response,
            EventType::BannedRequestBlocked
            | EventType::RateLimitExceeded
            | EventType::KeyNotAllowed
            | EventType::UnknownKey => Self::Refusal,
            EventType::ProjectMismatch
            | EventType::KeySpared
            | EventType::EmergencyHook
            | EventType::SinkTest
            | EventType::BudgetUsed
            | EventType::LimitUsed
            | EventType::UsageMismatch
            | EventType::AlertRule
            | EventType::CardinalityCapped => Self::Notice,
            EventType::BanExpired => Self::Expiry,
            EventType::BanLifted
            | EventType::PolicyChanged
            | EventType::FeedbackGiven
            | EventType::SubjectForgotten
            | EventType::DeadLettersChanged => Self::Administration,
            EventType::EventGap
            | EventType::ProviderCredentialRefused
            | EventType::StoreDegraded
            | EventType::StoreRecovered
            | EventType::ClockJumped
            | EventType::DataMissing
            | EventType::AnswersDegraded
            | EventType::UpkeepFailed => Self::Service,
        }
    }

    /// The name, the same in every format and version.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Response => "response",
            Self::Refusal => "refusal",
            Self::Notice => "notice",
            Self::Expiry => "expiry",
            Self::Administration => "administration",
            Self::Service => "service",
        }
    }
}

/// What became of the request or the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Banned: this request and those to come are refused.
    Revoked,
    /// Refused by a ban or a limit.
    Blocked,
    /// Refused since the key has no right to it.
    Unauthorized,
    /// The requests of the subject are slowed down.
    Slowed,
    /// Let through, and somebody is told.
    Alerted,
    /// Let through, since the detector or the whole policy only watches.
    Shadowed,
    /// Let through, or nothing to do with one request.
    Noted,
    /// The ban or throttle has ended.
    Released,
}

impl Effect {
    /// The effect that an event tells of.
    pub(crate) fn of(event: &Event) -> Self {
        if event.would.is_some() {
            // A finding is still told to people.
            let is_reported = event.action.as_deref() == Some("alert");
            return if is_reported { Self::Alerted } else { Self::Shadowed };
        }
        match event.kind {
            EventType::BannedRequestBlocked | EventType::RateLimitExceeded => return Self::Blocked,
            EventType::KeyNotAllowed | EventType::UnknownKey => return Self::Unauthorized,
            EventType::BanExpired | EventType::BanLifted => return Self::Released,
            _ => {}
        }
        match event.action.as_deref() {
            Some("temporary_ban" | "permanent_ban") => Self::Revoked,
            Some("throttle") => Self::Slowed,
            Some("alert") => Self::Alerted,
            Some("shadow") => Self::Shadowed,
            _ => Self::Noted,
        }
    }
}

/// What a person did to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was none before.
    Made,
    /// It says something else now.
    Altered,
    /// There is none any more.
    Removed,
}

impl Change {
    /// The change that a `POLICY_CHANGED` tells: null where there was no document, or is none.
    pub(crate) fn of(event: &Event) -> Self {
        match event.read() {
            Some(PolicyChanged::Registry { after: Value::Null, .. })
            | Some(PolicyChanged::Allowlist { entry: Value::Null, .. }) => Self::Removed,
            Some(PolicyChanged::Registry { before: Value::Null, .. }) => Self::Made,
            _ => Self::Altered,
        }
    }
}

/// The severity from 1 to 10, the same in every format that counts so, so that one threshold does for all. The bands
/// are CEF's: 0 to 3 low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high.
pub(crate) fn severity_of_ten(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

/// Who acted, of an act of a person: the id of a token, `local` or `cli`.
pub(crate) fn actor(event: &Event) -> Option<&str> {
    let acted = EventGroup::of(event) == EventGroup::Administration || event.kind == EventType::SinkTest;
    event.evidence.by().filter(|_| acted)
}

/// The source address, when it is one: SIEMs refuse whole events for an address that does not parse.
pub(crate) fn address(event: &Event) -> Option<IpAddr> {
    address::parse(event.source_ip.as_deref()?).ok()
}

/// The coordinates of the place, when they are on this earth.
pub(crate) fn coordinates(event: &Event) -> Option<(f64, f64)> {
    let place = event.place.as_ref()?;
    let (latitude, longitude) = (place.latitude?, place.longitude?);
    (latitude.abs() <= 90.0 && longitude.abs() <= 180.0).then_some((latitude, longitude))
}

/// A text of the event that is there and not empty.
pub(crate) fn present(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// As many members of the evidence as fit into `most` bytes of JSON, shortest first, and whether that is not all.
pub(crate) fn evidence(event: &Event, most: usize) -> (Value, bool) {
    let size = |value: &Value| json::line(value).len();
    let whole = event.evidence.as_json();
    if size(whole) <= most {
        return (whole.clone(), false);
    }
    let Value::Object(members) = whole else { return (Value::Null, true) };
    let mut sized: Vec<(usize, &String, &Value)> =
        members.iter().map(|(name, member)| (size(member) + name.len() * 6 + 4, name, member)).collect();
    sized.sort_by_key(|(bytes, name, _)| (*bytes, *name));
    let mut left = most.saturating_sub(2);
    let mut kept = Map::new();
    for (bytes, name, member) in sized {
        if bytes > left {
            break;
        }
        left -= bytes;
        kept.insert(name.clone(), member.clone());
    }
    (Value::Object(kept), true)
}
