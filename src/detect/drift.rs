//! Behavioural drift: several things about a request are new at once.
//!
//! Why: a thief brings along a network, a client, habits of their own; the owner changes one thing at a time.
//! Trips when: the weights of what is new (place, client, endpoint, model, hour) add up past the severity thresholds:
//! two new things of which one is the place, or three others.
//! Stays quiet when: one thing is new, however new it is; the key shows new things all the time; the key is young.
//! Blind spots: a thief with the victim's client, in the victim's region, calling what the victim calls.

use super::{
    Case, Evidence,
    weight::{is_warming_up, known_days},
};
use crate::domain::{
    finding::{AnomalyKind, Finding, Severity},
    policy::Preset,
};

const ADVICE: &str =
    "Ask the key's owner whether they changed client, endpoints or provider just now; rotate the key if not.";

/// Adds up what is new.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let weights = case.weights;
    let novelties = weights.novelties();
    let place_is_new = weights.place > 0.0;
    if novelties < 2 || (novelties == 2 && !place_is_new) || is_warming_up(case.profile, case.now()) {
        return None;
    }
    let severity = match case.place.filter(|_| place_is_new) {
        Some(place) => case.severity(0.0, &place.core),
        // In a place it knows the owner may still be rebuilding the application: slow down, do not cut off.
        None => case.severity_of(weights.total()).min(Severity::High),
    };
    let evidence = Evidence::new(
        weights.total(),
        0.0,
        case.policy.detectors.behavioral_drift.weight_high,
        case.profile.requests,
    )
    .with("unit", "natural logarithm of the odds")
    .with("new", weights.names())
    .with("client", case.features.client.as_deref())
    .with("endpoint", &case.features.endpoint)
    .with("model", case.record.model.as_deref())
    .with("current", case.place.map(|p| p.summary()))
    .number("known_days", known_days(case.profile));
    let strictness = if case.policy.preset == Preset::Strict { 1.0 } else { 0.0 };
    let score = 1.0 - (-(weights.total() + strictness)).exp();
    Some(case.finding(AnomalyKind::BehavioralDrift, severity, score, evidence, ADVICE))
}
