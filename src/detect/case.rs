//! A case: all that is known when one request is judged, and what several detectors conclude from it.

use super::{
    Attribution, Crowd, Evidence, Features, Probe, Recent, Seen, Weights, has_succeeded, knowledge, size,
    weight,
};
use crate::domain::{
    DAY, Millis,
    allowlist::Allowlist,
    finding::{Accused, AnomalyKind, Finding, Severity},
    observation::Observation,
    place::{Place, PlaceCore, PlaceSummary},
    policy::Policy,
    profile::{About, Context, Familiar, Moments, Part, Profile},
    record::{Outcome, Record},
    stable_hash,
};

/// A place from which this share of a project's requests comes is one that all of its keys may be used from.
const COMMON_IN_PROJECT: f64 = 0.1;
/// Requests from a new place that are more than a visit.
const MORE_THAN_A_VISIT: u64 = 12;
/// Requests, the present one included, that show how large the last ones are; fewer may be large by chance.
const LEAST_FOR_A_SHIFT: f64 = 8.0;

/// Why a finding is less severe than its numbers: nothing is unusual yet.
pub(super) const YOUNG: &str = "the key is in its first two days";
/// Why a finding about a key in its first two days is high.
const UNLIKE_PROJECT: &str = "no other key of the project is like this";
/// Requests that a key must have made elsewhere before its project judges it.
const LEAST_WORK: u64 = 10;
/// Weight on top of `weight_high` for a finding by the project alone: how new keys begin varies more than how they go
/// on.
const SURER_THAN_LATER: f64 = 1.0;
/// Why a finding is no reason for a ban: the next of the key's users may come by for the first time.
const FIRST_WEEK: &str = "the key is in its first week";
/// Why a finding is no reason for a ban: somebody who travels shows as much.
const TOO_LITTLE_NEW: &str =
    "beside the place too little is new: an owner who travels, or moves a service, shows as much";
/// Why a finding is no reason for a ban: volume alone may be a launch, a monthly job or a loop of the owner's.
const NO_OTHER_ACTOR: &str = "nothing shows another actor: the place and the client are the key's own";
/// Why a finding is less severe than its numbers: people have had time to read the first one.
pub(super) const ALREADY_REPORTED: &str = "it was said an hour ago or more, and is not clearly worse";
/// Why a finding is more severe than its numbers: unusual volume and an unusual place together are evidence.
pub(super) const NEW_PLACE: &str = "a dozen requests came from a place that is new to the key";

/// Finds the names of a place of which only the core is kept.
pub type Describe<'a> = &'a dyn Fn(&PlaceCore) -> PlaceSummary;

/// All that is known when one request is judged.
pub struct Case<'a> {
    /// The request, as `intake` read it.
    pub record: &'a Record,
    /// Where it came from, with its names; `None` without a geo database, or an entry in it.
    pub place: Option<&'a Place>,
    /// Where it came from as parts have it: its address alone where nothing else is known.
    pub origin: PlaceCore,
    /// Where it came from, without coordinates that are too vague to say anything (`max_radius_km` of impossible
    /// travel).
    pub here: Option<PlaceCore>,
    /// Whom the request's credentials accuse, if they were refused.
    pub attribution: Attribution,
    /// What the store counted for the key, this request included, and the places it was seen in before.
    pub key: &'a Observation,
    /// What the store counted for the address: its refused credentials. `None` where none were refused, now or before.
    pub address: Option<&'a Observation>,
    /// What is usual for the key, as far as it was learned.
    pub profile: &'a Profile,
    /// What is usual for its project. `None` once the key is a week old.
    pub prior: Option<&'a Profile>,
    /// The key's last requests, as this instance saw them.
    pub recent: &'a Recent,
    /// The client family and the endpoint template of the request.
    pub features: &'a Features,
    /// Thresholds and modes of the detectors.
    pub policy: &'a Policy,
    /// What operators allowed: subjects, networks, pairs of places.
    pub allowlist: &'a Allowlist,
    /// Finds the names of recent places, for evidence.
    pub describe: Describe<'a>,
    /// What the keys of others show about the address, or the client, of the request.
    pub crowd: Crowd,
    /// When the geo database was loaded; `None` where it is the same for all that is judged.
    pub geo_loaded: Option<Millis>,
    /// The part of the key's traffic that it belongs to.
    pub part: Part,
    /// What is new about the request, weighed.
    pub weights: Weights,
    /// The sizes that the request's own is held against.
    pub sizes: Sizes<'a>,
    /// Standard deviations of the logarithm of its tokens (those from a cache taken off) above the usual mean; `None`
    /// without tokens, or a known size.
    pub size_z: Option<f64>,
    /// Natural logarithm of its tokens, less the usual mean; 0 where that is not known.
    pub size_shift: f64,
    /// The path it asked for, if that was refused (401, 403) or is not there (404, 405).
    pub probe: Option<Probe>,
}

/// The sizes that a request's own is held against.
#[derive(Debug, Clone, Copy)]
pub struct Sizes<'a> {
    /// Their moments: of the same client on the same endpoint where enough is known of that, else of the whole key.
    pub moments: &'a Moments,
    /// Whether they are of the request's own context, and not of the whole key.
    pub own: bool,
    /// Client, endpoint and model of the request.
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
        (describe, geo_loaded): (Describe<'a>, Option<Millis>),
    ) -> Self {
        let here = place.map(|p| p.core.precise(policy.detectors.impossible_travel.max_radius_km));
        let origin = PlaceCore::of(place, record.source_ip);
        let part = Part::of(&features.client, &origin);
        let weights = Weights::of(record, here.as_ref(), features, (profile, prior), key.now);
        let sizes = Sizes::of(record, features, profile, policy.detectors.request_size.min_samples);
        let tokens = record.fresh_tokens();
        let moments = sizes.moments.mean_and_deviation(key.now).filter(|_| tokens > 0);
        let size_shift = moments.map_or(0.0, |(mean, _)| (tokens as f64).ln() - mean);
        let size_z = moments.map(|(_, deviation)| size_shift / deviation.max(size::MIN_DEVIATION));
        let known_endpoint = profile.endpoints.get(&*features.endpoint).is_some();
        let refused = matches!(record.outcome(), Outcome::AuthFailure | Outcome::NotFound);
        let probe = refused.then(|| Probe::of(&record.endpoint, known_endpoint));
        Self {
            record,
            place,
            origin,
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
            crowd: Crowd::default(),
            geo_loaded,
            part,
            weights,
            sizes,
            size_z,
            size_shift,
            probe,
        }
    }

    /// What the next requests of the key need to know of this one.
    pub fn seen(&self) -> Seen {
        Seen {
            at: self.now(),
            size_z: self.size_z,
            size_shift: self.size_shift,
            context: self.sizes.context.any_model,
            fresh_model: self.model_is_fresh(),
            probe: self.probe,
            prompt: self.repeated_size(),
            part: self.part,
            client: stable_hash(self.features.client.as_bytes()) as u32,
            succeeded: self.record.outcome() == Outcome::Success,
        }
    }

    /// How much larger than usual the requests of the last day are, this one included: the mean natural logarithm of
    /// their sizes over the usual. 0 for fewer than [`LEAST_FOR_A_SHIFT`].
    pub(super) fn recent_shift(&self) -> f64 {
        let (mut sum, mut count) = (self.size_shift, 1.0);
        for seen in self.recent.since(self.now() - DAY) {
            sum += seen.size_shift;
            count += 1.0;
        }
        if count < LEAST_FOR_A_SHIFT { 0.0 } else { sum / count }
    }

    /// Whether the model is new, or was until a day ago.
    pub(super) fn model_is_fresh(&self) -> bool {
        let Some(model) = self.record.model.as_deref().filter(|_| !self.profile.models.is_empty()) else {
            return false;
        };
        let first_seen = self.profile.models.get(model).map(|row| row.first_seen);
        !weight::is_warming_up(self.profile, self.now()) && first_seen.is_none_or(|at| self.now() - at < DAY)
    }

    /// The moment of judgement: the key's time at the store.
    pub fn now(&self) -> Millis {
        self.key.now
    }

    /// Whether the key ever succeeded. If its credentials were refused here, it succeeds elsewhere.
    pub fn succeeds_elsewhere(&self) -> bool {
        has_succeeded(self.profile, self.now())
    }

    /// A place, without its coordinates where their radius is above `max_radius_km`.
    pub(super) fn precise(&self, place: PlaceCore) -> PlaceCore {
        place.precise(self.policy.detectors.impossible_travel.max_radius_km)
    }

    /// The severity of evidence of this weight: critical from `weight_critical`, high from `weight_high`, else low.
    pub(super) fn severity_of(&self, weight: f64) -> Severity {
        let thresholds = &self.policy.detectors.behavioral_drift;
        if weight >= thresholds.weight_critical {
            Severity::Critical
        } else if weight >= thresholds.weight_high {
            Severity::High
        } else {
            Severity::Low
        }
    }

    /// How bad a request from a new place is, by the weight of all that is new and `more`; and why it is less bad.
    ///
    /// While the key is warming up its project judges. It is critical only beside a new client, or two other new
    /// things, and only once the key was seen for a week: until then the next of its users may come by for the first
    /// time. Of a key that works around the clock the endpoint must be new as well: who moves a service brings along a
    /// place, a client and a model. What is not critical is low once the place has been in use for an hour.
    pub(super) fn severity(&self, more: f64, place: &PlaceCore) -> (Severity, Option<&'static str>) {
        let (severity, because) = if weight::is_warming_up(self.profile, self.now()) {
            self.severity_by_project(more, place)
        } else {
            self.severity_by_itself(more)
        };
        if severity == Severity::High && knowledge::is_in_use(&self.key.peers, place, self.now()) {
            return (Severity::Low, Some("the place has been in use for an hour, and that was said"));
        }
        (severity, because)
    }

    /// The same by what the key has shown itself, whether or not that was said.
    fn severity_by_itself(&self, more: f64) -> (Severity, Option<&'static str>) {
        let now = self.now();
        let novelties = self.weights.novelties();
        let enough_is_new = if weight::works_around_the_clock(self.profile, now) {
            novelties > 2 && self.weights.endpoint > 0.0
        } else {
            novelties > 2 || novelties == 2 && self.weights.client > 0.0
        };
        match self.severity_of(self.weights.total() + more) {
            Severity::Critical if !enough_is_new => (Severity::High, Some(TOO_LITTLE_NEW)),
            Severity::Critical if weight::is_young(self.profile, now) => (Severity::High, Some(FIRST_WEEK)),
            severity => (severity, None),
        }
    }

    /// The same for a key that is too young to be judged by itself: low, and high where no other key of its project is
    /// like it and the key has worked elsewhere before.
    fn severity_by_project(&self, more: f64, place: &PlaceCore) -> (Severity, Option<&'static str>) {
        let called = (self.features.client.as_str(), self.record.model.as_deref());
        let unlike =
            self.prior.and_then(|prior| weight::unlike_the_project(prior, place, called, self.now()));
        let has_worked = self.profile.requests >= LEAST_WORK && self.weights.client > 0.0;
        let limit = self.policy.detectors.behavioral_drift.weight_high + SURER_THAN_LATER;
        match unlike {
            Some(weight) if has_worked && weight + more >= limit => (Severity::High, Some(UNLIKE_PROJECT)),
            _ => (Severity::Low, Some(YOUNG)),
        }
    }

    /// Whether the key is known to be used from a place, or, while it is young, much of its project's traffic is.
    pub(super) fn knows_place(&self, place: &PlaceCore) -> bool {
        let common = |prior| knowledge::share_from(prior, place, self.now()) >= COMMON_IN_PROJECT;
        knowledge::knows_place(self.profile, place, self.now()) || self.prior.is_some_and(common)
    }

    /// Whether a dozen requests, this one included, came from a place that the key was first used from within the last
    /// day. Unusual numbers are evidence of a thief there, where at home they are a busy day.
    pub(super) fn is_settling_in(&self) -> bool {
        let fresh = |place: &PlaceCore| {
            knowledge::is_fresh_place(self.profile, place, self.now()) && !self.knows_place(place)
        };
        let here = self.here.as_ref().filter(|place| fresh(place));
        let settled = !weight::is_warming_up(self.profile, self.now());
        settled && here.is_some_and(|p| knowledge::hits_from(&self.key.peers, p) + 1 >= MORE_THAN_A_VISIT)
    }

    /// The highest level of an alarm of this kind about the same that was reported an hour ago or more.
    pub(super) fn reported(&self, kind: AnomalyKind, what: u32) -> Option<f64> {
        self.profile.later.alarms.reported(kind, what, self.now())
    }

    /// The finding, high at most where nothing shows another actor than the key's own.
    ///
    /// A critical finding bans, and volume alone is no reason for that: it may be a launch, a monthly job or a loop
    /// of the owner's. Findings about places show another actor by themselves; findings against an address ban no
    /// key.
    pub(super) fn held_to_its_actor(&self, finding: Finding) -> Finding {
        let of_places =
            [AnomalyKind::ImpossibleTravel, AnomalyKind::ConcurrentLocations].contains(&finding.kind);
        let another = of_places || self.shows_another_actor();
        if finding.accused != Accused::Key || finding.severity < Severity::Critical || another {
            return finding;
        }
        let evidence = Evidence::of(finding.evidence).because(Some(NO_OTHER_ACTOR)).into_json();
        Finding { severity: Severity::High, evidence, ..finding }
    }

    /// Whether the place, the network or the client is one that the key never had, or first had within the last day.
    /// What somebody does first must not vouch for what they do next.
    pub(super) fn shows_another_actor(&self) -> bool {
        let row = self.profile.clients.get(self.features.client.as_str());
        let fresh = |row: &Familiar| {
            self.now() - row.first_seen < DAY && self.profile.first_seen != Some(row.first_seen)
        };
        let fresh_client = !weight::is_warming_up(self.profile, self.now()) && row.is_some_and(fresh);
        self.weights.shows_another_actor() || fresh_client || self.is_settling_in()
    }

    /// A finding against the key, in the mode of its detector. `score` is from 0 to 1, and kept to three digits.
    pub(super) fn finding(
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
