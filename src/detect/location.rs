//! New location.
//!
//! Why: the place a key is used from is the first thing that changes when it is stolen, and worth a line in the log.
//! Trips when: network, country and region are all new to a key past its warm-up. Low: alone it is nothing.
//! Stays quiet when: impossible travel or drift say more about the same request (they weigh it in); the place is in use
//! for an hour already.
//! Blind spots: the victim's own region or network.

use super::{
    Case, Evidence, knowledge,
    weight::{is_warming_up, known_days},
};
use crate::domain::finding::{AnomalyKind, Finding, Severity};

const ADVICE: &str = "Nothing, if the owner travels or moved; otherwise watch the key.";

/// Remarks on a new place.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let place = case.place?;
    if case.weights.place <= 0.0 || is_warming_up(case.profile, case.now()) {
        return None;
    }
    if knowledge::is_old_news(&case.key.peers, &place.core, case.now()) {
        return None;
    }
    let samples = case.profile.requests;
    let evidence = Evidence::new(case.weights.place, 0.0, 0.0, samples)
        .with("unit", "natural logarithm of the odds of a new place")
        .with("current", place.summary())
        .with("known_countries", case.profile.countries.len())
        .number("known_days", known_days(case.profile));
    let score = 1.0 - (-case.weights.place).exp();
    Some(case.finding(AnomalyKind::NewLocation, Severity::Low, score, evidence, ADVICE))
}
