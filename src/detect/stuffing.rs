//! Credential stuffing.
//!
//! Why: one address that tries many keys has a list of stolen or guessed ones.
//! Trips when: so many different keys that never succeeded failed with 401 or 403 from one address within the span.
//! Accuses the address, not the keys.
//! Stays quiet when: keys that usually succeed fail together (an outage, a proxy with many users).
//! Blind spots: lists spread over many addresses.

use super::{Case, Evidence, Quiet, Verdict};
use crate::domain::{
    SECOND,
    finding::{Accused, AnomalyKind, Finding, Severity},
    observation::Peer,
    wording::span,
};

const ADVICE: &str =
    "Keep the address banned; check whether any of the keys it tried is real and rotate that one.";

const UNIT: &str = "failing keys of one address";

/// Counts the failing keys of the address.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.policy.detectors.credential_stuffing;
    let not_asked = Quiet::because("the request succeeded, or the key has succeeded before");
    let address = case.address.ok_or(not_asked)?;
    let span_millis = i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / SECOND) * SECOND;
    let since = address.now - span_millis;
    let this = Peer::key(&case.record.key).id;
    let others = address.peers.iter().filter(|seen| seen.last_seen >= since && seen.peer.id != this).count();
    let keys = others as u64 + 1;
    let least = policy.min_keys;
    if keys < u64::from(least) {
        let (keys, least) = (keys as f64, f64::from(least));
        return Err(Quiet::below("too few keys failed from this address", keys, least, UNIT));
    }
    let summary = format!(
        "{keys} keys that never succeeded were refused from one address within {}; limit {least}.",
        span(span_millis),
    );
    let evidence = Evidence::new(summary, keys as f64, 0.0, f64::from(least), keys)
        .with("unit", UNIT)
        .with("span_seconds", policy.span_seconds);
    let score = 1.0 - 0.5 * f64::from(least) / keys as f64;
    let finding = case.finding(AnomalyKind::CredentialStuffing, Severity::Critical, score, evidence, ADVICE);
    Ok(Finding { accused: Accused::Address, ..finding })
}
