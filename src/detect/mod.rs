//! The detectors: pure functions from a case to a result, one file each.
//!
//! To add one: its file, one line in [`all`], its section in `config/default.toml`, its part of `docs/detection.md`.
//! What all of them may use is in `case`.

mod attribution;
mod burst;
mod canary;
mod case;
mod concurrent;
mod crowd;
mod detector_result;
mod drift;
mod evidence;
mod failures;
mod knowledge;
mod location;
mod part;
mod recent;
mod scan;
mod seasonal_baseline;
mod size;
mod spike;
mod stuffing;
#[cfg(test)]
mod tests;
mod travel;
mod weight;

pub use attribution::{Attribution, has_a_past_from, has_succeeded};
pub use canary::used_canary;
pub use case::{Case, Describe, Sizes};
pub use crowd::{Crowd, FirstUses, Spray};
pub use detector_result::{DetectorReport, DetectorResult, Margin, Quiet};
pub use evidence::Evidence;
pub use knowledge::{Features, shows_news};
pub use part::usual_share;
pub use recent::{Probe, Recent, Seen};
pub use weight::{Weights, is_warming_up, is_young, known_days};

use case::{ALREADY_REPORTED, NEW_PLACE, YOUNG};

use crate::domain::{
    finding::{AnomalyKind, Finding, Mode},
    profile::PartSighting,
};

/// A detector: what it finds, and how it judges.
pub struct Detector {
    /// The anomaly type of its findings.
    pub kind: AnomalyKind,
    judge: fn(&Case<'_>) -> DetectorResult,
    /// Whether it also judges requests whose credentials were refused, by their source.
    judges_sources: bool,
}

impl Detector {
    const fn of_keys(kind: AnomalyKind, judge: fn(&Case<'_>) -> DetectorResult) -> Self {
        Self { kind, judge, judges_sources: false }
    }

    const fn of_sources(kind: AnomalyKind, judge: fn(&Case<'_>) -> DetectorResult) -> Self {
        Self { kind, judge, judges_sources: true }
    }

    /// Its answer about one case. A request whose credentials were refused is only judged by its source.
    fn result(&self, case: &Case<'_>) -> DetectorResult {
        if case.attribution != Attribution::Key && !self.judges_sources {
            return Err(Quiet::because(
                "the credentials were refused, which accuses their source and not the key",
            ));
        }
        (self.judge)(case).map(|finding| case.held_to_its_actor(finding))
    }
}

/// Every detector, in the order in which findings are listed.
pub fn all() -> &'static [Detector] {
    const ALL: &[Detector] = &[
        Detector::of_keys(AnomalyKind::ImpossibleTravel, travel::judge),
        Detector::of_keys(AnomalyKind::ConcurrentLocations, concurrent::judge),
        Detector::of_keys(AnomalyKind::NewLocation, location::judge),
        Detector::of_keys(AnomalyKind::TrafficBurst, burst::judge),
        Detector::of_keys(AnomalyKind::RequestSizeAnomaly, size::judge),
        Detector::of_sources(AnomalyKind::HighFailureRate, failures::judge),
        Detector::of_sources(AnomalyKind::CredentialStuffing, stuffing::judge),
        Detector::of_keys(AnomalyKind::BehavioralDrift, drift::judge),
        Detector::of_keys(AnomalyKind::EndpointScan, scan::judge),
        Detector::of_keys(AnomalyKind::TokenUsageSpike, spike::judge_tokens),
        Detector::of_keys(AnomalyKind::CostSpike, spike::judge_cost),
        Detector::of_sources(AnomalyKind::CanaryKeyUsed, canary::judge),
    ];
    ALL
}

/// The findings of every detector that is not off.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let on = all().iter().filter(|d| case.policy.mode(d.kind) != Mode::Off);
    on.filter_map(|d| d.result(case).ok()).collect()
}

/// The findings of every detector that is not off, and what the request says about its part of the key's traffic.
pub fn judge_part(case: &Case<'_>) -> (Vec<Finding>, PartSighting) {
    let mut findings = judge(case);
    let sighting = part::sighting(case, &mut findings);
    (findings, sighting)
}

/// What every detector found, or why it stayed quiet. The findings of [`judge`] are among it, in the same order.
pub fn reports(case: &Case<'_>) -> Vec<DetectorReport> {
    let ask = |detector: &Detector| {
        let mode = case.policy.mode(detector.kind);
        let off = Quiet::because("the policy has it switched off");
        let result = if mode == Mode::Off { Err(off) } else { detector.result(case) };
        DetectorReport { kind: detector.kind, mode, result }
    };
    all().iter().map(ask).collect()
}
