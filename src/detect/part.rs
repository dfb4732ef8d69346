//! The part of a key's traffic that a request belongs to: whether it is accused, and whether it is stopped.
//!
//! Why: who steals a key shares it with its owner. What holds back the whole key stops the owner as well; what ends
//! after ten minutes stops nobody. So the part that a finding accuses (one client from one network) is stopped for as
//! long as it goes on, and the rest of the key's traffic passes.
//!
//! A part is accused when a finding of high severity or above is enforced against the key, and the request shows
//! another actor: a place, network or client that is new to the key or was until a day ago. It is accused as well when
//! its requests are larger than the key's. Parts that are the owner's are never accused: those with which the key
//! began, and those at work for a day without an accusation.
//!
//! What is accused is noted, so that it does not become the owner's. It is stopped, and nothing of it passes, when the
//! finding is critical with a weight of what is new that alone is high, and when it shows `MANY_NEW` new values over
//! time. What is high and no more may be the owner on the way; and an address that others use, too, accuses nobody by
//! itself. A policy that only observes accuses no part.

use super::Case;
use crate::domain::{
    DAY, HOUR, MINUTE, Millis,
    finding::{Accused, AnomalyKind, Finding, Severity},
    profile::{MOST_DEVIATIONS, PartName, PartSighting, Profile},
    stable_hash,
    window::{Counts, ONE_DAY, Unit, WINDOW_COUNT, WindowLimits},
};

/// Values that a part shows and the key never did, from where on nobody but a stranger works like that: who moves an
/// application brings a network, a client and two or three models.
const MANY_NEW: u32 = 6;
/// How far back the busiest hours are looked for.
const USUAL: Millis = 14 * DAY;

/// What a request says about its part; findings that accuse it name it.
pub(super) fn sighting(case: &Case<'_>, findings: &mut [Finding]) -> PartSighting {
    let part = case.part;
    let accused = is_accused(case, findings);
    let stops = accused && stops(case, findings);
    let is_stopped = case.profile.later.parts.is_stopped(part, case.now());
    let named = (accused || is_stopped).then(|| {
        let name = PartName { client: &case.features.client, place: &case.origin }.to_string();
        let against = findings.iter_mut().filter(|finding| accuses(finding));
        against.for_each(|finding| finding.name_part(&name, stops || is_stopped));
        name.into_boxed_str()
    });
    PartSighting {
        part,
        new_values: new_values(case),
        accused,
        stopped_as: named.filter(|_| stops),
        repeats: case.repeats() > 0,
        lag: lag(case),
        is_stopped,
    }
}

/// How the size goes with that of the last request for the same use, within ten minutes.
fn lag(case: &Case<'_>) -> Option<(f64, f64)> {
    let (this, context) = (case.size_z?, case.sizes.context.any_model);
    let before = case.recent.since(case.now() - 10 * MINUTE).find(|seen| seen.context == context)?.size_z?;
    let [this, before] = [this, before].map(|z| z.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS));
    Some((this * before, before * before))
}

/// Whether a finding is a reason to accuse a part of the key's traffic.
fn accuses(finding: &Finding) -> bool {
    finding.is_enforced() && finding.accused == Accused::Key && finding.severity >= Severity::High
}

/// Whether the part of the request is accused by what was found.
fn is_accused(case: &Case<'_>, findings: &[Finding]) -> bool {
    let Some(born) = case.profile.first_seen else { return false };
    let parts = &case.profile.later.parts;
    if case.policy.enforcement.observes()
        || !findings.iter().any(accuses)
        || parts.is_settled(case.part, born, case.now())
    {
        return false;
    }
    let found = |kinds: &[AnomalyKind]| findings.iter().any(|f| accuses(f) && kinds.contains(&f.kind));
    found(&[AnomalyKind::ImpossibleTravel, AnomalyKind::ConcurrentLocations])
        || case.shows_another_actor()
        || found(&[AnomalyKind::RequestSizeAnomaly]) && parts.has_settled(born, case.now())
}

/// Whether what an accused part did stops it.
fn stops(case: &Case<'_>, findings: &[Finding]) -> bool {
    let is_critical = findings.iter().any(|f| accuses(f) && f.severity == Severity::Critical);
    // What is critical at once, as in strict, may be a colleague's way of working.
    let is_unlike_the_owner = case.weights.total() >= case.policy.detectors.behavioral_drift.weight_high;
    let known = case.profile.later.parts.get(case.part).map_or(0, |row| row.new_values);
    is_critical && is_unlike_the_owner || (known | new_values(case)).count_ones() >= MANY_NEW
}

/// What is new about a request: a bit for each value, by its hash.
fn new_values(case: &Case<'_>) -> u64 {
    let weights = &case.weights;
    let bit = |weight: f64, value: &[u8]| {
        if weight > 0.0 { 1 << (stable_hash(value) % 64) } else { 0_u64 }
    };
    bit(weights.place + weights.network, &case.origin.asn.to_be_bytes())
        | bit(weights.client, case.features.client.as_bytes())
        | bit(weights.endpoint, case.features.endpoint.as_bytes())
        | bit(weights.model, case.record.model.as_deref().unwrap_or_default().as_bytes())
}

/// The share of a key's limits that it uses in its busiest hour, minute or day of the last two weeks: the largest of
/// all windows, 0 or more.
pub fn usual_share(profile: &Profile, limits: &WindowLimits, now: Millis) -> f64 {
    let first = (now - USUAL).div_euclid(HOUR);
    let hours = profile.history.hours().rev().take_while(|(hour, _)| i64::from(*hour) >= first);
    let mut most = [Counts::default(); WINDOW_COUNT];
    for (_, row) in hours {
        // How large the requests of a minute were is not kept: they are taken for twice the hour's mean.
        let size = 2 * row.tokens / row.requests.max(1);
        let peaks = [row.one_minute_peak, row.five_minute_peak, row.requests];
        let tokens = [row.one_minute_peak * size, row.five_minute_peak * size, row.tokens];
        for (window, (requests, tokens)) in peaks.into_iter().zip(tokens).enumerate() {
            most[window].requests = most[window].requests.max(requests);
            most[window].tokens = most[window].tokens.max(tokens.min(row.tokens));
        }
    }
    let first_day = (now - USUAL).div_euclid(DAY);
    for (_, row) in profile.history.days().filter(|(day, _)| i64::from(*day) >= first_day) {
        most[ONE_DAY].requests = most[ONE_DAY].requests.max(row.requests);
        most[ONE_DAY].tokens = most[ONE_DAY].tokens.max(row.tokens);
    }
    let share =
        |(window, unit, limit): (usize, Unit, u64)| most[window].of(unit) as f64 / limit.max(1) as f64;
    limits.set().map(share).fold(0.0, f64::max)
}
