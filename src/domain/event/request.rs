//! What is told of one request: refusals, and what was noticed beside.

use serde::{Deserialize, Serialize};

use super::{amount::EvidenceAmount, call::Call, evidence::Details, kind::EventType, standing::Hold};
use crate::domain::{
    finding::AnomalyKind,
    limit::{LimitMode, Span},
    registry::NotAllowed,
    window::Unit,
};

/// The worst enforced finding of a request is high or critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HighSeverityAnomaly {
    /// The type of that finding.
    pub anomaly: AnomalyKind,
    /// How sure it is and how far off the observed value, 0 to 1.
    pub score: f64,
    /// What a person should do, in a sentence.
    #[serde(default)]
    pub recommendation: String,
}

impl Details for HighSeverityAnomaly {
    const TYPES: &'static [EventType] = &[EventType::HighSeverityAnomaly];
}

/// A request of a banned subject was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BannedRequestBlocked {
    /// What refuses it.
    #[serde(flatten)]
    pub hold: Hold,
    /// By which call it came; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

impl Details for BannedRequestBlocked {
    const TYPES: &'static [EventType] = &[EventType::BannedRequestBlocked];
}

/// A request was refused by a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateLimitExceeded {
    /// On whom the limit is: `key`, `project` or `everything`; null: the policy's limit of every key.
    #[serde(default)]
    pub scope: Option<String>,
    /// For which models, a name or pattern; null: for all.
    #[serde(default)]
    pub model: Option<String>,
    /// Over which span it counts, such as `1min` or `month`.
    pub window: Span,
    /// What it counts.
    pub unit: Unit,
    /// The limit in force, in its unit.
    pub limit: EvidenceAmount,
    /// What the span held before the request, in the same unit.
    pub used: EvidenceAmount,
    /// Tokens of the request.
    #[serde(default)]
    pub requested_tokens: u64,
    /// What the request costs, US dollars as a decimal.
    #[serde(default)]
    pub requested_cost_usd: String,
    /// By which call it came; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// `shadow`: the limit refuses nothing, and would have; absent of one that refuses.
    #[serde(default, skip_serializing_if = "LimitMode::enforces")]
    pub mode: LimitMode,
    /// For how many seconds the limit refuses everything once it is exceeded; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_seconds: Option<u64>,
}

impl Details for RateLimitExceeded {
    const TYPES: &'static [EventType] = &[EventType::RateLimitExceeded];
}

/// A request was refused because its key may not make it, or is not registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyNotAllowed {
    /// What happened, in a sentence.
    pub summary: String,
    /// Which rule of the registry refuses: `unknown`, `expired`, `network`, `country` or `model`.
    pub cause: NotAllowed,
    /// The path that was called.
    pub endpoint: String,
    /// The model that was called; null: none was named.
    #[serde(default)]
    pub model: Option<String>,
    /// The project that the record names; null: none.
    #[serde(default)]
    pub project: Option<String>,
    /// By which call it came; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

impl Details for KeyNotAllowed {
    const TYPES: &'static [EventType] = &[EventType::KeyNotAllowed, EventType::UnknownKey];
}

/// A record names another project than the one that its key is registered to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectMismatch {
    /// The project that the key is registered to, which was used; null: none.
    pub registered: Option<String>,
    /// The project that the record names; null: none.
    pub reported: Option<String>,
}

impl Details for ProjectMismatch {
    const TYPES: &'static [EventType] = &[EventType::ProjectMismatch];
}
