//! Failure rate and brute force.
//!
//! Why: refused credentials in a row are somebody trying.
//! Trips when: more than `share` of more than `min_requests` requests in 5 minutes were answered 401 or 403, and more
//! than three times the share that is usual for this key, and more than chance explains (five standard deviations of a
//! binomial count, where one request in ten may always fail). High; critical when a request then succeeds, which is how a
//! brute force ends.
//! Stays quiet when: the request itself did not fail so (but for that success); the failures are 5xx or 429, which accuse the provider or us.
//! Blind spots: tries spread over hours.

use super::{Case, Evidence, Quiet, Verdict};
use crate::domain::{
    finding::{AnomalyKind, Severity},
    profile::Outcomes,
    record::Outcome,
    window::FIVE_MINUTES,
    wording::{percent, whole},
};

const ADVICE: &str =
    "If the owner did not change or revoke the key just now, somebody is guessing: rotate it.";
/// Failing this many times the usual share is unusual.
const TIMES_USUAL: f64 = 3.0;
/// Standard deviations of a binomial count beyond which chance is no explanation,
const CHANCE: f64 = 5.0;
/// where so many fail that nobody need look into it.
const ORDINARY: f64 = 0.1;

/// Holds the share of failures in 5 minutes against the limit and the usual share.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.policy.detectors.failure_rate;
    let window = &case.key.counts[FIVE_MINUTES];
    if window.auth_failures == 0 {
        return Err(Quiet::because("no request was refused with 401 or 403 in 5 minutes"));
    }
    if window.requests <= policy.min_requests {
        let (requests, least) = (window.requests as f64, policy.min_requests as f64);
        return Err(Quiet::below("too few requests for a share", requests, least, "requests in 5 minutes"));
    }
    let observed = window.auth_failures as f64 / window.requests as f64;
    let usual = usual_share(&case.profile.outcomes, case.now());
    let threshold = policy.share.max((usual * TIMES_USUAL).min(0.95)).max(by_chance(usual, window.requests));
    if observed <= threshold {
        let unit = "share of 401 and 403 in 5 minutes";
        return Err(Quiet::below("few enough requests were refused", observed, threshold, unit));
    }
    let broke_in = case.record.outcome() == Outcome::Success && window.auth_failures > policy.min_requests;
    if !broke_in && case.record.outcome() != Outcome::AuthFailure {
        return Err(Quiet::because("the request itself was not refused with 401 or 403"));
    }
    let severity = if broke_in { Severity::Critical } else { Severity::High };
    let summary = format!(
        "{} of {} requests in 5 minutes were refused with 401 or 403 ({}, limit {}){}.",
        whole(window.auth_failures),
        whole(window.requests),
        percent(observed),
        percent(threshold),
        if broke_in { "; then one succeeded" } else { "" },
    );
    let evidence = Evidence::new(summary, observed, usual, threshold, window.requests)
        .with("unit", "share of 401 and 403 in 5 minutes")
        .with("auth_failures", window.auth_failures)
        .with("requests", window.requests)
        .with("then_succeeded", broke_in);
    Ok(case.finding(AnomalyKind::HighFailureRate, severity, observed, evidence, ADVICE))
}

/// The largest share of so many requests that may fail by chance.
fn by_chance(usual: f64, requests: u64) -> f64 {
    let share = usual.clamp(ORDINARY, 0.5);
    (share + CHANCE * (share * (1.0 - share) / requests as f64).sqrt()).min(0.95)
}

fn usual_share(outcomes: &Outcomes, now: i64) -> f64 {
    let failed = outcomes.auth_failure.at(now);
    let all = failed + outcomes.success.at(now) + outcomes.not_found.at(now) + outcomes.other.at(now);
    if all < 20.0 { 0.0 } else { failed / all }
}
