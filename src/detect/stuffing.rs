//! Credential stuffing: one address tries many keys.
//!
//! Why: one address that tries many keys has a list of stolen or guessed ones.
//!
//! Trips when: as many different keys that never succeeded failed with 401 or 403 from one address (IPv6: one /64).
//! Critical. It accuses the address, not the keys.
//! - `min_keys` within `span_seconds`.
//! - Three times `min_keys` within an hour.
//! - Six times `min_keys` within a day.
//!
//! The latter two are at most `MOST_KEYS`.
//!
//! Stays quiet when: keys that usually succeed fail together (an outage, a proxy with many users).
//!
//! Blind spots: lists spread over many addresses.

use super::{Attribution, Case, DetectorResult, Evidence, Quiet, crowd};
use crate::domain::{
    DAY, HOUR, Millis, SECOND,
    finding::{Accused, AnomalyKind, Finding, Severity},
    observation::{Observation, Peer},
    wording::span,
};

const ADVICE: &str =
    "Keep the address banned; check whether any of the keys it tried is real and rotate that one.";

const UNIT: &str = "failing keys of one address";

/// Multiples of `min_keys` that are too many within an hour: a slow list is longer.
const IN_AN_HOUR: u32 = 3;
/// Multiples of `min_keys` that are too many within a day.
const IN_A_DAY: u32 = 6;
/// The most keys that a span can ask for: the store remembers the last 64 that failed from an address.
const MOST_KEYS: u32 = 60;

/// Counts the keys that failed from the address, in each span.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    if let Some(finding) = crowd::of_many_projects(case) {
        return Ok(finding);
    }
    let policy = &case.policy.detectors.credential_stuffing;
    let unasked = Quiet::because("no credentials were refused, or the key succeeds elsewhere");
    let guessed = case.attribution == Attribution::Source && !case.succeeds_elsewhere();
    let address = case.address.filter(|_| guessed).ok_or(unasked)?;
    let configured = i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / SECOND) * SECOND;
    let least = policy.min_keys;
    let spans = [
        (configured, least),
        (HOUR, least.saturating_mul(IN_AN_HOUR).min(MOST_KEYS)),
        (DAY, least.saturating_mul(IN_A_DAY).min(MOST_KEYS)),
    ];
    let counted = spans.map(|(span, least)| (span, least, failing_keys(case, address, span)));
    let Some((span_millis, least, keys)) = counted.into_iter().find(|(_, least, keys)| keys >= least) else {
        let (_, least, keys) = counted[0];
        if let Some(finding) = crowd::spread(case) {
            return Ok(finding);
        }
        let (keys, least) = (f64::from(keys), f64::from(least));
        return Err(Quiet::below("too few keys failed from this address", keys, least, UNIT));
    };
    let summary = format!(
        "{keys} keys that never succeeded were refused from one address within {}; limit {least}.",
        span(span_millis),
    );
    let evidence = Evidence::new(summary, f64::from(keys), 0.0, f64::from(least), u64::from(keys))
        .with("unit", UNIT)
        .with("span_seconds", span_millis / SECOND);
    let score = 1.0 - 0.5 * f64::from(least) / f64::from(keys);
    let finding = case.finding(AnomalyKind::CredentialStuffing, Severity::Critical, score, evidence, ADVICE);
    Ok(Finding { accused: Accused::Address, ..finding })
}

/// How many keys that never succeeded failed from an address within a span, the present one included.
fn failing_keys(case: &Case<'_>, address: &Observation, span: Millis) -> u32 {
    let this = Peer::id_of_key(&case.record.key);
    let since = address.now - span;
    let others = address
        .peers
        .iter()
        .filter(|seen| seen.last_seen >= since && seen.peer.id != this && !seen.peer.succeeds_elsewhere());
    u32::try_from(others.count()).unwrap_or(u32::MAX).saturating_add(1)
}
