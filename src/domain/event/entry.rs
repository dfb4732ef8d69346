//! An entry of the log, whatever its type.

use serde::{Deserialize, Serialize};

use super::{
    evidence::{Details, EventEvidence},
    kind::EventType,
};
use crate::domain::{Millis, decision::Would, finding::Severity, place::PlaceSummary, subject::Subject};

/// One entry of the log, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Stable id; empty until the store has appended it.
    #[serde(default)]
    pub id: String,
    /// When it happened, in milliseconds; RFC 3339 on the wire.
    #[serde(with = "super::rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub time: Millis,
    /// One of those in docs/events.md.
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
    #[schema(value_type = serde_json::Value)]
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

    /// The event with what it says beside whom and when.
    pub fn with<D: Details>(self, details: &D) -> Self {
        debug_assert!(D::TYPES.contains(&self.kind), "{} has other details", self.kind);
        Self { evidence: EventEvidence::of(details), ..self }
    }

    /// Its details; `None` where it is of another type, or was written by a version whose details are other ones.
    pub fn read<D: Details>(&self) -> Option<D> {
        D::TYPES.contains(&self.kind).then(|| self.evidence.parse().ok()).flatten()
    }
}
