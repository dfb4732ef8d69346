//! Refused credentials: brute force, guessing, and a share of 403 that is unusual for a key.
//!
//! Why: refused credentials in a row are somebody trying. They accuse the source that sent them, never the key in whose
//! name they came.
//! Trips when: one address had more than `min_requests` credentials refused in 5 minutes (half as many in the name of a
//! key that succeeds elsewhere), three times as many in an hour, or ten times as many in a day. High; critical, which
//! bans the address, from three times `min_requests` in such a span on where it guesses (three keys or more, or a key that succeeds elsewhere), and
//! when a key that it failed with then succeeds from there.
//! Also when: more than `share` of more than `min_requests` requests of a key in 5 minutes were answered 403 from networks
//! from which it succeeds, and more than three times its usual share, and more than chance explains. Medium: it is the
//! owner's permissions, or the provider.
//! Stays quiet when: a key fails with 401 from a network from which it succeeds (a revoked key, an outage); the failures
//! are 5xx or 429, which accuse the provider or us.
//! Blind spots: guesses spread over many addresses; a guesser in the key's own network.

use super::{Attribution, Case, DetectorResult, Evidence, Quiet};
use crate::domain::{
    HOUR,
    finding::{Accused, AnomalyKind, Finding, Severity},
    observation::{Observation, Peer},
    profile::Outcomes,
    record::Outcome,
    window::{FIVE_MINUTES, ONE_DAY, ONE_HOUR, WINDOW_NAMES},
    wording::{percent, whole},
};

const ADVICE: &str = "If the owner did not change or revoke the key just now, somebody is guessing: watch the address, and rotate the key if one of its guesses succeeded.";
const OWNERS_ADVICE: &str = "Ask the key's owner, or the provider, which permission the key has lost.";
const UNIT: &str = "refused credentials of one address";

/// What one address may fail at in each window, in multiples of `min_requests`: guesses are spread over minutes, an hour, a day.
const SPANS: [(usize, u64); 3] = [(FIVE_MINUTES, 1), (ONE_HOUR, 3), (ONE_DAY, 10)];
/// From so many times that on, an address that guesses is banned.
const BAN: u64 = 3;
/// An address that fails with so many keys guesses; one that fails with fewer may have a wrong key.
const GUESSED_KEYS: usize = 3;
/// Failing this many times the usual share is unusual.
const TIMES_USUAL: f64 = 3.0;
/// Standard deviations of a binomial count beyond which chance is no explanation.
const CHANCE: f64 = 5.0;
/// The share of 403 that nobody need look into.
const ORDINARY: f64 = 0.1;

/// Judges refused credentials by their source, and a key's own 403 by its usual share.
pub fn judge(case: &Case<'_>) -> DetectorResult {
    match (case.attribution, case.address) {
        (Attribution::Source, Some(address)) => guesses(case, address),
        (Attribution::Key, Some(address)) if case.record.outcome() == Outcome::Success => {
            broke_in(case, address)
        }
        (Attribution::Nobody, _) => {
            Err(Quiet::because("the key succeeds from this network: a revoked key, or an outage"))
        }
        _ => own_share(case),
    }
}

/// Credentials that an address had refused, held against what one may have.
fn guesses(case: &Case<'_>, address: &Observation) -> DetectorResult {
    let least = case.policy.detectors.failure_rate.min_requests;
    let elsewhere = case.succeeds_elsewhere();
    let full = |times: u64| least * times + 1;
    let spans = SPANS.map(|(window, times)| {
        let half = elsewhere && window == FIVE_MINUTES;
        let least = if half { least.div_ceil(2) } else { full(times) };
        (window, address.counts[window].auth_failures, least)
    });
    let bans =
        SPANS.iter().any(|(window, times)| address.counts[*window].auth_failures >= BAN * full(*times));
    let nearest = spans.into_iter().max_by(|a, b| (a.1 * b.2).cmp(&(b.1 * a.2)));
    let (window, failures, least) =
        nearest.ok_or(Quiet::because("the address had no credentials refused"))?;
    if failures < least {
        let (failures, least) = (failures as f64, least as f64);
        return Err(Quiet::below("few enough credentials were refused", failures, least, UNIT));
    }
    let recent = address.peers.iter().filter(|seen| address.now - seen.last_seen <= HOUR);
    let this = Peer::id_of_key(&case.record.key);
    let keys = 1 + recent.filter(|seen| seen.peer.id != this).count();
    let (severity, because) = match () {
        () if !bans => (Severity::High, None),
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
    let score = 1.0 - 0.5 * least as f64 / failures.max(1) as f64;
    let finding = case.finding(AnomalyKind::HighFailureRate, severity, score, evidence, ADVICE);
    Ok(Finding { accused: Accused::Address, ..finding })
}

/// A key that an address failed with again and again succeeds from there.
fn broke_in(case: &Case<'_>, address: &Observation) -> DetectorResult {
    let least = case.policy.detectors.failure_rate.min_requests;
    let this = Peer::id_of_key(&case.record.key);
    let recent = |seen: &&crate::domain::observation::PeerSeen| address.now - seen.last_seen <= HOUR;
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
    let score = 1.0 - 0.5 * least as f64 / failed as f64;
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
    let threshold = policy.share.max((usual * TIMES_USUAL).min(0.95)).max(by_chance(usual, window.requests));
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
    let share = usual.clamp(ORDINARY, 0.5);
    (share + CHANCE * (share * (1.0 - share) / requests as f64).sqrt()).min(0.95)
}

fn usual_share(outcomes: &Outcomes, now: i64) -> f64 {
    let failed = outcomes.auth_failure.at(now);
    let all = failed + outcomes.success.at(now) + outcomes.not_found.at(now) + outcomes.other.at(now);
    if all < 20.0 { 0.0 } else { failed / all }
}
