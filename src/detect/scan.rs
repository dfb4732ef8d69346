//! Endpoint scans: paths that somebody guesses.
//!
//! Why: somebody who holds a key and does not know what it opens tries paths.
//!
//! Trips when: among the last requests (ten minutes, at most 32) all of the following hold. A probe is a request to an
//! endpoint that the key never called, which was answered 403, 404 or 405 (401 where it is the key's at all).
//! - At least `min_requests` are probes, look-ups taken off.
//! - These are at least the `share` of all of the last requests.
//! - They went to half of `min_requests` different paths or more, each as it was sent.
//!
//! High; critical from twice `min_requests`, but without another actor (`Case::held_to_its_actor`) it stays high.
//!
//! Also when: paths of endpoints that the key knows are refused more than is usual for it, see `ids`. High.
//!
//! Stays quiet when: a client keeps calling a few paths that are gone. A client looks up whether something is there,
//! and then makes it (an upload, say): most of what is not there is below one path, and the same client succeeds
//! within a minute. The failures are 5xx or 429.
//!
//! Blind spots: a scan of a few paths a day. A scan of new endpoints below a single path by a client that is at work
//! meanwhile.

mod ids;
mod probes;

use probes::Probes;

use super::{Case, DetectorResult, Evidence, Quiet};
use crate::domain::finding::{AnomalyKind, Severity};

const ADVICE: &str =
    "Look who holds the key: an application does not guess paths. Rotate it if the owner does not know.";

const UNIT: &str = "refused requests to new endpoints among the last";

/// Counts the probes among the last requests.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.endpoint_scan;
    let this = case.probe.ok_or(Quiet::because("the request was not refused"))?;
    if this.known {
        return ids::judge(case, this);
    }
    let probes = Probes::of(case, this, |probe| !probe.known);
    let (count, least) = (probes.probing.len() as u32, policy.min_requests);
    if count < least {
        let (count, least) = (f64::from(count), f64::from(least));
        return Err(Quiet::below("too few endpoints were probed", count, least, UNIT));
    }
    let different = probes.different();
    if different < least.div_ceil(2) {
        let (different, least) = (f64::from(different), f64::from(least.div_ceil(2)));
        return Err(Quiet::below("the same few endpoints were tried", different, least, "different paths"));
    }
    let guessed = count - probes.looked_up();
    if guessed < least {
        let (guessed, least) = (f64::from(guessed), f64::from(least));
        return Err(Quiet::below("what was not there was looked up, and then made", guessed, least, UNIT));
    }
    let share = f64::from(guessed) / f64::from(probes.all);
    if share < policy.share {
        let unit = "share of the last requests";
        return Err(Quiet::below("most of the last requests were ordinary", share, policy.share, unit));
    }
    let severity = if guessed >= 2 * least { Severity::Critical } else { Severity::High };
    let summary = format!(
        "{guessed} of the last {} requests in 10 minutes were refused on {different} paths that the key never called; \
         limit {least}.",
        probes.all
    );
    let evidence = Evidence::new(summary, f64::from(guessed), 0.0, f64::from(least), u64::from(probes.all))
        .with("unit", UNIT)
        .number("share", share)
        .with("endpoints", different)
        .with("endpoint", &case.features.endpoint);
    Ok(case.finding(AnomalyKind::EndpointScan, severity, share, evidence, ADVICE))
}
