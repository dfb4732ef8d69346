//! Request sizes, as z-scores of the logarithm of tokens.
//!
//! Why: token exhaustion and bulk theft send requests far larger than the key's own.
//! Trips when: the logarithm is `z_medium` (medium) or `z_high` (high) robust deviations above the mean.
//! Stays quiet when: fewer than `min_samples` sizes are known; the request is smaller than some seen before.
//! Blind spots: keys whose own sizes are spread over many orders of magnitude.
//!
//! Sizes of real LLM traffic are heavy-tailed (Patel et al., ISCA 2024), so raw counts would misfire; a floor under
//! the deviation keeps keys with nearly constant sizes from tripping over small changes.

use super::{Case, Evidence};
use crate::domain::finding::{AnomalyKind, Finding, Severity};

const ADVICE: &str =
    "Compare the request with what the owner's application sends; set a limit on tokens per request.";
/// Least standard deviation of the logarithm: sizes within a factor of 1.35 are the same.
const MIN_DEVIATION: f64 = 0.3;

/// Holds the size against those learned.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.request_size;
    let sizes = &case.profile.sizes;
    let tokens = case.record.tokens;
    if tokens == 0 || sizes.count() < policy.min_samples {
        return None;
    }
    let (mean, deviation) = sizes.log_moments(case.now())?;
    let z = ((tokens as f64).ln() - mean) / deviation.max(MIN_DEVIATION);
    if z < policy.z_medium || sizes.share_above(tokens, case.now()) > 0.0 {
        return None;
    }
    let severity = if z >= policy.z_high { Severity::High } else { Severity::Medium };
    let evidence = Evidence::new(
        tokens as f64,
        mean.exp(),
        (mean + policy.z_medium * deviation.max(MIN_DEVIATION)).exp(),
        sizes.count(),
    )
    .with("unit", "tokens")
    .number("z", z)
    .number("log_deviation", deviation);
    Some(case.finding(
        AnomalyKind::RequestSizeAnomaly,
        severity,
        1.0 - 0.5 * policy.z_medium / z,
        evidence,
        ADVICE,
    ))
}
