//! What one key does not show and many together do. Two kinds of credential stuffing are found by it.
//!
//! Keys of many projects from one address. Why: who has a bundle of stolen keys uses them from one machine. Trips when
//! one address has been new, for a day or less, to at least [`KEYS`] keys of [`PROJECTS`] projects, each of them from a
//! place where it was never used before. High, against each of the keys: it is reported and stops nothing, as whoever
//! shares the address did not choose it. Keys without a project count as one project.
//!
//! Unknown keys of one client from everywhere. Why: a list that is spread over many addresses shows at none of them.
//! Trips when, within two hours, unknown keys of one client family were refused: six times `min_keys` from
//! [`ADDRESSES`] addresses or more, and more than is usual for this client ([`TIMES_USUAL`]). High, against the
//! address.
//!
//! Stays quiet when: the place is known to the key. Blind spots: a bundle used from an address for each key; a client
//! that calls itself like everybody's. Both counts are of one instance, in bounded memory.

use super::{Case, Evidence, knowledge, weight::is_warming_up};
use crate::domain::{
    DAY, Millis,
    finding::{Accused, AnomalyKind, Finding, Severity},
    record::Outcome,
    wording::span,
};

/// Keys that one address must be new to.
const KEYS: u32 = 4;
/// Projects that these keys must be of: colleagues move together.
const PROJECTS: u32 = 4;
/// Times `min_keys` that one client's unknown keys must be.
const TIMES_LEAST: u32 = 6;
/// Addresses that one client's unknown keys must come from: fewer are found one by one.
const ADDRESSES: u32 = 15;
/// Times the unknown keys that are usual for the client.
const TIMES_USUAL: f64 = 4.0;

const ADVICE_ON_A_BUNDLE: &str =
    "Rotate these keys: somebody uses the keys of several projects from one address that none of them knows.";
const ADVICE_ON_A_SPRAY: &str =
    "Refuse unknown keys of this client for a while; look whether any of the list is real.";

/// Keys that an address has been new to for a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FirstUses {
    /// How many keys, the request's own included.
    pub keys: u32,
    /// Of how many projects they are; those without one count as one together.
    pub projects: u32,
}

/// The unknown keys of one client family that were refused lately.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spray {
    /// How many different keys.
    pub keys: u32,
    /// From how many addresses.
    pub addresses: u32,
    /// How many keys are usual for the client in such a span.
    pub usual: f64,
    /// The length of the span, in milliseconds.
    pub span_millis: Millis,
}

/// What the keys of others show about a request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Crowd {
    /// Keys that its address is new to.
    pub first_uses: FirstUses,
    /// Unknown keys of its client.
    pub spray: Spray,
}

impl Case<'_> {
    /// Whether the key succeeds from an address in a network that it first used within the last day, at a place where
    /// it was never used before that.
    pub fn is_first_use(&self) -> bool {
        let Some(place) = self.here.as_ref().filter(|_| self.record.outcome() == Outcome::Success) else {
            return false;
        };
        let row = self.profile.prefixes.get(&place.prefix.0);
        row.is_none_or(|row| self.now() - row.first_seen < DAY)
            && !is_warming_up(self.profile, self.now())
            && knowledge::is_fresh_place(self.profile, place, self.now())
    }
}

/// One address is new to keys of many projects.
pub(super) fn of_many_projects(case: &Case<'_>) -> Option<Finding> {
    let FirstUses { keys, projects } = case.crowd.first_uses;
    if keys < KEYS || projects < PROJECTS {
        return None;
    }
    let summary = format!(
        "{keys} keys of {projects} projects were first used from one address within a day; limit {KEYS} keys of \
         {PROJECTS}."
    );
    let evidence = Evidence::new(summary, f64::from(keys), 0.0, f64::from(KEYS), u64::from(keys))
        .with("unit", "keys that one address is new to")
        .with("projects", projects);
    let score = 1.0 - 0.5 * f64::from(KEYS) / f64::from(keys);
    Some(case.finding(AnomalyKind::CredentialStuffing, Severity::High, score, evidence, ADVICE_ON_A_BUNDLE))
}

/// The unknown keys of one client come from everywhere.
pub(super) fn spread(case: &Case<'_>) -> Option<Finding> {
    let Spray { keys, addresses, usual, span_millis } = case.crowd.spray;
    let least = case.policy.detectors.credential_stuffing.min_keys.saturating_mul(TIMES_LEAST);
    let threshold = f64::from(least).max(usual * TIMES_USUAL);
    if f64::from(keys) < threshold || addresses < ADDRESSES {
        return None;
    }
    let summary = format!(
        "{keys} unknown keys of client {} were refused from {addresses} addresses within {}; limit {threshold:.0}.",
        case.features.client,
        span(span_millis),
    );
    let evidence = Evidence::new(summary, f64::from(keys), usual, threshold, u64::from(keys))
        .with("unit", "unknown keys of one client")
        .with("addresses", addresses)
        .with("client", &case.features.client);
    let score = 1.0 - 0.5 * threshold / f64::from(keys);
    let finding =
        case.finding(AnomalyKind::CredentialStuffing, Severity::High, score, evidence, ADVICE_ON_A_SPRAY);
    Some(Finding { accused: Accused::Address, ..finding })
}
