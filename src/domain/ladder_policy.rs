//! The settings of the ladder: which severity leads to which response, and how responses grow.

use serde::{Deserialize, Serialize};

use super::finding::Severity;

/// The graduated responses. A response acts on enforced findings of at least its severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderPolicy {
    /// Severity from which a finding is an alert.
    pub alert_from: Severity,
    /// Severity from which it throttles.
    pub throttle_from: Severity,
    /// Severity from which it bans.
    pub ban_from: Severity,
    /// Share of each limit that is left while throttled, 0 to 1.
    pub throttle_share: f64,
    /// Length of a throttle in seconds.
    pub throttle_seconds: u64,
    /// Length of the first temporary ban in seconds.
    pub ban_seconds: u64,
    /// Each further strike multiplies the length by this, 1 or more.
    pub ban_factor: f64,
    /// Longest temporary ban in seconds.
    pub ban_max_seconds: u64,
    /// Second and later bans are lengthened by up to this share, so that returns spread out, 0 to 1.
    pub ban_jitter: f64,
    /// Strikes halve in this many seconds.
    pub strike_half_life_seconds: u64,
    /// A permanent ban follows this many temporary ones ...
    pub permanent_after: u32,
    /// ... within this many seconds ...
    pub permanent_span_seconds: u64,
    /// ... if the policy allows it without a person; else the longest temporary ban does.
    pub permanent_without_person: bool,
    /// After an operator's unban, the detector that fired is not acted on for this many seconds.
    pub grace_seconds: u64,
}
