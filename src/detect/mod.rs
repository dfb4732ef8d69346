//! The detectors: pure functions from a case to a verdict, one file each. To add one: its file, one line in
//! [`all`], its section in `config/default.toml`, its page in `docs/detection.md`.

mod burst;
mod concurrent;
mod drift;
mod evidence;
mod failures;
mod knowledge;
mod location;
mod recent;
mod rhythm;
mod scan;
mod size;
mod spike;
mod stuffing;
#[cfg(test)]
mod tests;
mod travel;
mod verdict;
mod weight;

pub use evidence::Evidence;
pub use knowledge::Features;
pub use recent::{Recent, Seen};
pub use verdict::{Judged, Margin, Quiet, Verdict};
pub use weight::{Weights, is_warming_up, is_young, known_days};

use crate::domain::{
    DAY, Millis,
    allowlist::Allowlist,
    finding::{Accused, AnomalyKind, Finding, Mode, Severity},
    observation::Observation,
    place::{Place, PlaceCore, PlaceSummary},
    policy::Policy,
    profile::{About, Context, Moments, Profile},
    record::{Outcome, Record},
};

/// A place from which so much of a project's traffic comes is one that all of its keys may be used from.
const COMMON_IN_PROJECT: f64 = 0.1;
/// Requests from a new place that are more than a visit.
const SETTLING_IN: u64 = 12;

/// Why a finding is less severe than its numbers.
const YOUNG: &str = "the key is in its first two days";
const FIRST_WEEK: &str = "the key is in its first week";
const NO_STRANGER: &str = "beside the place at most one other thing is new, and that not the client";
const SAID: &str = "it was said an hour ago or more, and is not clearly worse";
/// Why a finding is more severe than its numbers.
const NEW_PLACE: &str = "a dozen requests came from a place that is new to the key";

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
    /// What is normal for its project, while the key is young.
    pub prior: Option<&'a Profile>,
    /// The key's last requests.
    pub recent: &'a Recent,
    /// The request's features in the profile's terms.
    pub features: &'a Features,
    /// Limits, thresholds, modes.
    pub policy: &'a Policy,
    /// What must be left alone.
    pub allowlist: &'a Allowlist,
    /// Names of a place of which only the core is kept.
    pub describe: &'a dyn Fn(&PlaceCore) -> PlaceSummary,
    /// What is new about the request.
    pub weights: Weights,
    /// The sizes that are usual for what it is for.
    pub sizes: Sizes<'a>,
    /// Deviations of its size above the usual, in log space; `None` when sizes say nothing.
    pub size_z: Option<f64>,
    /// Natural logarithm of its tokens, less the usual.
    pub size_shift: f64,
    /// Whether its endpoint is new and it was refused.
    pub probing: bool,
}

/// The sizes that a request's own is held against.
#[derive(Debug, Clone, Copy)]
pub struct Sizes<'a> {
    /// Their moments: of the same client on the same endpoint where enough is known of that, else of the whole key.
    pub moments: &'a Moments,
    /// Whether they are of the request's own context.
    pub own: bool,
    /// What the request is for.
    pub context: Context,
}

impl<'a> Sizes<'a> {
    fn of(record: &Record, features: &Features, profile: &'a Profile, min_samples: u64) -> Self {
        let context = Context::of(features.client.as_deref(), &features.endpoint, record.model.as_deref());
        let own = profile.later.contexts.narrowest(context, min_samples.div_ceil(2));
        Self { moments: own.unwrap_or_else(|| profile.sizes.moments()), own: own.is_some(), context }
    }
}

impl<'a> Case<'a> {
    /// A case, with what follows from its parts.
    #[allow(clippy::too_many_arguments, reason = "the parts of a case are what a case is")]
    pub fn new(
        record: &'a Record,
        place: Option<&'a Place>,
        key: &'a Observation,
        address: Option<&'a Observation>,
        (profile, prior, recent): (&'a Profile, Option<&'a Profile>, &'a Recent),
        features: &'a Features,
        (policy, allowlist): (&'a Policy, &'a Allowlist),
        describe: &'a dyn Fn(&PlaceCore) -> PlaceSummary,
    ) -> Self {
        let weights = Weights::of(record, place.map(|p| &p.core), features, (profile, prior), key.now);
        let sizes = Sizes::of(record, features, profile, policy.detectors.request_size.min_samples);
        let moments = sizes.moments.mean_and_deviation(key.now).filter(|_| record.tokens > 0);
        let size_shift = moments.map_or(0.0, |(mean, _)| (record.tokens as f64).ln() - mean);
        let size_z = moments.map(|(_, deviation)| size_shift / deviation.max(size::MIN_DEVIATION));
        let new_endpoint = profile.endpoints.get(features.endpoint.as_str()).is_none();
        let refused = matches!(record.outcome(), Outcome::AuthFailure | Outcome::NotFound);
        let probing = refused && new_endpoint;
        Self {
            record,
            place,
            key,
            address,
            profile,
            prior,
            recent,
            features,
            policy,
            allowlist,
            describe,
            weights,
            sizes,
            size_z,
            size_shift,
            probing,
        }
    }

    /// What is remembered of the request for the next ones.
    pub fn seen(&self) -> Seen {
        Seen {
            at: self.now(),
            size_z: self.size_z,
            size_shift: self.size_shift,
            context: self.sizes.context.any_model,
            fresh_model: self.model_is_fresh(),
            probing: self.probing,
        }
    }

    /// How much larger than usual the last requests are, this one included: mean natural logarithm. 0 for fewer than 8.
    fn recent_shift(&self) -> f64 {
        let (mut sum, mut count) = (self.size_shift, 1.0);
        for seen in self.recent.since(self.now() - DAY) {
            sum += seen.size_shift;
            count += 1.0;
        }
        if count < 8.0 { 0.0 } else { sum / count }
    }

    /// Whether the model is new, or was until a day ago.
    fn model_is_fresh(&self) -> bool {
        let Some(model) = self.record.model.as_deref().filter(|_| !self.profile.models.is_empty()) else {
            return false;
        };
        let first_seen = self.profile.models.get(model).map(|row| row.first_seen);
        !weight::is_warming_up(self.profile, self.now()) && first_seen.is_none_or(|at| self.now() - at < DAY)
    }

    /// The moment of judgement.
    pub fn now(&self) -> Millis {
        self.key.now
    }

    /// How bad evidence of this weight is.
    fn severity_of(&self, weight: f64) -> Severity {
        let thresholds = &self.policy.detectors.behavioral_drift;
        if weight >= thresholds.weight_critical {
            Severity::Critical
        } else if weight >= thresholds.weight_high {
            Severity::High
        } else {
            Severity::Low
        }
    }

    /// How bad a request from a new place is, with all that is new about it and `more` on top. Low while the key is
    /// warming up. Critical only with a client, or two other things, new beside the place, and once the key has been seen for a week:
    /// until then somebody else of its users may simply come by for the first time. What is not critical is no news any
    /// more once the place has been in use for an hour.
    fn severity(&self, more: f64, place: &PlaceCore) -> (Severity, Option<&'static str>) {
        if weight::is_warming_up(self.profile, self.now()) {
            return (Severity::Low, Some(YOUNG));
        }
        let mut severity = self.severity_of(self.weights.total() + more);
        let novelties = self.weights.novelties();
        let stranger = novelties > 2 || novelties == 2 && self.weights.client > 0.0;
        let mut because = None;
        if severity == Severity::Critical && (!stranger || weight::is_young(self.profile, self.now())) {
            because = Some(if stranger { FIRST_WEEK } else { NO_STRANGER });
            severity = Severity::High;
        }
        let old_news = || knowledge::is_old_news(&self.key.peers, place, self.now());
        if severity == Severity::High && old_news() {
            return (Severity::Low, Some("the place has been in use for an hour, and that was said"));
        }
        (severity, because)
    }

    /// Whether the key is known to be used from a place, or, while it is young, much of its project's traffic is.
    fn knows_place(&self, place: &PlaceCore) -> bool {
        let common = |prior| knowledge::share_from(prior, place, self.now()) >= COMMON_IN_PROJECT;
        knowledge::knows_place(self.profile, place, self.now()) || self.prior.is_some_and(common)
    }

    /// Whether many of the last requests, and this one, came from a place where the key has not been used for a day
    /// yet. Unusual numbers are evidence of a thief there, where at home they are a busy day.
    fn is_settling_in(&self) -> bool {
        let fresh = |place: &PlaceCore| {
            knowledge::is_fresh_place(self.profile, place, self.now()) && !self.knows_place(place)
        };
        let here = self.place.map(|p| &p.core).filter(|place| fresh(place));
        let settled = !weight::is_warming_up(self.profile, self.now());
        settled && here.is_some_and(|p| knowledge::hits_from(&self.key.peers, p) + 1 >= SETTLING_IN)
    }

    /// The loudest alarm of this kind about the same that people have had time to hear.
    fn heard(&self, kind: AnomalyKind, what: u32) -> Option<f64> {
        self.profile.later.alarms.heard(kind, what, self.now())
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
            about: About::default(),
        }
    }
}

/// One detector.
pub struct Detector {
    /// What it finds.
    pub kind: AnomalyKind,
    /// Judges one case.
    pub judge: fn(&Case<'_>) -> Verdict,
}

/// Every detector.
pub fn all() -> &'static [Detector] {
    &[
        Detector { kind: AnomalyKind::ImpossibleTravel, judge: travel::judge },
        Detector { kind: AnomalyKind::ConcurrentLocations, judge: concurrent::judge },
        Detector { kind: AnomalyKind::NewLocation, judge: location::judge },
        Detector { kind: AnomalyKind::TrafficBurst, judge: burst::judge },
        Detector { kind: AnomalyKind::RequestSizeAnomaly, judge: size::judge },
        Detector { kind: AnomalyKind::HighFailureRate, judge: failures::judge },
        Detector { kind: AnomalyKind::CredentialStuffing, judge: stuffing::judge },
        Detector { kind: AnomalyKind::BehavioralDrift, judge: drift::judge },
        Detector { kind: AnomalyKind::EndpointScan, judge: scan::judge },
        Detector { kind: AnomalyKind::TokenUsageSpike, judge: spike::judge_tokens },
        Detector { kind: AnomalyKind::CostSpike, judge: spike::judge_cost },
    ]
}

/// Asks every detector that is not off.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let on = all().iter().filter(|d| case.policy.mode(d.kind) != Mode::Off);
    on.filter_map(|d| (d.judge)(case).ok()).collect()
}

/// What every detector says, for people who want to know why: the findings of [`judge`] are among it, in the same order.
pub fn verdicts(case: &Case<'_>) -> Vec<Judged> {
    let ask = |detector: &Detector| {
        let mode = case.policy.mode(detector.kind);
        let off = Quiet::because("the policy has it switched off");
        let verdict = if mode == Mode::Off { Err(off) } else { (detector.judge)(case) };
        Judged { kind: detector.kind, mode, verdict }
    };
    all().iter().map(ask).collect()
}
