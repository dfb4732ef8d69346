//! Endpoint scans.
//!
//! Why: somebody who holds a key and does not know what it opens tries paths.
//! Trips when: most of the last requests went to endpoints that the key never called and were answered 401, 403, 404
//! or 405.
//! Stays quiet when: a client keeps calling one path that is gone; the failures are 5xx or 429.
//! Blind spots: a scan of a few paths a day.

use super::{Case, Evidence};
use crate::domain::{
    MINUTE,
    finding::{AnomalyKind, Finding, Severity},
};

const ADVICE: &str =
    "Look who holds the key: an application does not guess paths. Rotate it if the owner does not know.";

/// Counts probing requests among the last ones.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.endpoint_scan;
    if !case.probing {
        return None;
    }
    let (mut probing, mut all) = (1_u32, 1_u32);
    for seen in case.recent.since(case.now() - 10 * MINUTE) {
        all += 1;
        probing += u32::from(seen.probing);
    }
    let share = f64::from(probing) / f64::from(all);
    if probing < policy.min_requests || share < policy.share {
        return None;
    }
    let severity = if probing >= 2 * policy.min_requests { Severity::Critical } else { Severity::High };
    let evidence = Evidence::new(f64::from(probing), 0.0, f64::from(policy.min_requests), u64::from(all))
        .with("unit", "refused requests to new endpoints among the last")
        .number("share", share)
        .with("endpoint", &case.features.endpoint);
    Some(case.finding(AnomalyKind::EndpointScan, severity, share, evidence, ADVICE))
}
