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
//! High: the part is slowed to the key's own usual rate, which is its busiest hour of the last two weeks; half as much
//! again while nothing is heard of the owner's other parts, as then the owner may have moved. Critical: nothing of the
//! part passes.

use super::Case;
use crate::domain::{
    DAY, HOUR, Millis,
    finding::{Accused, AnomalyKind, Finding, Severity},
    place::PlaceCore,
    profile::{Held, Part, PartName, PartSighting, Profile},
};

/// Times the busiest hour that a part may make while the owner is silent: somebody who moves a service has busy days.
const WHILE_THE_OWNER_IS_SILENT: f64 = 1.5;
/// Requests an hour that a part may make at least: of a key that is hardly used, the busiest hour says little.
const LEAST_AN_HOUR: u64 = 5;
/// How far back the busiest hour is looked for.
const USUAL: Millis = 14 * DAY;

/// Where a request came from, as parts have it.
fn origin(case: &Case<'_>) -> PlaceCore {
    case.place.map_or_else(|| PlaceCore::unknown(case.record.source_ip), |place| place.core)
}

/// The part that a request belongs to.
pub(super) fn part_of(case: &Case<'_>) -> Part {
    Part::of(&case.features.client, &origin(case))
}

/// What a request says about its part; findings against it name it.
pub(super) fn sighting(case: &Case<'_>, findings: &mut [Finding]) -> PartSighting {
    let part = part_of(case);
    let accused = accused(case, part, findings);
    if accused.is_some() {
        let origin = origin(case);
        let name = PartName { client: &case.features.client, place: &origin }.to_string();
        findings.iter_mut().filter(|finding| accuses(finding)).for_each(|finding| finding.name_part(&name));
    }
    PartSighting {
        part,
        weight: case.weights.total(),
        switched: case.recent.last().is_some_and(|seen| seen.part != part),
        accused,
        is_held: case.profile.later.parts.held(part, case.now()).is_some(),
    }
}

/// Whether a finding is a reason to hold a part of the key's traffic back.
fn accuses(finding: &Finding) -> bool {
    finding.is_enforced() && finding.accused == Accused::Key && finding.severity >= Severity::High
}

fn accused(case: &Case<'_>, part: Part, findings: &[Finding]) -> Option<Held> {
    let worst = findings.iter().filter(|finding| accuses(finding)).max_by_key(|finding| finding.severity)?;
    let of_places = |finding: &Finding| {
        [AnomalyKind::ImpossibleTravel, AnomalyKind::ConcurrentLocations].contains(&finding.kind)
    };
    let born = case.profile.first_seen?;
    let another = findings.iter().any(of_places) || case.shows_another_actor();
    if !another || case.profile.later.parts.is_settled(part, born, case.now()) {
        return None;
    }
    Some(if worst.severity == Severity::Critical { Held::Stopped } else { Held::Slowed })
}

/// The most requests an hour that a part of a key's traffic may make; `None` for any number.
pub fn most_an_hour(profile: &Profile, part: Part, now: Millis) -> Option<u64> {
    let parts = &profile.later.parts;
    let (since, born) = (parts.get(part)?.slowed_at, profile.first_seen.unwrap_or(now));
    match parts.held(part, now)? {
        Held::Stopped => Some(0),
        Held::Slowed => {
            let beside = parts.goes_on_beside(part, born, since, now);
            let times = if beside { 1.0 } else { WHILE_THE_OWNER_IS_SILENT };
            Some(((busiest_hour(profile, now) as f64 * times) as u64).max(LEAST_AN_HOUR))
        }
    }
}

/// The most requests that an hour of the last two weeks held.
fn busiest_hour(profile: &Profile, now: Millis) -> u64 {
    let first = (now - USUAL).div_euclid(HOUR);
    let hours = profile.history.hours().rev().take_while(|(hour, _)| i64::from(*hour) >= first);
    hours.map(|(_, row)| row.requests).max().unwrap_or(0)
}
