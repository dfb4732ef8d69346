//! Concurrent locations.
//!
//! Why: a key that is used from several distant places within the hour has been passed around.
//! Trips when: at least so many places, each far from the others, within the span, and most of them new to the key.
//! Stays quiet when: the profile knows the places (a service in three regions, a VPN's exits).
//! Blind spots: thieves that share one exit; the first day of a key (balanced: alerts only).

use smallvec::SmallVec;

use super::{
    Case, Evidence, knowledge,
    weight::{is_warming_up, known_days},
};
use crate::domain::{
    finding::{AnomalyKind, Finding, Severity},
    place::{Coordinates, PlaceSummary},
    policy::Preset,
};

const ADVICE: &str = "Look where the key leaked (a repository, a page, a chat) and rotate it.";

/// Counts distant places within the span.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.concurrent_locations;
    let place = &case.place?.core;
    let here = place.coordinates?;
    let strict = case.policy.preset == Preset::Strict;
    if knowledge::knows_place(case.profile, place, case.now()) {
        return None;
    }
    let since = case.now() - i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / 1000) * 1000;
    let mut distinct: SmallVec<[Coordinates; 8]> = SmallVec::from_slice(&[here]);
    let mut unknown = 1;
    let mut places: Vec<PlaceSummary> = Vec::new();
    for seen in case.key.peers.iter().filter(|seen| seen.last_seen >= since) {
        let peer = knowledge::peer_place(seen);
        let Some(there) = peer.coordinates else { continue };
        if distinct.iter().all(|c| c.least_distance_km(&there) >= policy.min_distance_km) {
            distinct.push(there);
            unknown += u32::from(!knowledge::knows_place(case.profile, &peer, case.now()));
            places.push((case.describe)(&peer));
        }
    }
    let count = distinct.len() as u32;
    if count < policy.min_places || (!strict && unknown + 1 < policy.min_places) {
        return None;
    }
    let days = known_days(case.profile);
    let judged = strict || !is_warming_up(case.profile, case.now());
    let severity = if judged { Severity::Critical } else { Severity::Low };
    let evidence = Evidence::new(f64::from(count), 1.0, f64::from(policy.min_places), case.profile.requests)
        .with("unit", "distant places within the span")
        .with("places", places)
        .with("current", case.place.map(|p| p.summary()))
        .with("new_places", unknown)
        .with("span_seconds", policy.span_seconds)
        .number("known_days", days);
    let score = 1.0 - 0.5 * f64::from(policy.min_places) / f64::from(count.max(1));
    Some(case.finding(AnomalyKind::ConcurrentLocations, severity, score, evidence, ADVICE))
}
