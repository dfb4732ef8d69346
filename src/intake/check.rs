//! The wire form of a question before a request: a record of which only an estimate is known.

use serde::{Deserialize, Serialize};

use super::{
    WireCost,
    asked::Asked,
    number::whole,
    wire::{FieldError, WireRecord},
};
use crate::domain::{Millis, SECOND, reservation::HoldTerms};

/// A question before a request.
#[derive(Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireCheck {
    /// The secret; hashed at the door. 1 to 512 visible ASCII characters; blanks around it are taken off. This or
    /// `key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub api_key: Option<String>,
    /// The caller's own public name for the key; case matters. One that begins as a secret does (`sk-`, `ghp_`, …)
    /// must be registered. This or `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    pub key_id: Option<String>,
    /// Address that the request comes from. An IPv6 address that stands for an IPv4 address is that one.
    pub source_ip: String,
    /// Project that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Path that is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Model that is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The client's `User-Agent`, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub user_agent: Option<String>,
    /// Tokens that the request will use, as far as known, where it is not said which are of the prompt: each of them
    /// may be prompt or completion, so they are held against both kinds of token limits, and at the dearer price.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub estimated_tokens: Option<u64>,
    /// Tokens of the prompt.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub estimated_input_tokens: Option<u64>,
    /// Most tokens of the completion.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub estimated_output_tokens: Option<u64>,
    /// What the request will cost in US dollars, where the caller knows it; else it is worked out from model and
    /// tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub estimated_cost_usd: Option<WireCost>,
    /// Makes a retry safe: the same id, key and body within `idempotency.seconds` (120) gets the same reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub request_id: Option<String>,
    /// Whether to hold the estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<bool>,
    /// For how many seconds it is held; `reservations.lease_seconds` by default.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub lease_seconds: Option<u64>,
    /// Whether the request leaves for the provider at once: then the estimate is held, and charged where nobody reports
    /// it in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched: Option<bool>,
}

/// The longest lease, in seconds.
const LONGEST_LEASE: u64 = 3_600;

/// How long a reservation is to be held.
///
/// # Errors
/// It is not from 1 to 3600.
pub fn lease(seconds: Option<u64>) -> Result<Option<Millis>, FieldError> {
    let Some(seconds) = seconds else { return Ok(None) };
    if !(1..=LONGEST_LEASE).contains(&seconds) {
        return Err(FieldError::new("/lease_seconds", format!("must be from 1 to {LONGEST_LEASE}")));
    }
    Ok(Some(seconds as Millis * SECOND))
}

impl WireCheck {
    /// How the estimate is to be held; `None`: it is not.
    ///
    /// # Errors
    /// The terms are out of their range, or of an estimate that is not to be held.
    pub fn hold(&self) -> Result<Option<HoldTerms>, FieldError> {
        let lease = lease(self.lease_seconds)?;
        let dispatched = self.dispatched == Some(true);
        match self.reserve {
            Some(false) if dispatched => {
                Err(FieldError::new("/dispatched", "holds the estimate: leave it out, or reserve"))
            }
            Some(true) => Ok(Some(HoldTerms { lease, dispatched })),
            _ if dispatched => Ok(Some(HoldTerms { lease, dispatched })),
            _ if lease.is_some() => {
                Err(FieldError::new("/lease_seconds", "is how long an estimate is held: send reserve, too"))
            }
            _ => Ok(None),
        }
    }
}

impl WireCheck {
    /// The same as a request that is counted at once, and completed by its record.
    pub fn observed(self) -> WireRecord {
        let mut wire = WireRecord::from(self);
        wire.admit = Some(true);
        wire.asked.iter_mut().for_each(|asked| asked.observes = true);
        wire
    }
}

impl From<WireCheck> for WireRecord {
    fn from(check: WireCheck) -> Self {
        let is_split = check.estimated_input_tokens.is_some() || check.estimated_output_tokens.is_some();
        let asked = Asked {
            reserve: check.reserve == Some(true),
            lease_seconds: check.lease_seconds,
            dispatched: check.dispatched == Some(true),
            observes: false,
        };
        Self {
            asked: Some(asked),
            of_either_kind: check.estimated_tokens.is_some() && !is_split,
            request_id: check.request_id,
            api_key: check.api_key,
            key_id: check.key_id,
            project_id: check.project_id,
            model: check.model,
            tokens_used: check.estimated_tokens,
            prompt_tokens: check.estimated_input_tokens,
            completion_tokens: check.estimated_output_tokens,
            cost_usd: check.estimated_cost_usd,
            user_agent: check.user_agent,
            ..Self::new(check.endpoint.unwrap_or_else(|| "/".to_owned()), check.source_ip)
        }
    }
}

impl WireRecord {
    /// A record of a request to this path from this address, of which nothing else is known.
    pub fn new(endpoint: String, source_ip: String) -> Self {
        Self {
            asked: None,
            of_either_kind: false,
            request_id: None,
            api_key: None,
            key_id: None,
            project_id: None,
            endpoint,
            user: None,
            model: None,
            tokens_used: None,
            prompt_tokens: None,
            completion_tokens: None,
            input_tokens: None,
            output_tokens: None,
            cached_tokens: None,
            cache_write_tokens: None,
            cache_write_1h_tokens: None,
            reasoning_tokens: None,
            service_tier: None,
            images: None,
            seconds: None,
            characters: None,
            cost_usd: None,
            latency_ms: None,
            source_ip,
            user_agent: None,
            response_status: None,
            timestamp: None,
            refused_by: None,
            reservation_id: None,
            admit: None,
        }
    }
}
