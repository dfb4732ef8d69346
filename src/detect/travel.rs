//! Impossible travel.
//!
//! Why: one secret used in two places that nobody can travel between is in two hands, or behind an exit far away.
//! Trips when: the distance to a recent place, both accuracy radii taken off, and the speed it would take are above
//! their limits, and the place is not one the key is known to be used from. How bad it is follows from how settled the
//! key is and what else is new about the request (balanced), or is critical at once (strict).
//! Stays quiet when: either place has no coordinates or too vague ones; the profile knows the place, its network or
//! the region; an operator allowed the pair.
//! Blind spots: a thief in the victim's own region or network; the first day of a key (balanced: alerts only).

use super::{Case, Evidence, knowledge, weight::known_days};
use crate::domain::{
    HOUR,
    finding::{AnomalyKind, Finding, Severity},
    place::PlaceCore,
    policy::Preset,
};

const ADVICE: &str = "Ask the key's owner whether they use this place; rotate the key if not, or allow the pair of places if so.";
/// Weight of a move that nobody can make, beside the weight of the new place: about one in twenty keys that show up in
/// a new place do so through an exit far away.
const IMPOSSIBLE: f64 = 3.0;

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
    let trip = fastest_trip(case, place)?;
    if case.allowlist.covers_pair(&trip.from, place, case.now()) {
        return None;
    }
    let severity = match case.policy.preset {
        Preset::Strict if knowledge::known_moves(case.profile, &trip.from, place) > 0 => return None,
        Preset::Strict => Severity::Critical,
        Preset::Balanced if knowledge::knows_place(case.profile, place, case.now()) => return None,
        Preset::Balanced => case.severity(IMPOSSIBLE, place),
    };
    let weight = IMPOSSIBLE + case.weights.total();
    let evidence = Evidence::new(trip.speed_kmh.round(), 0.0, policy.max_speed_kmh, case.profile.requests)
        .with("previous", (case.describe)(&trip.from))
        .with("current", case.place.map(|p| p.summary()))
        .number("distance_km", trip.distance_km.round())
        .number("speed_kmh", trip.speed_kmh.round())
        .number("limit_kmh", policy.max_speed_kmh)
        .with("seconds", trip.seconds)
        .with("new", case.weights.names())
        .number("weight", weight)
        .number("known_days", known_days(case.profile));
    let score = 1.0 - (-weight).exp();
    Some(case.finding(AnomalyKind::ImpossibleTravel, severity, score, evidence, ADVICE))
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
