//! Impossible travel: one key in two places that nobody can travel between in time.
//!
//! Why: one secret used in two places that nobody can travel between is in two hands, or behind an exit far away.
//!
//! Trips when: from a recent place to this one, both of the following hold.
//! - The distance, both accuracy radii taken off, is at least `min_distance_km`.
//! - The speed that it takes is above `max_speed_kmh`.
//!
//! In balanced, how bad that is follows from the weight of all that is new, with that of the move on top. In strict
//! it is critical at once. The move is that of the client: where another client was in the other place, and this one
//! could have come here, it weighs little, as a service at home and a traveller may share a key.
//!
//! Stays quiet when: either place has no coordinates, or a radius above `max_radius_km`. The profile knows the place,
//! its network in that country, or its region (balanced), or has made the move before (strict). An operator allowed
//! the pair. The geo database moved and not the client: both places are of one network, or, for a day after a file
//! was loaded, of two networks that the key had before.
//!
//! Blind spots: a thief in the victim's own region or network. A key's first two days (balanced: low at most).

use super::{
    Case, DetectorResult, Evidence, Quiet, knowledge,
    weight::{self, known_days},
};
use crate::domain::{
    DAY, HOUR, SECOND,
    finding::{AnomalyKind, Severity},
    observation::ClientMark,
    place::{PlaceCore, PlaceSummary},
    policy::Preset,
    wording::{number, span},
};

const ADVICE: &str = "Ask the key's owner whether they use this place; rotate the key if not, or allow the pair of \
     places if so.";

/// Weight of a move that nobody can make, beside that of the new place: the natural logarithm of 20. About one in
/// twenty keys that show up in a new place do so through an exit far away. A key that makes far moves which it never
/// made before on every other day, as one inside an app does, is one of those: then the move weighs as little as that.
const IMPOSSIBLE: f64 = 3.0;
/// The same where another client was in the other place, and this one could have come here. A key of a service at
/// home and a traveller does that on each journey.
const POSSIBLE_FOR_THIS_CLIENT: f64 = 0.5;
/// Weight on top where the other place was used again since: somebody is in both.
const BACK_AND_FORTH: f64 = 1.0;

/// The fastest impossible move to the present place.
struct Trip {
    from: PlaceCore,
    distance_km: f64,
    seconds: i64,
    speed_kmh: f64,
    /// Whether the same client would have had to make the move, as far as user agents tell.
    same_client: bool,
    /// Whether the other place was used since this one was.
    back_and_forth: bool,
}

impl Trip {
    fn weight(&self, usual: f64) -> f64 {
        let impossible = if self.same_client { IMPOSSIBLE.min(usual) } else { POSSIBLE_FOR_THIS_CLIENT };
        if self.back_and_forth && self.same_client { impossible + BACK_AND_FORTH } else { impossible }
    }
}

/// Judges the move from each recent place to this one.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.impossible_travel;
    let unknown = Quiet::because("the request's place is unknown");
    let (here, place) = (case.place.ok_or(unknown)?, &case.here.ok_or(unknown)?);
    let trip = fastest_trip(case, place)?;
    let usual = weight::of_far_moves(case.profile, policy.min_distance_km);
    let trip_weight = trip.weight(usual);
    if case.allowlist.covers_pair(&trip.from, place, case.now()) {
        return Err(Quiet::because("the allowlist has this pair of places"));
    }
    let (severity, because) = match case.policy.preset {
        Preset::Strict if knowledge::known_moves(case.profile, &trip.from, place) > 0 => {
            return Err(Quiet::because("the profile knows this move"));
        }
        Preset::Strict => (Severity::Critical, None),
        Preset::Balanced if case.knows_place(place) => {
            return Err(Quiet::because("the profile knows the place"));
        }
        Preset::Balanced => case.severity(trip_weight, place),
    };
    let weight = trip_weight + case.weights.total();
    let (previous, current) = ((case.describe)(&trip.from), here.summary());
    let summary = trip.summary(&previous, &current, policy.max_speed_kmh);
    let evidence =
        Evidence::new(summary, trip.speed_kmh.round(), 0.0, policy.max_speed_kmh, case.profile.requests)
            .with("previous", previous)
            .with("current", current)
            .number("distance_km", trip.distance_km.round())
            .number("speed_kmh", trip.speed_kmh.round())
            .number("limit_kmh", policy.max_speed_kmh)
            .with("seconds", trip.seconds)
            .with("new", case.weights.names())
            .number("weight", weight)
            .number("known_days", known_days(case.profile))
            .because(because);
    let score = 1.0 - (-weight).exp();
    Ok(case.finding(AnomalyKind::ImpossibleTravel, severity, score, evidence, ADVICE))
}

impl Trip {
    fn summary(&self, previous: &PlaceSummary, current: &PlaceSummary, limit_kmh: f64) -> String {
        let when = match self.seconds {
            0 => "within a second of".to_owned(),
            seconds => format!("{} after", span(seconds * SECOND)),
        };
        format!(
            "Used in {} {when} {}, {} km away: {} km/h, limit {}.",
            current.name(),
            previous.name(),
            number(self.distance_km.round()),
            number(self.speed_kmh.round()),
            number(limit_kmh),
        )
    }
}

/// Whether the geo database has moved, and not the client: from one place of a network to another, or, for a day
/// after a file was loaded, between two networks that the key had before.
fn is_made_by_a_file(case: &Case<'_>, from: &PlaceCore, to: &PlaceCore) -> bool {
    let Some(loaded) = case.geo_loaded.filter(|loaded| case.now() - loaded < DAY) else {
        return from.prefix == to.prefix;
    };
    let had = |place: &PlaceCore| {
        let row = case.profile.prefixes.get(&place.prefix.0);
        row.is_some_and(|row| row.first_seen < loaded)
    };
    from.prefix == to.prefix || had(from) && had(to)
}

/// The fastest of the moves that nobody can make; else how near one was.
fn fastest_trip(case: &Case<'_>, place: &PlaceCore) -> Result<Trip, Quiet> {
    let policy = &case.policy.detectors.impossible_travel;
    let vague = Quiet::because("the request's place has no coordinates, or too vague ones");
    let here = place.coordinates.ok_or(vague)?;
    let new_client = case.weights.client > 0.0;
    let (client, none) = (ClientMark::of(&case.features.client), ClientMark::default());
    let arrived = knowledge::first_seen_at(&case.key.peers, place);
    let mut fastest: Option<Trip> = None;
    let (mut farthest_km, mut fastest_kmh) = (f64::NEG_INFINITY, 0.0_f64);
    for seen in &case.key.peers {
        let from = case.precise(knowledge::peer_place(seen));
        let Some(there) = from.coordinates.filter(|_| !is_made_by_a_file(case, &from, place)) else {
            continue;
        };
        let distance_km = there.least_distance_km(&here);
        let seconds = ((case.now() - seen.last_seen) / 1000).max(0);
        let speed_kmh = distance_km / (seconds.max(1) as f64 / (HOUR / 1000) as f64);
        farthest_km = farthest_km.max(distance_km);
        if distance_km < policy.min_distance_km {
            continue;
        }
        fastest_kmh = fastest_kmh.max(speed_kmh);
        let same_client = new_client || seen.peer.client() == client || seen.peer.client() == none;
        let back_and_forth = arrived.is_some_and(|at| at < seen.last_seen);
        let trip = Trip { from, distance_km, seconds, speed_kmh, same_client, back_and_forth };
        let rank = |t: &Trip| (t.same_client, t.speed_kmh);
        if speed_kmh > policy.max_speed_kmh && fastest.as_ref().is_none_or(|t| rank(&trip) >= rank(t)) {
            fastest = Some(trip);
        }
    }
    fastest.ok_or(if farthest_km == f64::NEG_INFINITY {
        Quiet::because("no recent place with coordinates to compare with")
    } else if farthest_km < policy.min_distance_km {
        Quiet::below("every recent place is near", farthest_km, policy.min_distance_km, "km")
    } else {
        Quiet::below("somebody can travel that fast", fastest_kmh, policy.max_speed_kmh, "km/h")
    })
}
