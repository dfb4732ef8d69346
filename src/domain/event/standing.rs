//! What is told of bans and throttles, and of their end.

use serde::{Deserialize, Serialize};

use super::{
    evidence::{Details, EventEvidence},
    kind::EventType,
    people::Verdict,
    rfc3339_millis,
};
use crate::domain::{
    Millis,
    actor::Actor,
    finding::Finding,
    standing::{Origin, Standing},
};

/// The numbers of a ban or throttle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when it holds.
    #[serde(with = "rfc3339_millis")]
    pub since: Millis,
    /// Until when it holds; null: for good.
    #[serde(default, with = "rfc3339_millis::option")]
    pub until: Option<Millis>,
    /// Earlier bans that count, this one included, as they have faded: to three decimals.
    #[serde(default)]
    pub strikes: f64,
    /// Who made it: a `detector` or an `operator`.
    #[serde(default)]
    pub origin: Origin,
}

impl Hold {
    /// The numbers of a standing.
    pub fn of(standing: &Standing) -> Self {
        Self {
            since: standing.since,
            until: standing.until,
            strikes: (standing.strikes * 1000.0).round() / 1000.0,
            origin: standing.origin,
        }
    }
}

/// A subject was throttled or banned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingChanged {
    /// Since when and until when it holds.
    #[serde(flatten)]
    pub hold: Hold,
    /// What led to it; absent where a person acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why a person did it; absent where a detector's finding led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who acted; absent where no person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl StandingChanged {
    /// A standing that something led to.
    pub fn by_cause(standing: &Standing, cause: Cause) -> Self {
        Self { hold: Hold::of(standing), cause: Some(cause), reason: None, by: None }
    }

    /// A standing that a person gave.
    pub fn by_person(standing: &Standing, reason: &str, by: &Actor) -> Self {
        let (reason, by) = (Some(reason.to_owned()), Some(by.clone()));
        Self { hold: Hold::of(standing), cause: None, reason, by }
    }
}

impl Details for StandingChanged {
    const TYPES: &'static [EventType] =
        &[EventType::Throttled, EventType::TemporaryBan, EventType::PermanentBan];
}

/// What led to a ban or throttle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The type of the anomaly, or `SPEND_ANOMALY`.
    pub anomaly: EventType,
    /// The evidence of that anomaly.
    pub evidence: EventEvidence,
}

impl Cause {
    /// A detector's finding as the cause.
    pub fn finding(finding: &Finding) -> Self {
        let anomaly = EventType::Anomaly(finding.kind);
        Self { anomaly, evidence: EventEvidence::of_finding(finding) }
    }
}

/// A ban of an address leaves a key alone that has long succeeded from there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeySpared {
    /// What happened, in a sentence.
    pub summary: String,
    /// The key as a subject, such as `key:k1:9f2c41d07be5a8c3`.
    pub key: String,
    /// Since when the address is banned.
    #[serde(with = "rfc3339_millis")]
    pub banned_since: Millis,
    /// Until when it is banned; null: for good.
    #[serde(default, with = "rfc3339_millis::option")]
    pub banned_until: Option<Millis>,
}

impl Details for KeySpared {
    const TYPES: &'static [EventType] = &[EventType::KeySpared];
}

/// A ban or throttle was lifted by a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BanLifted {
    /// Why it was lifted.
    pub reason: String,
    /// The verdict that lifted it; absent where it was lifted by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The id of the event that the verdict is about; absent where there is no verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Who acted; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl Details for BanLifted {
    const TYPES: &'static [EventType] = &[EventType::BanLifted];
}

/// A temporary ban ran out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BanExpired {
    /// Since when it held.
    #[serde(with = "rfc3339_millis")]
    pub since: Millis,
    /// Until when it held.
    #[serde(with = "rfc3339_millis")]
    pub until: Millis,
}

impl Details for BanExpired {
    const TYPES: &'static [EventType] = &[EventType::BanExpired];
}
