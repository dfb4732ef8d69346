//! The part of a key's traffic that a request belongs to: what it is accused of, and how far it is held back.
//!
//! Why: who steals a key shares it with its owner. What holds back the whole key stops the owner as well; what ends
//! after ten minutes stops nobody. So from a high finding on, the accused part (one client from one network) is held
//! back for as long as it goes on, and the rest of the key's traffic passes.
//!
//! A part is accused when a finding of high severity or above is enforced against the key, and the request shows
//! another actor: a place, network or client that is new to the key or was until a day ago. Parts that are the owner's
//! are never accused: those with which the key began, and those at work for a day without an accusation.
//!
//! A part is accused as well when its requests are larger than the key's, and it is not one of the owner's. One that
//! may be the owner's is only slowed, for six hours after each finding, for what machines do: a scan, one size again
//! and again.
//!
//! What is only slowed is noted in findings and not refused (`engine/decide/parts.rs`); what is stopped is refused.
//!
//! High: the part is slowed to twice the key's busiest hour of the last two weeks; three times while nothing is heard
//! of the owner's other parts, as then the owner may have moved. A part beside which the owner's are silent for three
//! days has taken their place, and passes. Critical, with a weight of what is new that alone is high: nothing of the
//! part passes. The same holds for a part that shows `MANY_NEW` new values over time, for one that uses a bundle of
//! keys, and once it is clear that it was added to the owner's traffic (`is_added`). A policy that only observes
//! accuses no part.

use super::{Case, size};
use crate::domain::{
    DAY, HOUR, MINUTE, Millis,
    finding::{Accused, AnomalyKind, Finding, Severity},
    place::PlaceCore,
    profile::{Held, MOST_DEVIATIONS, Part, PartName, PartSeen, PartSighting, Profile},
    stable_hash,
    window::{Counts, ONE_DAY, Unit, WINDOW_COUNT, WindowLimits},
};

/// Times the busiest hour that a part may make while the owner is silent: somebody who moves a service has busy days.
const WHILE_THE_OWNER_IS_SILENT: f64 = 3.0;
/// The same while the owner's other parts are at work: the busiest hour of two weeks is passed now and then.
const BESIDE_THE_OWNER: f64 = 2.0;
/// Requests an hour that a part may make at least: of a key that is hardly used, the busiest hour says little.
const LEAST_AN_HOUR: u64 = 5;
/// Values that a part shows and the key never did, from where on nobody but a stranger works like that: who moves an
/// application brings a network, a client and two or three models.
const MANY_NEW: u32 = 6;
/// Hours since the accusation before a part can be called added, and hours after which little of it is enough.
const LEAST_HOURS: i64 = 6;
const MANY_HOURS: i64 = 60;
/// Requests of the owner that must be expected in these hours: of fewer, chance makes what it will.
const LEAST_EXPECTED: f64 = 40.0;
/// The share of what is expected with which the owner goes on as ever.
const AS_EXPECTED: f64 = 0.9;
/// The share of what is expected that the part does beside it: half as much would be chance.
const PART_OF_EXPECTED: f64 = 0.3;
/// Requests of a part that went on for days.
const LEAST_BESIDE: f64 = 20.0;
/// How long the owner's parts are silent before another has taken their place.
const SILENT: Millis = 3 * DAY;
/// How far back the busiest hour is looked for.
const USUAL: Millis = 14 * DAY;

/// Where a request came from, as parts have it.
fn origin(case: &Case<'_>) -> PlaceCore {
    case.place.map_or_else(|| PlaceCore::unknown(case.record.source_ip), |place| place.core)
}

/// What a request says about its part; findings against it name it.
pub(super) fn sighting(case: &Case<'_>, findings: &mut [Finding]) -> PartSighting {
    let part = case.part;
    let accused = accused(case, part, findings);
    if accused.is_some() {
        let origin = origin(case);
        let name = PartName { client: &case.features.client, place: &origin }.to_string();
        findings.iter_mut().filter(|finding| accuses(finding)).for_each(|finding| finding.name_part(&name));
    }
    PartSighting {
        part,
        new_values: new_values(case),
        switched: case.recent.last().is_some_and(|seen| seen.part != part),
        accused,
        repeats: case.repeats() > 0,
        lag: lag(case),
        is_held: is_held(case.profile, part, case.now()),
    }
}

/// How the size goes with that of the last request for the same use, within ten minutes.
fn lag(case: &Case<'_>) -> Option<(f64, f64)> {
    let (this, context) = (case.size_z?, case.sizes.context.any_model);
    let before = case.recent.since(case.now() - 10 * MINUTE).find(|seen| seen.context == context)?.size_z?;
    let [this, before] = [this, before].map(|z| z.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS));
    Some((this * before, before * before))
}

/// Whether a finding is a reason to hold a part of the key's traffic back.
fn accuses(finding: &Finding) -> bool {
    finding.is_enforced() && finding.accused == Accused::Key && finding.severity >= Severity::High
}

fn accused(case: &Case<'_>, part: Part, findings: &[Finding]) -> Option<Held> {
    let worst = findings.iter().filter(|finding| accuses(finding)).max_by_key(|finding| finding.severity)?;
    let (born, parts) = (case.profile.first_seen?, &case.profile.later.parts);
    if case.policy.enforcement.observes() {
        return None;
    }
    if parts.is_settled(part, born, case.now()) {
        return is_a_machine(findings, case).then_some(Held::Loud);
    }
    let found = |kinds: &[AnomalyKind]| findings.iter().any(|f| accuses(f) && kinds.contains(&f.kind));
    let sizes = || found(&[AnomalyKind::RequestSizeAnomaly]) && parts.has_settled(born, case.now());
    let of_places = found(&[AnomalyKind::ImpossibleTravel, AnomalyKind::ConcurrentLocations]);
    if !of_places && !case.shows_another_actor() && !sizes() {
        return None;
    }
    // What is critical at once, as in strict, may be a colleague's way of working.
    let is_unlike_the_owner = case.weights.total() >= case.policy.detectors.behavioral_drift.weight_high;
    let known = parts.get(part).map_or(0, |row| row.new_values);
    let many_new = (known | new_values(case)).count_ones() >= MANY_NEW;
    let stops = worst.severity == Severity::Critical && is_unlike_the_owner
        || many_new
        || found(&[AnomalyKind::CredentialStuffing]);
    Some(if stops { Held::Stopped } else { Held::Slowed })
}

/// Whether what was found is a machine's doing, whoever runs it: paths tried one after the other, one size again and
/// again.
fn is_a_machine(findings: &[Finding], case: &Case<'_>) -> bool {
    let scan = |finding: &Finding| finding.kind == AnomalyKind::EndpointScan;
    let repeats =
        |finding: &Finding| finding.kind == AnomalyKind::RequestSizeAnomaly && size::is_of_repeats(case);
    findings.iter().any(|finding| accuses(finding) && (scan(finding) || repeats(finding)))
}

/// What is new about a request: a bit for each value, by its hash.
fn new_values(case: &Case<'_>) -> u64 {
    let weights = &case.weights;
    let bit = |weight: f64, value: &[u8]| {
        if weight > 0.0 { 1 << (stable_hash(value) % 64) } else { 0_u64 }
    };
    bit(weights.place + weights.network, &origin(case).asn.to_be_bytes())
        | bit(weights.client, case.features.client.as_bytes())
        | bit(weights.endpoint, case.features.endpoint.as_bytes())
        | bit(weights.model, case.record.model.as_deref().unwrap_or_default().as_bytes())
}

/// The most requests an hour that a part of a key's traffic may make; `None` for any number.
pub fn most_an_hour(profile: &Profile, part: Part, now: Millis) -> Option<u64> {
    let parts = &profile.later.parts;
    let row = parts.get(part)?;
    let born = profile.first_seen.unwrap_or(now);
    let usual = |times: f64| ((busiest_hour(profile, now) as f64 * times) as u64).max(LEAST_AN_HOUR);
    match parts.held(part, now)? {
        Held::Slowed if has_replaced(profile, part, row, now) => None,
        Held::Stopped => Some(0),
        Held::Slowed if is_added(profile, row, now) => Some(0),
        Held::Slowed if parts.goes_on_beside(part, born, row.slowed_at, now) => Some(usual(BESIDE_THE_OWNER)),
        Held::Slowed | Held::Loud => Some(usual(WHILE_THE_OWNER_IS_SILENT)),
    }
}

/// Whether a request of a part teaches nothing: it is stopped. One that is slowed may be the owner on the way, whose
/// places would stay new for ever.
fn is_held(profile: &Profile, part: Part, now: Millis) -> bool {
    profile.later.parts.held(part, now) == Some(Held::Stopped)
}

/// Whether a slowed part took the place of the owner's traffic: none of the owner's parts has been at work for three
/// days, which is longer than a weekend. That is a move, and the part is the owner's from now on.
fn has_replaced(profile: &Profile, part: Part, row: &PartSeen, now: Millis) -> bool {
    let born = profile.first_seen.unwrap_or(now);
    now - row.slowed_at >= SILENT && !profile.later.parts.goes_on_beside(part, born, now - SILENT, now)
}

/// Whether a part was added to the owner's traffic, and did not take its place: since the part is accused, the owner
/// does what the two weeks before let expect, and the part a good share of that beside it. Who moves an application
/// does on the one side what is missing on the other.
fn is_added(profile: &Profile, row: &PartSeen, now: Millis) -> bool {
    let since = row.slowed_at.div_euclid(HOUR) + 1;
    let until = now.div_euclid(HOUR);
    if until - since < LEAST_HOURS {
        return false;
    }
    let sum = |from: i64, to: i64| -> f64 {
        let rows = profile.history.hours().filter(|(hour, _)| (from..to).contains(&i64::from(*hour)));
        rows.map(|(_, row)| row.requests as f64).sum()
    };
    // What passed of the part was learned with the rest.
    let owner = sum(since, until) - f64::from(row.requests);
    let week = 7 * 24;
    let before = [sum(since - week, until - week), sum(since - 2 * week, until - 2 * week)];
    let expected = before.iter().copied().filter(|sum| *sum > 0.0).reduce(f64::min).unwrap_or(0.0);
    let beside = f64::from(row.requests) >= PART_OF_EXPECTED * expected;
    let for_days = until - since >= MANY_HOURS && f64::from(row.requests) >= LEAST_BESIDE;
    expected >= LEAST_EXPECTED && owner >= AS_EXPECTED * expected && (beside || for_days)
}

/// The most requests that an hour of the last two weeks held.
fn busiest_hour(profile: &Profile, now: Millis) -> u64 {
    let first = (now - USUAL).div_euclid(HOUR);
    let hours = profile.history.hours().rev().take_while(|(hour, _)| i64::from(*hour) >= first);
    hours.map(|(_, row)| row.requests).max().unwrap_or(0)
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
