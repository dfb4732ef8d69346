//! Endpoint scans.
//!
//! Why: somebody who holds a key and does not know what it opens tries paths.
//! Trips when: most of the last requests went to endpoints that the key never called and were answered 401, 403, 404
//! or 405, and these are half of `min_requests` different ones or more.
//! Stays quiet when: a client keeps calling a few paths that are gone; the failures are 5xx or 429.
//! Blind spots: a scan of a few paths a day.

use smallvec::{SmallVec, smallvec};

use super::{Case, Evidence, Quiet, Verdict};
use crate::domain::{
    MINUTE,
    finding::{AnomalyKind, Severity},
};

const ADVICE: &str =
    "Look who holds the key: an application does not guess paths. Rotate it if the owner does not know.";

const UNIT: &str = "refused requests to new endpoints among the last";

/// Counts probing requests among the last ones.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.policy.detectors.endpoint_scan;
    if !case.probing {
        return Err(Quiet::because("the endpoint is known, or the request was not refused"));
    }
    let (mut probing, mut all) = (1_u32, 1_u32);
    let mut paths: SmallVec<[u32; 32]> = smallvec![case.sizes.context.any_model];
    for seen in case.recent.since(case.now() - 10 * MINUTE) {
        all += 1;
        if seen.probing {
            probing += 1;
            paths.push(seen.context);
        }
    }
    paths.sort_unstable();
    paths.dedup();
    let share = f64::from(probing) / f64::from(all);
    if probing < policy.min_requests {
        let (probing, least) = (f64::from(probing), f64::from(policy.min_requests));
        return Err(Quiet::below("too few endpoints were probed", probing, least, UNIT));
    }
    let different = u32::try_from(paths.len()).unwrap_or(u32::MAX);
    if different < policy.min_requests.div_ceil(2) {
        let least = f64::from(policy.min_requests.div_ceil(2));
        let unit = "different endpoints";
        return Err(Quiet::below("the same few endpoints were tried", f64::from(different), least, unit));
    }
    if share < policy.share {
        let unit = "share of the last requests";
        return Err(Quiet::below("most of the last requests were ordinary", share, policy.share, unit));
    }
    let severity = if probing >= 2 * policy.min_requests { Severity::Critical } else { Severity::High };
    let least = policy.min_requests;
    let summary = format!(
        "{probing} of the last {all} requests in 10 minutes were refused on {different} endpoints that the key never called; limit {least}."
    );
    let evidence = Evidence::new(summary, f64::from(probing), 0.0, f64::from(least), u64::from(all))
        .with("unit", UNIT)
        .number("share", share)
        .with("endpoints", different)
        .with("endpoint", &case.features.endpoint);
    Ok(case.finding(AnomalyKind::EndpointScan, severity, share, evidence, ADVICE))
}
