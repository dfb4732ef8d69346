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
    SECOND,
    finding::{AnomalyKind, Severity},
    place::{Coordinates, PlaceSummary},
    policy::Preset,
    wording::{count, list, span},
};

const ADVICE: &str = "Look where the key leaked (a repository, a page, a chat) and rotate it.";

/// Counts the distant places within `span_seconds`, and those of them that are new to the key.
pub fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.concurrent_locations;
    let current = case.place.ok_or(Quiet::because("the request's place is unknown"))?;
    let place = &case.here.ok_or(Quiet::because("the request's place is unknown"))?;
    let vague = Quiet::because("the request's place has no coordinates, or too vague ones");
    let here = place.coordinates.ok_or(vague)?;
    let strict = case.policy.preset == Preset::Strict;
    if case.knows_place(place) {
        return Err(Quiet::because("the profile knows the place"));
    }
    let span_millis = i64::try_from(policy.span_seconds).unwrap_or(i64::MAX / SECOND) * SECOND;
    let since = case.now() - span_millis;
    let mut distinct: SmallVec<[Coordinates; 8]> = SmallVec::from_slice(&[here]);
    let mut unknown = 1;
    let mut places: Vec<PlaceSummary> = Vec::new();
    for seen in case.key.peers.iter().filter(|seen| seen.last_seen >= since) {
        let peer = case.precise(knowledge::peer_place(seen));
        let Some(there) = peer.coordinates.filter(|_| peer.prefix != place.prefix) else { continue };
        if distinct.iter().all(|c| c.least_distance_km(&there) >= policy.min_distance_km) {
            distinct.push(there);
            unknown += u32::from(!case.knows_place(&peer));
            places.push((case.describe)(&peer));
        }
    }
    let distant = distinct.len() as u32;
    let least = policy.min_places;
    if distant < least {
        let (distant, least) = (f64::from(distant), f64::from(least));
        return Err(Quiet::below("too few distant places at once", distant, least, "places"));
    }
    if !strict && unknown + 1 < least {
        let (unknown, least) = (f64::from(unknown), f64::from(least - 1));
        return Err(Quiet::below("the profile knows most of the places", unknown, least, "new places"));
    }
    let days = known_days(case.profile);
    let judged = strict || !is_warming_up(case.profile, case.now());
    let severity = if judged { Severity::Critical } else { Severity::Low };
    let summary = summary(&current.summary(), &places, unknown, span_millis, least);
    let evidence = Evidence::new(summary, f64::from(distant), 1.0, f64::from(least), case.profile.requests)
        .with("unit", "distant places within the span")
        .with("places", places)
        .with("current", current.summary())
        .with("new_places", unknown)
        .with("span_seconds", policy.span_seconds)
        .number("known_days", days);
    let score = 1.0 - 0.5 * f64::from(least) / f64::from(distant.max(1));
    Ok(case.finding(AnomalyKind::ConcurrentLocations, severity, score, evidence, ADVICE))
}

fn summary(
    current: &PlaceSummary,
    others: &[PlaceSummary],
    unknown: u32,
    span_millis: i64,
    least: u32,
) -> String {
    let names: Vec<String> = std::iter::once(current).chain(others).map(PlaceSummary::name).collect();
    format!(
        "Used from {} within {} ({}), {unknown} of them new to the key; limit {least}.",
        count(names.len() as f64, "distant place", "distant places"),
        span(span_millis),
        list(&names),
    )
}
