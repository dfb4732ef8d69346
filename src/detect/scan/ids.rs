//! Ids that somebody counts up: paths of endpoints that the key knows, ever others of which are not there, or not its.
//!
//! Trips when, among the last requests (ten minutes, at most 32), the refused ones (403, 404, 405) are all of the
//! following. A look-up that a success of the same client followed is taken off, one for each success.
//! - They are at least half as many again as `min_requests`.
//! - They are at least the `share` of the last requests, and three times the share that is usual for the key.
//! - They are more than chance explains: `CHANCE` standard deviations of a binomial count above that share.
//! - They went to half of `min_requests` different paths or more.
//! - Something succeeds beside them, or they count up: an outage refuses everything, and does not count.

use super::probes::Probes;
use crate::{
    detect::{Case, DetectorResult, Evidence, Probe, Quiet},
    domain::{
        finding::{AnomalyKind, Severity},
        wording::number,
    },
};

const ADVICE: &str = "Look who asks for these ids: somebody tries which are there. Rotate the key if the owner does \
     not know.";

const UNIT: &str = "refused requests to known endpoints among the last";

/// Standard deviations of a binomial count, from where on chance is no explanation.
const CHANCE: f64 = 5.0;
/// Times the usual share of refused paths.
const TIMES_USUAL: f64 = 3.0;
/// The share that counts as usual at least: a key of which nothing was ever refused may meet some.
const USUAL_AT_LEAST: f64 = 0.05;
/// The largest step between the numbers of two paths that are counted up.
const STEP: u32 = 4;
/// The share of the steps that must be counted up, where nothing succeeds.
const COUNTED_UP: f64 = 0.75;

/// Counts the refused paths among the last requests.
pub(super) fn judge(case: &Case<'_>, this: Probe) -> DetectorResult {
    let policy = &case.policy.detectors.endpoint_scan;
    let probes = Probes::of(case, this, |_| true);
    let refused = probes.probing.len() as u32;
    let guessed = refused - (probes.followed.len() as u32).min(probes.succeeded);
    let least = policy.min_requests + policy.min_requests / 2;
    let all = f64::from(probes.all);
    if guessed < least {
        let (guessed, least) = (f64::from(guessed), f64::from(least));
        return Err(Quiet::below("too few paths were refused", guessed, least, UNIT));
    }
    let usual = usual_share(case).max(USUAL_AT_LEAST);
    let chance = all * usual + CHANCE * (all * usual * (1.0 - usual)).sqrt();
    let threshold = chance.max(all * policy.share).max(all * usual * TIMES_USUAL).max(f64::from(least));
    if f64::from(guessed) < threshold {
        return Err(Quiet::below(
            "about as many paths are refused as usual",
            f64::from(guessed),
            threshold,
            UNIT,
        ));
    }
    let different = probes.different();
    if different < policy.min_requests.div_ceil(2) {
        return Err(Quiet::because("the same few paths were refused"));
    }
    if probes.succeeded == 0 && counted_up(&probes) < COUNTED_UP {
        return Err(Quiet::because("everything is refused, and nothing is counted up: an outage"));
    }
    let summary = format!(
        "{guessed} of the last {} requests in 10 minutes were refused on {different} paths below known endpoints; \
         usual is a share of {}, limit {}.",
        probes.all,
        number(usual),
        number(threshold.ceil()),
    );
    let evidence = Evidence::new(summary, f64::from(guessed), usual * all, threshold, u64::from(probes.all))
        .with("unit", UNIT)
        .number("share", f64::from(guessed) / all)
        .with("endpoints", different)
        .with("endpoint", &case.features.endpoint);
    let score = 1.0 - 0.5 * threshold / f64::from(guessed);
    Ok(case.finding(AnomalyKind::EndpointScan, Severity::High, score, evidence, ADVICE))
}

/// The share of the key's requests that were refused or not there, as far as it was learned.
fn usual_share(case: &Case<'_>) -> f64 {
    let outcomes = &case.profile.outcomes;
    let [success, refused, missing, other] =
        [outcomes.success, outcomes.auth_failure, outcomes.not_found, outcomes.other]
            .map(|mass| mass.at(case.now()));
    (refused + missing) / (success + refused + missing + other).max(1.0)
}

/// The share of the steps from one refused path to the next that go up by a little.
fn counted_up(probes: &Probes) -> f64 {
    let steps = probes.probing.windows(2).filter_map(|pair| Some((pair[1].number?, pair[0].number?)));
    let (mut all, mut up) = (0_u32, 0_u32);
    for (before, after) in steps {
        all += 1;
        up += u32::from(after > before && after - before <= STEP);
    }
    f64::from(up) / f64::from(all.max(1))
}
