//! Credential stuffing.
//!
//! Why: one address that tries many keys has a list of stolen or guessed ones.
//! Trips when: so many different keys that never succeeded failed with 401 or 403 from one address within the span.
//! Accuses the address, not the keys.
//! Stays quiet when: keys that usually succeed fail together (an outage, a proxy with many users).
//! Blind spots: lists spread over many addresses.

use super::{Case, Evidence};
use crate::domain::finding::{Accused, AnomalyKind, Finding, Severity};

const ADVICE: &str =
    "Keep the address banned; check whether any of the keys it tried is real and rotate that one.";

/// Counts the failing keys of the address.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.credential_stuffing;
    let address = case.address?;
    let since = address.now - i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / 1000) * 1000;
    let this = crate::domain::observation::Peer::key(&case.record.key).id;
    let others = address.peers.iter().filter(|seen| seen.last_seen >= since && seen.peer.id != this).count();
    let keys = others as u64 + 1;
    if keys < u64::from(policy.min_keys) {
        return None;
    }
    let evidence = Evidence::new(keys as f64, 0.0, f64::from(policy.min_keys), keys)
        .with("unit", "failing keys of one address")
        .with("span_seconds", policy.span_seconds);
    let score = 1.0 - 0.5 * f64::from(policy.min_keys) / keys as f64;
    let finding = case.finding(AnomalyKind::CredentialStuffing, Severity::Critical, score, evidence, ADVICE);
    Some(Finding { accused: Accused::Address, ..finding })
}
