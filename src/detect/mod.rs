//! The detectors: pure functions from a case to a finding, one file each. To add one: its file, one line in
//! [`all`], its section in `config/default.toml`, its page in `docs/detection.md`.

mod burst;
mod concurrent;
mod evidence;
mod failures;
mod knowledge;
mod size;
mod stuffing;
mod travel;

pub use evidence::Evidence;
pub use knowledge::{Features, Knowledge};

use crate::domain::{
    Millis,
    allowlist::Allowlist,
    finding::{Accused, AnomalyKind, Finding, Mode, Severity},
    observation::Observation,
    place::{Place, PlaceCore, PlaceSummary},
    policy::Policy,
    profile::Profile,
    record::Record,
};

/// All that is known when one request is judged.
pub struct Case<'a> {
    /// The request.
    pub record: &'a Record,
    /// Where it came from, when known.
    pub place: Option<&'a Place>,
    /// What the store says of the key.
    pub key: &'a Observation,
    /// What the store says of the address; only asked for failing requests of keys that never succeeded.
    pub address: Option<&'a Observation>,
    /// What is normal for the key.
    pub profile: &'a Profile,
    /// The request's features in the profile's terms.
    pub features: &'a Features,
    /// Limits, thresholds, modes.
    pub policy: &'a Policy,
    /// What must be left alone.
    pub allowlist: &'a Allowlist,
    /// Names of a place of which only the core is kept.
    pub describe: &'a dyn Fn(&PlaceCore) -> PlaceSummary,
}

impl Case<'_> {
    /// The moment of judgement.
    pub fn now(&self) -> Millis {
        self.key.now
    }

    /// How much the profile knows.
    pub fn knowledge(&self) -> Knowledge {
        Knowledge::of(self.profile, &self.policy.learning, self.now())
    }

    /// A finding against the key.
    fn finding(
        &self,
        kind: AnomalyKind,
        severity: Severity,
        score: f64,
        evidence: Evidence,
        advice: &str,
    ) -> Finding {
        Finding {
            kind,
            severity,
            score: (score.clamp(0.0, 1.0) * 1000.0).round() / 1000.0,
            mode: self.policy.mode(kind),
            recommendation: advice.to_owned(),
            evidence: evidence.into_json(),
            accused: Accused::Key,
        }
    }
}

/// One detector.
pub struct Detector {
    /// What it finds.
    pub kind: AnomalyKind,
    /// Judges one case.
    pub judge: fn(&Case<'_>) -> Option<Finding>,
}

/// Every detector.
pub fn all() -> &'static [Detector] {
    &[
        Detector { kind: AnomalyKind::ImpossibleTravel, judge: travel::judge },
        Detector { kind: AnomalyKind::ConcurrentLocations, judge: concurrent::judge },
        Detector { kind: AnomalyKind::TrafficBurst, judge: burst::judge },
        Detector { kind: AnomalyKind::RequestSizeAnomaly, judge: size::judge },
        Detector { kind: AnomalyKind::HighFailureRate, judge: failures::judge },
        Detector { kind: AnomalyKind::CredentialStuffing, judge: stuffing::judge },
    ]
}

/// Asks every detector that is not off.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    all().iter().filter(|d| case.policy.mode(d.kind) != Mode::Off).filter_map(|d| (d.judge)(case)).collect()
}
