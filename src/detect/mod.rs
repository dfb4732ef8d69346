//! The detectors: pure functions from a case to a result, one file each. To add one: its file, one line in
//! [`all`], its section in `config/default.toml`, its page in `docs/detection.md`.

mod attribution;
mod burst;
mod concurrent;
mod detector_result;
mod drift;
mod evidence;
mod failures;
mod knowledge;
mod location;
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
pub use detector_result::{DetectorReport, DetectorResult, Margin, Quiet};
pub use evidence::Evidence;
pub use knowledge::Features;
pub use recent::{Probe, Recent, Seen};
pub use weight::{Weights, is_warming_up, is_young, known_days};

use crate::domain::{
    DAY, Millis,
    allowlist::Allowlist,
    finding::{Accused, AnomalyKind, Finding, Mode, Severity},
    observation::Observation,
    place::{Place, PlaceCore, PlaceSummary},
    policy::Policy,
    profile::{About, Context, Familiar, Moments, Profile},
    record::{Outcome, Record},
    stable_hash,
};

/// A place from which so much of a project's traffic comes is one that all of its keys may be used from.
const COMMON_IN_PROJECT: f64 = 0.1;
/// Requests from a new place that are more than a visit.
const SETTLING_IN: u64 = 12;

/// Why a finding is less severe than its numbers.
const YOUNG: &str = "the key is in its first two days";
const FIRST_WEEK: &str = "the key is in its first week";
const NO_STRANGER: &str = "beside the place at most one other thing is new, and that not the client";
const NO_OTHER_ACTOR: &str = "nothing shows another actor: the place and the client are the key's own";
const ALREADY_REPORTED: &str = "it was said an hour ago or more, and is not clearly worse";
/// Why a finding is more severe than its numbers.
const NEW_PLACE: &str = "a dozen requests came from a place that is new to the key";

/// All that is known when one request is judged.
pub struct Case<'a> {
    /// The request.
    pub record: &'a Record,
    /// Where it came from, when known, with its names.
    pub place: Option<&'a Place>,
    /// Where it came from, without coordinates that are too vague to say anything (`max_radius_km` of impossible travel).
    pub here: Option<PlaceCore>,
    /// Whose it is.
    pub attribution: Attribution,
    /// What the store says of the key.
    pub key: &'a Observation,
    /// What the store says of the address: its refused credentials. Only asked where these were refused, or were before.
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
    /// When the geo database was loaded; `None` where it is the same for all that is judged.
    pub geo_loaded: Option<Millis>,
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
        let context = Context::of(&features.client, &features.endpoint, record.model.as_deref());
        let own = profile.later.contexts.narrowest(context, min_samples.div_ceil(2));
        Self { moments: own.unwrap_or_else(|| profile.sizes.moments()), own: own.is_some(), context }
    }
}

impl<'a> Case<'a> {
    /// A case, with what follows from its parts.
    #[allow(clippy::too_many_arguments, reason = "the parts of a case are what a case is")]
    pub fn new(
        (record, attribution): (&'a Record, Attribution),
        place: Option<&'a Place>,
        key: &'a Observation,
        address: Option<&'a Observation>,
        (profile, prior, recent): (&'a Profile, Option<&'a Profile>, &'a Recent),
        features: &'a Features,
        (policy, allowlist): (&'a Policy, &'a Allowlist),
        (describe, geo_loaded): (&'a dyn Fn(&PlaceCore) -> PlaceSummary, Option<Millis>),
    ) -> Self {
        let here = place.map(|p| p.core.precise(policy.detectors.impossible_travel.max_radius_km));
        let weights = Weights::of(record, here.as_ref(), features, (profile, prior), key.now);
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
            here,
            attribution,
            key,
            address,
            profile,
            prior,
            recent,
            features,
            policy,
            allowlist,
            describe,
            geo_loaded,
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
            probe: self.probing.then(|| Probe::of(&self.record.endpoint)),
            client: stable_hash(self.features.client.as_bytes()) as u32,
            succeeded: self.record.outcome() == Outcome::Success,
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

    /// Whether the key ever succeeded: its credentials are right somewhere, and were wrong here.
    fn succeeds_elsewhere(&self) -> bool {
        has_succeeded(self.profile, self.now())
    }

    /// A place without coordinates that are too vague to say anything.
    fn precise(&self, place: PlaceCore) -> PlaceCore {
        place.precise(self.policy.detectors.impossible_travel.max_radius_km)
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
        let in_use = || knowledge::is_in_use(&self.key.peers, place, self.now());
        if severity == Severity::High && in_use() {
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
        let here = self.here.as_ref().filter(|place| fresh(place));
        let settled = !weight::is_warming_up(self.profile, self.now());
        settled && here.is_some_and(|p| knowledge::hits_from(&self.key.peers, p) + 1 >= SETTLING_IN)
    }

    /// The highest level of an alarm of this kind about the same that was reported an hour ago or more.
    fn reported(&self, kind: AnomalyKind, what: u32) -> Option<f64> {
        self.profile.later.alarms.reported(kind, what, self.now())
    }

    /// A ban of a key needs evidence of another actor: a place or a client that the key never had. What is only loud may
    /// be a launch, a monthly job or a loop of the owner's own, and is high at most.
    fn held_to_its_actor(&self, finding: Finding) -> Finding {
        let of_places =
            [AnomalyKind::ImpossibleTravel, AnomalyKind::ConcurrentLocations].contains(&finding.kind);
        let another = of_places || self.shows_another_actor();
        if finding.accused != Accused::Key || finding.severity < Severity::Critical || another {
            return finding;
        }
        let mut evidence = finding.evidence;
        evidence["severity_because"] = NO_OTHER_ACTOR.into();
        Finding { severity: Severity::High, evidence, ..finding }
    }

    /// Whether the place, the network or the client is one that the key never had, or first had within the last day: what
    /// somebody does first must not vouch for what they do next.
    fn shows_another_actor(&self) -> bool {
        let row = self.profile.clients.get(self.features.client.as_str());
        let fresh = |row: &Familiar| {
            self.now() - row.first_seen < DAY && self.profile.first_seen != Some(row.first_seen)
        };
        let fresh_client = !weight::is_warming_up(self.profile, self.now()) && row.is_some_and(fresh);
        self.weights.shows_another_actor() || fresh_client || self.is_settling_in()
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

    /// Judges one case.
    fn result(&self, case: &Case<'_>) -> DetectorResult {
        if case.attribution != Attribution::Key && !self.judges_sources {
            return Err(Quiet::because(
                "the credentials were refused, which accuses their source and not the key",
            ));
        }
        (self.judge)(case).map(|finding| case.held_to_its_actor(finding))
    }
}

/// Every detector.
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
    ];
    ALL
}

/// Asks every detector that is not off.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let on = all().iter().filter(|d| case.policy.mode(d.kind) != Mode::Off);
    on.filter_map(|d| d.result(case).ok()).collect()
}

/// What every detector says, for people who want to know why: the findings of [`judge`] are among it, in the same order.
pub fn reports(case: &Case<'_>) -> Vec<DetectorReport> {
    let ask = |detector: &Detector| {
        let mode = case.policy.mode(detector.kind);
        let off = Quiet::because("the policy has it switched off");
        let result = if mode == Mode::Off { Err(off) } else { detector.result(case) };
        DetectorReport { kind: detector.kind, mode, result }
    };
    all().iter().map(ask).collect()
}
