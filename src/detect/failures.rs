//! Refused credentials of an address, and a share of 403 that is unusual for a key.
//!
//! Why: refused credentials in a row are somebody trying. They accuse the source that sent them, never the key in whose
//! name they came.
//!
//! Trips when: one address had more credentials refused (401, 403) than one may have, from networks from which the key
//! does not succeed. That is high, and accuses the address.
//! - More than `min_requests` in 5 minutes; half of that in the name of a key that succeeds elsewhere.
//! - More than three times `min_requests` in an hour.
//! - More than ten times `min_requests` in a day.
//!
//! It is critical, which bans the address, from three times such a number on where the address guesses: it tried
//! three keys or more, or one that succeeds elsewhere. It is also critical when a key succeeds from an address that
//! failed with it more than `min_requests` times within the last hour.
//!
//! Also when: more than `min_requests` requests of a key in 5 minutes hold a share of 403, from a network from which
//! it succeeds, that is above all of: `share`, three times the usual share of the key, and what chance explains.
//! Medium: it is the owner's permissions, or the provider.
//!
//! Stays quiet when: a key fails with 401 from a network from which it succeeds (a revoked key, an outage). The
//! failures are 5xx or 429, which accuse the provider or Keyward.
//!
//! Blind spots: guesses spread over many addresses. A guesser in the key's own network.

use super::{Attribution, Case, DetectorResult, Evidence, Quiet};
use crate::domain::{
    HOUR,
    finding::{Accused, AnomalyKind, Finding, Severity},
    observation::{Observation, Peer, PeerSeen},
    profile::Outcomes,
    record::Outcome,
    window::{FIVE_MINUTES, ONE_DAY, ONE_HOUR, WINDOW_NAMES},
    wording::{percent, whole},
};

const ADVICE: &str = "If the owner did not change or revoke the key just now, somebody is guessing: watch the address, \
     and rotate the key if one of its guesses succeeded.";
const OWNERS_ADVICE: &str = "Ask the key's owner, or the provider, which permission the key has lost.";
const UNIT: &str = "refused credentials of one address";

/// Multiples of `min_requests` that one address may fail at in each window, as guesses are spread over minutes, an hour
/// or a day.
const SPANS: [(usize, u64); 3] = [(FIVE_MINUTES, 1), (ONE_HOUR, 3), (ONE_DAY, 10)];
/// Times what an address may fail at, from where on one that guesses is banned.
const BAN: u64 = 3;
/// Keys from which on an address guesses; one that fails with fewer may be a client with a wrong key.
const GUESSED_KEYS: usize = 3;
/// Times the usual share of 403 of a key, from where on a share is unusual.
const TIMES_USUAL: f64 = 3.0;
/// Standard deviations of a binomial count above the usual share, from where on chance is no explanation.
const CHANCE: f64 = 5.0;
/// The share of 403 that nobody need look into: the usual share counts as at least this in what chance explains.
const ORDINARY: f64 = 0.1;
/// The usual share counts as at most this in what chance explains: a binomial count varies most at a half.
const MOST_USUAL: f64 = 0.5;
/// The highest threshold for a share: a key of which all requests fail is always above it.
const MOST_SHARE: f64 = 0.95;
/// Requests, with forgetting, that show a usual share; of fewer it counts as 0.
const LEAST_FOR_A_SHARE: f64 = 20.0;
/// The part of the score that is lost at the threshold: a finding that just trips scores a half.
const SCORE_AT_THRESHOLD: f64 = 0.5;

/// Judges refused credentials by their source, and a key's own 403 by its usual share.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    match (case.attribution, case.address) {
        (Attribution::Source, Some(address)) => guesses(case, address),
        (Attribution::Key, Some(address)) if case.record.outcome() == Outcome::Success => {
            guess_succeeded(case, address)
        }
        (Attribution::Nobody, _) => {
            Err(Quiet::because("the key succeeds from this network: a revoked key, or an outage"))
        }
        _ => own_share(case),
    }
}

/// Credentials that an address had refused, held against what one may have in each window.
fn guesses(case: &Case<'_>, address: &Observation) -> DetectorResult {
    let elsewhere = case.succeeds_elsewhere();
    let (window, failures, least) =
        nearest_window(case, address).ok_or(Quiet::because("the address had no credentials refused"))?;
    if failures < least {
        let (failures, least) = (failures as f64, least as f64);
        return Err(Quiet::below("few enough credentials were refused", failures, least, UNIT));
    }
    let keys = keys_tried(case, address);
    let (severity, because) = match () {
        () if !is_past_a_ban(case, address) => (Severity::High, None),
        () if elsewhere || keys >= GUESSED_KEYS => (Severity::Critical, None),
        () => (Severity::High, Some("one key that never worked may be a client with a wrong key")),
    };
    let name = if keys == 1 { "key" } else { "keys" };
    let summary = format!(
        "{} credentials of {keys} {name} from one address were refused with 401 or 403 in {}; limit {least}.",
        whole(failures),
        WINDOW_NAMES[window],
    );
    let evidence = Evidence::new(summary, failures as f64, 0.0, least as f64, failures)
        .with("unit", UNIT)
        .with("auth_failures", failures)
        .with("keys", keys)
        .with("key_succeeds_elsewhere", elsewhere)
        .with("then_succeeded", false)
        .because(because);
    let score = 1.0 - SCORE_AT_THRESHOLD * least as f64 / failures.max(1) as f64;
    let finding = case.finding(AnomalyKind::HighFailureRate, severity, score, evidence, ADVICE);
    Ok(Finding { accused: Accused::Address, ..finding })
}

/// Failures of an address in a window that are too many: `times` is the window's multiple of `min_requests`.
fn too_many(case: &Case<'_>, times: u64) -> u64 {
    case.policy.detectors.failure_rate.min_requests * times + 1
}

/// The window that is nearest to its limit, or farthest above it: its index, the failures in it, and how many are too
/// many.
fn nearest_window(case: &Case<'_>, address: &Observation) -> Option<(usize, u64, u64)> {
    let elsewhere = case.succeeds_elsewhere();
    let windows = SPANS.map(|(window, times)| {
        let half = elsewhere && window == FIVE_MINUTES;
        let least = case.policy.detectors.failure_rate.min_requests.div_ceil(2);
        let least = if half { least } else { too_many(case, times) };
        (window, address.counts[window].auth_failures, least)
    });
    windows.into_iter().max_by(|a, b| (a.1 * b.2).cmp(&(b.1 * a.2)))
}

/// Whether any window holds [`BAN`] times what is too many.
fn is_past_a_ban(case: &Case<'_>, address: &Observation) -> bool {
    SPANS.iter().any(|(window, times)| address.counts[*window].auth_failures >= BAN * too_many(case, *times))
}

/// Keys that the address failed with within the last hour, the present one included.
fn keys_tried(case: &Case<'_>, address: &Observation) -> usize {
    let recent = address.peers.iter().filter(|seen| address.now - seen.last_seen <= HOUR);
    let this = Peer::id_of_key(&case.record.key);
    1 + recent.filter(|seen| seen.peer.id != this).count()
}

/// A key succeeds from an address that failed with it more than `min_requests` times within the last hour.
fn guess_succeeded(case: &Case<'_>, address: &Observation) -> DetectorResult {
    let least = case.policy.detectors.failure_rate.min_requests;
    let this = Peer::id_of_key(&case.record.key);
    let recent = |seen: &&PeerSeen| address.now - seen.last_seen <= HOUR;
    let failed =
        address.peers.iter().filter(recent).find(|seen| seen.peer.id == this).map_or(0, |seen| seen.hits);
    if failed <= least || !case.succeeds_elsewhere() {
        let (failed, least) = (failed as f64, least as f64);
        return Err(Quiet::below("the key did not fail often from this address", failed, least, UNIT));
    }
    let summary = format!(
        "{} credentials in the name of one key were refused from one address within an hour; then one succeeded.",
        whole(failed)
    );
    let evidence = Evidence::new(summary, failed as f64, 0.0, least as f64, failed)
        .with("unit", UNIT)
        .with("auth_failures", failed)
        .with("key_succeeds_elsewhere", true)
        .with("then_succeeded", true);
    let score = 1.0 - SCORE_AT_THRESHOLD * least as f64 / failed as f64;
    let finding = case.finding(AnomalyKind::HighFailureRate, Severity::Critical, score, evidence, ADVICE);
    Ok(Finding { accused: Accused::Address, ..finding })
}

/// The share of 403 among the key's own requests in 5 minutes, held against the limit and the usual share.
fn own_share(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.failure_rate;
    let window = &case.key.counts[FIVE_MINUTES];
    if window.auth_failures == 0 {
        return Err(Quiet::because("no request of the key was refused with 403 in 5 minutes"));
    }
    if window.requests <= policy.min_requests {
        let (requests, least) = (window.requests as f64, policy.min_requests as f64);
        return Err(Quiet::below("too few requests for a share", requests, least, "requests in 5 minutes"));
    }
    let observed = window.auth_failures as f64 / window.requests as f64;
    let usual = usual_share(&case.profile.outcomes, case.now());
    let threshold =
        policy.share.max((usual * TIMES_USUAL).min(MOST_SHARE)).max(by_chance(usual, window.requests));
    if observed <= threshold {
        let unit = "share of 403 in 5 minutes";
        return Err(Quiet::below("few enough requests were refused", observed, threshold, unit));
    }
    if case.record.outcome() != Outcome::AuthFailure {
        return Err(Quiet::because("the request itself was not refused with 403"));
    }
    let summary = format!(
        "{} of {} requests in 5 minutes were refused with 403 ({}, limit {}).",
        whole(window.auth_failures),
        whole(window.requests),
        percent(observed),
        percent(threshold),
    );
    let evidence = Evidence::new(summary, observed, usual, threshold, window.requests)
        .with("unit", "share of 403 in 5 minutes")
        .with("auth_failures", window.auth_failures)
        .with("requests", window.requests)
        .because(Some(
            "the key succeeds from this network: a permission was taken away, or the provider is at fault",
        ));
    let kind = AnomalyKind::HighFailureRate;
    Ok(case.finding(kind, Severity::Medium, observed, evidence, OWNERS_ADVICE))
}

/// The largest share of so many requests that may fail by chance.
fn by_chance(usual: f64, requests: u64) -> f64 {
    let share = usual.clamp(ORDINARY, MOST_USUAL);
    (share + CHANCE * (share * (1.0 - share) / requests as f64).sqrt()).min(MOST_SHARE)
}

/// The share of the key's requests that were refused with 401 or 403, with forgetting.
fn usual_share(outcomes: &Outcomes, now: i64) -> f64 {
    let failed = outcomes.auth_failure.at(now);
    let all = failed + outcomes.success.at(now) + outcomes.not_found.at(now) + outcomes.other.at(now);
    if all < LEAST_FOR_A_SHARE { 0.0 } else { failed / all }
}
