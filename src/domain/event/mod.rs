//! Entries of the security-event log.

#[cfg(test)]
pub(crate) mod golden;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::calendar::{format_millis, parse_millis};
use super::{
    Millis, decision::Would, finding::AnomalyKind, finding::Severity, place::PlaceSummary, subject::Subject,
};

/// Types of events beside the anomaly types. Names on the wire are fixed by the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// A detector's finding about one request.
    Anomaly(AnomalyKind),
    /// A high or critical finding, whatever its detector: one type to alert on.
    HighSeverityAnomaly,
    /// A request of a banned subject was refused.
    BannedRequestBlocked,
    /// A request was refused by a limit.
    RateLimitExceeded,
    /// A request was refused because its key may not make it.
    KeyNotAllowed,
    /// A request was refused because its key is not registered.
    UnknownKey,
    /// A subject was throttled.
    Throttled,
    /// A subject was banned for a time.
    TemporaryBan,
    /// A subject was banned for good.
    PermanentBan,
    /// A ban of an address leaves a key alone that has long succeeded from there.
    KeySpared,
    /// A ban was lifted by a person.
    BanLifted,
    /// A ban ran out.
    BanExpired,
    /// Thresholds, modes, ladder, allowlist, or a plan, project or key were changed by a person.
    PolicyChanged,
    /// An analyst said what an event was.
    FeedbackGiven,
    /// A subject's data was deleted by a person.
    SubjectForgotten,
    /// A key was reported with a project other than its registered one.
    ProjectMismatch,
    /// So much of a budget is used.
    BudgetUsed,
    /// An alert rule fired.
    AlertRule,
    /// A key's day is unlike its days before in what it spends.
    SpendAnomaly,
    /// A key was cut off because of what it spends.
    KeyCutOff,
    /// New subjects came faster than the cap on them allows.
    CardinalityCapped,
    /// Events were trimmed or lost before they could be kept.
    EventGap,
    /// An emergency hook was called, and what came back.
    EmergencyHook,
    /// A sink was tried out.
    SinkTest,
    /// A person had dead letters of a sink sent again, or gave them up.
    DeadLettersChanged,
    /// The store does not answer; each instance decides by itself.
    StoreDegraded,
    /// The store answers again.
    StoreRecovered,
}

const PLAIN: &[(EventType, &str)] = &[
    (EventType::HighSeverityAnomaly, "HIGH_SEVERITY_ANOMALY"),
    (EventType::BannedRequestBlocked, "BANNED_REQUEST_BLOCKED"),
    (EventType::RateLimitExceeded, "RATE_LIMIT_EXCEEDED"),
    (EventType::KeyNotAllowed, "KEY_NOT_ALLOWED"),
    (EventType::UnknownKey, "UNKNOWN_KEY"),
    (EventType::Throttled, "THROTTLED"),
    (EventType::TemporaryBan, "TEMPORARY_BAN"),
    (EventType::PermanentBan, "PERMANENT_BAN"),
    (EventType::KeySpared, "KEY_SPARED"),
    (EventType::BanLifted, "BAN_LIFTED"),
    (EventType::BanExpired, "BAN_EXPIRED"),
    (EventType::PolicyChanged, "POLICY_CHANGED"),
    (EventType::FeedbackGiven, "FEEDBACK_GIVEN"),
    (EventType::SubjectForgotten, "SUBJECT_FORGOTTEN"),
    (EventType::ProjectMismatch, "PROJECT_MISMATCH"),
    (EventType::BudgetUsed, "BUDGET_USED"),
    (EventType::AlertRule, "ALERT_RULE"),
    (EventType::SpendAnomaly, "SPEND_ANOMALY"),
    (EventType::KeyCutOff, "KEY_CUT_OFF"),
    (EventType::CardinalityCapped, "CARDINALITY_CAPPED"),
    (EventType::EventGap, "EVENT_GAP"),
    (EventType::EmergencyHook, "EMERGENCY_HOOK"),
    (EventType::SinkTest, "SINK_TEST"),
    (EventType::DeadLettersChanged, "DEAD_LETTERS_CHANGED"),
    (EventType::StoreDegraded, "STORE_DEGRADED"),
    (EventType::StoreRecovered, "STORE_RECOVERED"),
];

impl EventType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anomaly(kind) => kind.name(),
            other => PLAIN.iter().find(|(t, _)| *t == other).map_or("UNKNOWN", |(_, name)| name),
        }
    }

    /// The type that a name on the wire stands for.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = PLAIN.iter().find(|(_, n)| *n == name).map(|(t, _)| *t);
        plain.or_else(|| AnomalyKind::ALL.iter().find(|k| k.name() == name).map(|k| Self::Anomaly(*k)))
    }

    /// Every name on the wire.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().map(|(_, name)| *name).chain(AnomalyKind::ALL.iter().map(|k| k.name()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown event type {name}")))
    }
}

/// One entry of the log, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Stable id; empty until the store has appended it.
    #[serde(default)]
    pub id: String,
    /// When it happened, in milliseconds; RFC 3339 on the wire.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub time: Millis,
    /// Of which type it is.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "TEMPORARY_BAN")]
    pub kind: EventType,
    /// How bad it is, from info to critical.
    pub severity: Severity,
    /// About whom; `None` for events about the service itself.
    #[schema(value_type = Option<String>)]
    pub subject: Option<Subject>,
    /// The key of the request, when there was one.
    pub key_id: Option<String>,
    /// The exact source address, when there was one.
    pub source_ip: Option<String>,
    /// Where from, when known.
    pub place: Option<PlaceSummary>,
    /// The detector behind it, or `operator`, `ladder`, `limits`, `budgets`, `alerts`, `spend`, `registry` or `store`.
    pub detector: Option<String>,
    /// The numbers behind it; of an operator's act also `by`: who acted, by the id of the token.
    pub evidence: serde_json::Value,
    /// What was done about it: the name of an action.
    pub action: Option<String>,
    /// What would have been done, where the policy only observes: then nothing that this event tells of was enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<Would>,
    /// The request behind it.
    pub request_id: Option<String>,
    /// The policy that judged.
    pub policy_version: Option<String>,
    /// How many equal events this one stands for.
    pub count: u64,
}

impl Event {
    /// An event with nothing but its time, type, severity and subject.
    pub fn new(time: Millis, kind: EventType, severity: Severity, subject: Option<Subject>) -> Self {
        Self {
            id: String::new(),
            time,
            kind,
            severity,
            subject,
            key_id: None,
            source_ip: None,
            place: None,
            detector: None,
            evidence: serde_json::Value::Null,
            action: None,
            would: None,
            request_id: None,
            policy_version: None,
            count: 1,
        }
    }
}

/// Serde for times on the wire: RFC 3339 UTC with milliseconds.
pub mod rfc3339_millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Millis;

    /// Writes the time as text.
    pub fn serialize<S: Serializer>(time: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_millis(*time))
    }

    /// Reads the time; anything that is not RFC 3339 is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        super::parse_millis(&text).map_err(serde::de::Error::custom)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::super::Millis;

        /// Writes the time or null.
        pub fn serialize<S: Serializer>(time: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads the time or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
            let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.map(|t| super::super::parse_millis(&t).map_err(serde::de::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_that_leads_back_to_it() {
        for name in EventType::names() {
            assert_eq!(EventType::parse(name).unwrap().name(), name);
        }
    }
}
