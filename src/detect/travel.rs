//! Impossible travel.
//!
//! Why: one secret used in two places that nobody can travel between is in two hands.
//! Trips when: the distance to a recent place, both accuracy radii taken off, and the speed it would take are above
//! their limits, and the place is not one the key is known to be used from.
//! Stays quiet when: either place has no coordinates or too vague ones; the profile knows the place, its network or
//! the move; an operator allowed the pair.
//! Blind spots: a thief in the victim's own region or network; the first hours of a key (balanced preset: alerts only).

use super::{Case, Evidence, Knowledge, knowledge};
use crate::domain::{
    HOUR,
    finding::{AnomalyKind, Finding, Severity},
    place::PlaceCore,
    policy::Preset,
};

const ADVICE: &str = "Ask the key's owner whether they use this place; rotate the key if not, or allow the pair of places if so.";

/// The fastest impossible move to the present place.
struct Trip {
    from: PlaceCore,
    distance_km: f64,
    seconds: i64,
    speed_kmh: f64,
}

/// Judges the move from each recent place to this one.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.impossible_travel;
    let place = &case.place?.core;
    let strict = case.policy.preset == Preset::Strict;
    let trip = fastest_trip(case, place)?;
    if case.allowlist.covers_pair(&trip.from, place, case.now()) {
        return None;
    }
    let known = knowledge::knows_place(case.profile, place, case.now())
        && (!strict || knowledge::known_moves(case.profile, &trip.from, place) > 0);
    if known {
        return None;
    }
    let novelties = case.features.novelties(case.record, case.profile);
    let severity = match (strict, case.knowledge()) {
        (true, _) => Severity::Critical,
        (false, Knowledge::Established) if novelties > 0 => Severity::Critical,
        (false, Knowledge::Established) => Severity::High,
        (false, Knowledge::Learning) => Severity::Low,
    };
    let excess = trip.speed_kmh / policy.max_speed_kmh;
    let evidence = Evidence::new(trip.speed_kmh, 0.0, policy.max_speed_kmh, case.profile.requests)
        .with("previous", (case.describe)(&trip.from))
        .with("current", case.place.map(|p| p.summary()))
        .number("distance_km", trip.distance_km.round())
        .number("speed_kmh", trip.speed_kmh.round())
        .number("limit_kmh", policy.max_speed_kmh)
        .with("seconds", trip.seconds)
        .with("new_features", novelties);
    Some(case.finding(AnomalyKind::ImpossibleTravel, severity, 1.0 - 0.5 / excess.max(1.0), evidence, ADVICE))
}

fn fastest_trip(case: &Case<'_>, place: &PlaceCore) -> Option<Trip> {
    let policy = &case.policy.detectors.impossible_travel;
    let here = place.coordinates.filter(|c| c.radius_km <= policy.max_radius_km)?;
    let trips = case.key.peers.iter().filter_map(|seen| {
        let from = knowledge::peer_place(seen);
        let there = from.coordinates.filter(|c| c.radius_km <= policy.max_radius_km)?;
        let distance_km = there.least_distance_km(&here);
        let seconds = ((case.now() - seen.last_seen) / 1000).max(0);
        let speed_kmh = distance_km / (seconds.max(1) as f64 / (HOUR / 1000) as f64);
        let impossible = distance_km >= policy.min_distance_km && speed_kmh > policy.max_speed_kmh;
        impossible.then_some(Trip { from, distance_km, seconds, speed_kmh })
    });
    trips.max_by(|a, b| a.speed_kmh.total_cmp(&b.speed_kmh))
}
