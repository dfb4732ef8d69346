//! New location: a place that the key was never used from.
//!
//! Why: the place a key is used from is the first thing that changes when it is stolen, and worth a line in the log.
//!
//! Trips when: network, country and region are all new to a key past its warm-up. Always low: alone it is nothing.
//! Impossible travel and drift weigh the same place beside what else is new.
//!
//! Stays quiet when: the place has been in use for an hour. Its radius is above `max_radius_km` of impossible travel.
//! It has no coordinates, and its country is known.
//!
//! Blind spots: the victim's own region or network.

use super::{
    Case, DetectorResult, Evidence, Quiet, knowledge,
    weight::{WARMING_UP, is_warming_up, known_days},
};
use crate::domain::{
    finding::{AnomalyKind, Severity},
    wording::count,
};

const ADVICE: &str = "Nothing, if the owner travels or moved; otherwise watch the key.";

/// Reports a new place, low.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let place = case.place.ok_or(Quiet::because("the request's place is unknown"))?;
    if place.core.coordinates.is_some() && case.here.is_some_and(|here| here.coordinates.is_none()) {
        return Err(Quiet::because("the request's place is too vague to be one"));
    }
    if case.weights.place <= 0.0 {
        return Err(Quiet::because("the profile knows the place, or shows new ones all the time"));
    }
    if is_warming_up(case.profile, case.now()) {
        return Err(WARMING_UP);
    }
    if case.here.is_some_and(|here| knowledge::is_in_use(&case.key.peers, &here, case.now())) {
        return Err(Quiet::because("the place is in use for an hour already"));
    }
    let samples = case.profile.requests;
    let (current, countries) = (place.summary(), case.profile.countries.len());
    let days = known_days(case.profile);
    let summary = format!(
        "Used from {}, which is new to the key: known from {} over {}.",
        current.name(),
        count(countries as f64, "country", "countries"),
        count(days, "day", "days"),
    );
    let evidence = Evidence::new(summary, case.weights.place, 0.0, 0.0, samples)
        .with("unit", "natural logarithm of the odds of a new place")
        .with("current", current)
        .with("known_countries", countries)
        .number("known_days", days);
    let score = 1.0 - (-case.weights.place).exp();
    Ok(case.finding(AnomalyKind::NewLocation, Severity::Low, score, evidence, ADVICE))
}
