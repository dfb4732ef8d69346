//! Entries of the security-event log.
//!
//! What is told of an event beside whom and when is its evidence: one struct for each type of event, in the file of those
//! who write it. On the wire and in stores it is a JSON object. Only this room knows its members by name.
//! - `request`: of one request: refusals, and what was noticed.
//! - `standing`: bans and throttles, and their end.
//! - `people`: what people did.
//! - `spending`: budgets, alert rules, unusual days.
//! - `service`: Keyward's own trouble, and what its sinks did.
//! - `finding`: what all evidence of findings has.

mod amount;
mod evidence;
mod finding;
#[cfg(test)]
pub(crate) mod golden;
mod kind;
mod people;
mod request;
pub mod rfc3339_millis;
mod service;
mod spending;
mod standing;

use serde::{Deserialize, Serialize};

pub use self::{
    amount::EvidenceAmount,
    evidence::{Details, EventEvidence, wire_name},
    finding::{FindingEvidence, RequestFeatures},
    kind::EventType,
    people::{
        DeadLetterAct, DeadLettersChanged, FeedbackGiven, PolicyChanged, SinkTest, SubjectForgotten, Verdict,
    },
    request::{
        BannedRequestBlocked, Call, HighSeverityAnomaly, KeyNotAllowed, ProjectMismatch, RateLimitExceeded,
    },
    service::{EmergencyHookCalled, EventGap, HookOutcome, StoreDegraded, StoreRecovered},
    spending::{AlertRuleFired, BudgetUsed, KeyCutOff, SpendAnomaly, SpendCheck, SpendSign},
    standing::{BanExpired, BanLifted, Cause, Hold, KeySpared, StandingChanged},
};
pub use super::calendar::{format_millis, parse_millis};
use super::{Millis, decision::Would, finding::Severity, place::PlaceSummary, subject::Subject};

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
    #[schema(value_type = Value)]
    pub evidence: EventEvidence,
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
            evidence: EventEvidence::default(),
            action: None,
            would: None,
            request_id: None,
            policy_version: None,
            count: 1,
        }
    }
    /// The event with what is told of it.
    pub fn with<D: Details>(self, details: &D) -> Self {
        debug_assert!(D::TYPES.contains(&self.kind), "{} has other details", self.kind);
        Self { evidence: EventEvidence::of(details), ..self }
    }

    /// What is told of it; `None` where it is of another type, or was written by a version whose details are other ones.
    pub fn read<D: Details>(&self) -> Option<D> {
        D::TYPES.contains(&self.kind).then(|| self.evidence.parse().ok()).flatten()
    }
}
