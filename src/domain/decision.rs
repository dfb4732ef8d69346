//! The answer to the caller.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Millis,
    finding::Finding,
    limit::{LimitMode, Span},
    price::Cost,
    window::Unit,
};

/// What was done about a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The request goes through as it came.
    #[default]
    None,
    /// Noted, for a person to look at.
    Alert,
    /// Requests are spaced out for a while.
    Throttle,
    /// Banned for a time.
    TemporaryBan,
    /// Banned until an operator lifts it.
    PermanentBan,
}

impl Action {
    /// Every action, the mildest first.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Alert, Self::Throttle, Self::TemporaryBan, Self::PermanentBan];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alert => "alert",
            Self::Throttle => "throttle",
            Self::TemporaryBan => "temporary_ban",
            Self::PermanentBan => "permanent_ban",
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The key has a ban of its own.
    ApiKeyBanned,
    /// The address, or a network that it is in, is banned.
    IpBanned,
    /// The key's registered project, or the one that the record names, is banned.
    ProjectBanned,
    /// A limit of the key, its project or everything refused it.
    RateLimitExceeded,
    /// A limit on what may be spent refused.
    BudgetExceeded,
    /// A finding of this very request led to a ban.
    CriticalAnomalyDetected,
    /// The key may not be used from this network or country, for this model, or any more.
    KeyNotAllowed,
    /// The key is not registered, and such keys are refused.
    UnknownKey,
    /// The store does not answer and the policy says to refuse then.
    StoreUnavailable,
}

impl Reason {
    /// Every reason, in the order above.
    pub const ALL: [Self; Self::StoreUnavailable as usize + 1] = [
        Self::ApiKeyBanned,
        Self::IpBanned,
        Self::ProjectBanned,
        Self::RateLimitExceeded,
        Self::BudgetExceeded,
        Self::CriticalAnomalyDetected,
        Self::KeyNotAllowed,
        Self::UnknownKey,
        Self::StoreUnavailable,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKeyBanned => "API_KEY_BANNED",
            Self::IpBanned => "IP_BANNED",
            Self::ProjectBanned => "PROJECT_BANNED",
            Self::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::CriticalAnomalyDetected => "CRITICAL_ANOMALY_DETECTED",
            Self::KeyNotAllowed => "KEY_NOT_ALLOWED",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
        }
    }
}

/// How one limit stands after a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// On whom, where that is not the policy's limit of every key: `key`, `project` or `everything`, or a part of the
    /// key's traffic that is stopped, by its name.
    #[serde(default)]
    pub scope: Option<Arc<str>>,
    /// For which models, where not for all.
    #[serde(default)]
    pub model: Option<Arc<str>>,
    /// Over what it counts.
    pub window: Span,
    /// What the limit counts.
    pub unit: Unit,
    /// The limit in force, throttle and priority included. Nano-dollars, where dollars are counted.
    pub limit: u64,
    /// What the window holds.
    pub used: u64,
    /// Seconds until the oldest usage still counted leaves the window, at most the window's length.
    pub reset_seconds: u64,
    /// Whether it refuses what does not fit.
    #[serde(default, skip_serializing_if = "LimitMode::enforces")]
    pub mode: LimitMode,
    /// For how many seconds everything that it applies to is refused once it is exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_seconds: Option<u64>,
}

/// What is held for a request, as its caller is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// To be given with the record.
    pub id: Arc<str>,
    /// How long it is held.
    pub lease_seconds: u64,
}

/// What became of the reservation that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// What was held is given back, and what was used is charged.
    Settled,
    /// It had ended and its estimate was charged: what was used is charged in its place.
    Corrected,
    /// It had ended and was given back: the record is a plain report.
    Expired,
    /// It is no open reservation of this key; it may have been settled before. The record is a plain report.
    Unknown,
}

/// What enforcement would have answered, where the policy only observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Would {
    /// Whether the request would have gone on.
    pub allowed: bool,
    /// What would have been done.
    pub action: Action,
    /// Why the request would have been refused; absent when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whole seconds after which it would have been admitted; absent when never, and when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Would {
    /// A response that refuses nothing by itself.
    pub fn go_on(action: Action) -> Self {
        Self { allowed: true, action, reason: None, retry_after_seconds: None }
    }

    /// A refusal until a moment, seen from `now`; `None`: for good, or not known.
    pub fn refuse(action: Action, reason: Reason, retry_at: Option<Millis>, now: Millis) -> Self {
        let retry_after_seconds = retry_at.map(|at| whole_seconds(at - now));
        Self { allowed: false, action, reason: Some(reason), retry_after_seconds }
    }
}

/// The answer to the caller about one request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The id of the request, as it was reported or made up.
    pub request_id: Arc<str>,
    /// The public id of the key.
    pub key_id: Arc<str>,
    /// Whether the request may go on.
    pub allowed: bool,
    /// What was done about the request.
    pub action: Action,
    /// Why it was refused, or would have been.
    pub reason: Option<Reason>,
    /// When it would be admitted, where that is known; `None` for good or when allowed.
    pub retry_at: Option<Millis>,
    /// The moment of the decision, to which `retry_at` relates.
    pub decided_at: Millis,
    /// What detectors found about the key, then about the address.
    pub anomalies: Vec<Finding>,
    /// How the limits stand.
    pub limits: Vec<LimitStatus>,
    /// What the request costs, or would, admitted or not. Answers that older instances left have none.
    #[serde(default)]
    pub cost: Cost,
    /// What is held for it, where a check asked for that and was admitted.
    #[serde(default)]
    pub reserved: Option<Reserved>,
    /// What became of the reservation that it names.
    #[serde(default)]
    pub settlement: Option<Settlement>,
    /// Tokens and cost are those of the estimate: the record did not say what was used.
    #[serde(default)]
    pub estimated: bool,
    /// What enforcement would have answered, where the policy only observes and that is another answer.
    #[serde(default)]
    pub would: Option<Would>,
    /// Decided without the store.
    pub degraded: bool,
    /// The record came late: it counts where a span still holds its time, and detectors skip it.
    pub late: bool,
    /// The policy that judged.
    pub policy_version: Arc<str>,
}

impl Decision {
    /// Whole seconds until `retry_at`, at least 1; `None` when there is no such moment.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_at.map(|at| whole_seconds(at - self.decided_at))
    }

    /// What enforcement says about the request, whether it is enforced or not.
    pub fn ruling(&self) -> Would {
        let refused = !self.allowed;
        self.would.unwrap_or(Would {
            allowed: self.allowed,
            action: self.action,
            reason: self.reason.filter(|_| refused),
            retry_after_seconds: self.retry_after_seconds().filter(|_| refused),
        })
    }
}

/// A span as whole seconds, rounded up, at least 1.
fn whole_seconds(span: Millis) -> u64 {
    (span.max(1) as u64).div_ceil(1000)
}
