//! The types of events, and their names on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::finding::AnomalyKind;

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
    /// Thresholds, modes, ladder, allowlist, a plan, project or key, or a token were changed by a person.
    PolicyChanged,
    /// An analyst said what an event was.
    FeedbackGiven,
    /// A subject's data was deleted by a person.
    SubjectForgotten,
    /// A key was reported with a project other than its registered one.
    ProjectMismatch,
    /// So much of a limit on US dollars is used.
    BudgetUsed,
    /// So much of a limit on requests or tokens is used.
    LimitUsed,
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
    /// A provider refuses the key that the gateway sends it.
    ProviderCredentialRefused,
    /// A provider's bill differs from what the ledger counted.
    UsageMismatch,
    /// The store does not answer; each instance decides by itself.
    StoreDegraded,
    /// The store answers again.
    StoreRecovered,
    /// The clock that decisions follow jumped.
    ClockJumped,
    /// What the store must hold is not there.
    DataMissing,
    /// A share of the answers was given without the store.
    AnswersDegraded,
    /// Work beside the decisions does not get done.
    UpkeepFailed,
    /// Settings were read again and are in force.
    SettingsReloaded,
    /// Settings were read again and are wrong; those before stay in force.
    SettingsReloadFailed,
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
    (EventType::LimitUsed, "LIMIT_USED"),
    (EventType::AlertRule, "ALERT_RULE"),
    (EventType::SpendAnomaly, "SPEND_ANOMALY"),
    (EventType::KeyCutOff, "KEY_CUT_OFF"),
    (EventType::CardinalityCapped, "CARDINALITY_CAPPED"),
    (EventType::EventGap, "EVENT_GAP"),
    (EventType::EmergencyHook, "EMERGENCY_HOOK"),
    (EventType::SinkTest, "SINK_TEST"),
    (EventType::DeadLettersChanged, "DEAD_LETTERS_CHANGED"),
    (EventType::ProviderCredentialRefused, "PROVIDER_CREDENTIAL_REFUSED"),
    (EventType::UsageMismatch, "USAGE_MISMATCH"),
    (EventType::StoreDegraded, "STORE_DEGRADED"),
    (EventType::StoreRecovered, "STORE_RECOVERED"),
    (EventType::ClockJumped, "CLOCK_JUMPED"),
    (EventType::DataMissing, "DATA_MISSING"),
    (EventType::AnswersDegraded, "ANSWERS_DEGRADED"),
    (EventType::UpkeepFailed, "UPKEEP_FAILED"),
    (EventType::SettingsReloaded, "SETTINGS_RELOADED"),
    (EventType::SettingsReloadFailed, "SETTINGS_RELOAD_FAILED"),
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
