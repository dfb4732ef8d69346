//! Concurrent locations: one key in several distant places at once.
//!
//! Why: a key that is used from several distant places within the hour has been passed around.
//!
//! Trips when: at least `min_places` places were used within `span_seconds`, each at least `min_distance_km` from the
//! others, the present one is new to the key, and all but one of the number needed are. Critical. In strict the others
//! need not be new.
//!
//! Stays quiet when: the profile knows the present place (a service in three regions, a VPN's exits). Places without
//! coordinates, or with a radius above `max_radius_km` of impossible travel, do not count.
//!
//! Blind spots: thieves that share one exit. A key's first two days (balanced: low at most).

use smallvec::SmallVec;

use super::{
    Case, DetectorResult, Evidence, Quiet, knowledge,
    weight::{is_warming_up, known_days},
};
use crate::domain::{
    Millis, SECOND,
    finding::{AnomalyKind, Severity},
    place::{Coordinates, PlaceCore, PlaceSummary},
    policy::Preset,
    wording::{count, list, span},
};

const ADVICE: &str = "Look where the key leaked (a repository, a page, a chat) and rotate it.";

/// Counts the distant places within `span_seconds`, and those of them that are new to the key.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.concurrent_locations;
    let current = case.place.ok_or(Quiet::because("the request's place is unknown"))?;
    let place = &case.here.ok_or(Quiet::because("the request's place is unknown"))?;
    let vague = Quiet::because("the request's place has no coordinates, or too vague ones");
    let here = place.coordinates.ok_or(vague)?;
    if case.knows_place(place) {
        return Err(Quiet::because("the profile knows the place"));
    }
    let span_millis = i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / SECOND) * SECOND;
    let Distant { others, new } = Distant::from(case, place, here, case.now() - span_millis);
    let (distant, least) = (f64::from(1 + others.len() as u32), f64::from(policy.min_places));
    if distant < least {
        return Err(Quiet::below("too few distant places at once", distant, least, "places"));
    }
    let strict = case.policy.preset == Preset::Strict;
    let (found, least_new) = (f64::from(new), least - 1.0);
    if !strict && found < least_new {
        return Err(Quiet::below("the profile knows most of the places", found, least_new, "new places"));
    }
    let judged = strict || !is_warming_up(case.profile, case.now());
    let severity = if judged { Severity::Critical } else { Severity::Low };
    let summary = summary(&current.summary(), &others, new, span_millis, policy.min_places);
    let evidence = Evidence::new(summary, distant, 1.0, least, case.profile.requests)
        .with("unit", "distant places within the span")
        .with("places", others)
        .with("current", current.summary())
        .with("new_places", new)
        .with("span_seconds", policy.span_seconds)
        .number("known_days", known_days(case.profile));
    let score = 1.0 - 0.5 * least / distant;
    Ok(case.finding(AnomalyKind::ConcurrentLocations, severity, score, evidence, ADVICE))
}

/// Recent places that are far from the present one and from each other.
struct Distant {
    others: Vec<PlaceSummary>,
    /// How many places are new to the key, the present one included.
    new: u32,
}

impl Distant {
    fn from(case: &Case<'_>, place: &PlaceCore, here: Coordinates, since: Millis) -> Self {
        let least_km = case.policy.detectors.concurrent_locations.min_distance_km;
        let mut apart: SmallVec<[Coordinates; 8]> = SmallVec::from_slice(&[here]);
        let mut distant = Self { others: Vec::new(), new: 1 };
        for seen in case.key.peers.iter().filter(|seen| seen.last_seen >= since) {
            let peer = case.precise(knowledge::peer_place(seen));
            let Some(there) = peer.coordinates.filter(|_| peer.prefix != place.prefix) else { continue };
            if apart.iter().all(|other| other.least_distance_km(&there) >= least_km) {
                apart.push(there);
                distant.new += u32::from(!case.knows_place(&peer));
                distant.others.push((case.describe)(&peer));
            }
        }
        distant
    }
}

fn summary(
    current: &PlaceSummary,
    others: &[PlaceSummary],
    new: u32,
    span_millis: i64,
    least: u32,
) -> String {
    let names: Vec<String> = std::iter::once(current).chain(others).map(PlaceSummary::name).collect();
    format!(
        "Used from {} within {} ({}), {new} of them new to the key; limit {least}.",
        count(names.len() as f64, "distant place", "distant places"),
        span(span_millis),
        list(&names),
    )
}
