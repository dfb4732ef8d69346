//! Behavioural drift: several things about a request are new at once.
//!
//! Why: a thief brings along a network, a client, habits of their own. The owner changes one thing at a time.
//!
//! Trips when: two things are new of which one is the place, or three others, and how bad that is follows from the
//! sum of their weights (see `weight`): high from `weight_high`, critical from `weight_critical`, low below. Without
//! a new place it is high at most, since the owner may be rebuilding the application.
//!
//! Stays quiet when: one thing is new, however new it is. The key is warming up. A key that shows new things all the
//! time has small weights, so its findings are low. Without a new place, what goes on an hour later is low.
//!
//! Blind spots: a thief with the victim's client, in the victim's region, calling what the victim calls.

use super::{
    ALREADY_REPORTED, Case, DetectorResult, Evidence, Quiet,
    weight::{WARMING_UP, is_warming_up, known_days},
};
use crate::domain::{
    finding::{AnomalyKind, Finding, Severity},
    policy::Preset,
    profile::{About, Context, NO_CLIENT},
    wording::{count, list, number},
};

const ADVICE: &str =
    "Ask the key's owner whether they changed client, endpoints or provider just now; rotate the key if not.";

/// Adds up the weights of what is new.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let weights = case.weights;
    let novelties = weights.novelties();
    let place_is_new = weights.place > 0.0;
    let least = if place_is_new { 2 } else { 3 };
    if novelties < least {
        let (novelties, least) = (f64::from(novelties), f64::from(least));
        return Err(Quiet::below("too few things are new at once", novelties, least, "new things"));
    }
    if is_warming_up(case.profile, case.now()) {
        return Err(WARMING_UP);
    }
    let what = what(case);
    let (severity, because) = match case.here.filter(|_| place_is_new) {
        Some(here) => case.severity(0.0, &here),
        // In a place that the key knows, the owner may be rebuilding the application: slow down, do not cut off, and
        // report it once.
        None if case.reported(AnomalyKind::BehavioralDrift, what).is_some() => {
            (Severity::Low, Some(ALREADY_REPORTED))
        }
        None => (case.severity_of(weights.total()).min(Severity::High), None),
    };
    let strictness = if case.policy.preset == Preset::Strict { 1.0 } else { 0.0 };
    let score = 1.0 - (-(weights.total() + strictness)).exp();
    let evidence = evidence(case).because(because);
    let finding = case.finding(AnomalyKind::BehavioralDrift, severity, score, evidence, ADVICE);
    Ok(Finding { about: About { what, level: weights.total() }, ..finding })
}

fn evidence(case: &Case<'_>) -> Evidence {
    let days = known_days(case.profile);
    let (total, limit) = (case.weights.total(), case.policy.detectors.behavioral_drift.weight_high);
    Evidence::new(summary(case, days), total, 0.0, limit, case.profile.requests)
        .with("unit", "natural logarithm of the odds")
        .with("new", case.weights.names())
        .with("client", &case.features.client)
        .with("endpoint", &case.features.endpoint)
        .with("model", case.record.model.as_deref())
        .with("current", case.place.map(|p| p.summary()))
        .number("known_days", days)
}

/// A number for the client and the model: the same new client is the same alarm.
fn what(case: &Case<'_>) -> u32 {
    Context::of(&case.features.client, "", case.record.model.as_deref()).full
}

fn named(client: &str) -> &str {
    if client == NO_CLIENT { "none named" } else { client }
}

fn summary(case: &Case<'_>, days: f64) -> String {
    let values = |name: &str| match name {
        "place" | "network" => case.place.map(|p| p.summary().name()),
        "client" => Some(named(&case.features.client).to_owned()),
        "endpoint" => Some(case.features.endpoint.to_string()),
        "model" => case.record.model.as_deref().map(str::to_owned),
        _ => None,
    };
    let new = case.weights.names();
    let named = new.iter().map(|name| match values(name) {
        Some(value) => format!("{name} ({value})"),
        None => (*name).to_owned(),
    });
    format!(
        "New at once after {}: {}; weight {}, high from {}.",
        count(days, "known day", "known days"),
        list(&named.collect::<Vec<_>>()),
        number(case.weights.total()),
        number(case.policy.detectors.behavioral_drift.weight_high),
    )
}
