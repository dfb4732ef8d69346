//! The stages of a request on its way to a decision. Each is made of the former, by value.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    clock::Instant,
    detect::{Attribution, Features},
    domain::{
        decision::Decision,
        finding::Finding,
        observation::{Charge, ChargeMode, Observation},
        place::Place,
        profile::PartSighting,
        record::Record,
        registry::{Applied, NotAllowed},
        reservation::HoldTerms,
    },
    engine::profile_entry::ProfileHandle,
};

/// What the request is asked about for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Purpose {
    /// It has happened.
    Record,
    /// It is to happen.
    Check,
    /// It is to happen, and room for it is to be held.
    Reserve(HoldTerms),
}

/// Limits of the registry that apply to a request.
pub(in crate::engine) type AppliedLimits = SmallVec<[Applied; 4]>;

/// A request before the store is asked.
pub(in crate::engine) struct Request<'r> {
    pub known: Known<'r>,
    pub charge: Charge,
    /// What is asked about its address.
    pub address: Option<Charge>,
}

/// What is known of a request by itself.
pub(in crate::engine) struct Known<'r> {
    pub record: &'r Record,
    pub place: Option<Arc<Place>>,
    pub features: Features,
    /// Whose it is, as far as that is known before the profile is at hand.
    pub attribution: Attribution,
    /// The registry's limits that apply to it, in the order of the counters that it charges.
    pub limits: AppliedLimits,
    /// Why its key may not make it.
    pub refusal: Option<NotAllowed>,
    pub profile: Option<ProfileHandle>,
    /// The profile of its project.
    pub prior: Option<ProfileHandle>,
    /// Whether a new subject's place was taken for it.
    pub new_subject: bool,
}

/// A request that the store has seen, or the fallback in its place.
pub(in crate::engine) struct Observed<'r> {
    pub known: Known<'r>,
    pub charge: Charge,
    /// Whether it is the key's own doing, or its source's alone.
    pub attribution: Attribution,
    pub profile: ProfileHandle,
    /// The profile of its project, when one is named.
    pub prior: Option<ProfileHandle>,
    pub key: Observation,
    pub address: Option<Observation>,
    pub degraded: bool,
    /// By when what is found should be written, for the answer to be in time.
    pub write_by: Instant,
    /// The whole charge, where the store did not answer and it has an identity: it is made when the store is back,
    /// once, and usage counts it then.
    pub waits: Option<Box<Charge>>,
}

impl Observed<'_> {
    /// Whether what this request charged can be taken back: it was asked to be admitted, and was. What waits to be
    /// charged is forgotten instead.
    pub(super) fn is_admission(&self) -> bool {
        self.charge.mode == ChargeMode::Admit && self.key.admitted && !self.waits_for_store()
    }

    /// Whether it is charged when the store is back, if at all.
    pub(super) fn waits_for_store(&self) -> bool {
        self.degraded && self.charge.claim().is_some()
    }
}

/// A request that was judged.
pub(super) struct Judged<'r> {
    pub observed: Observed<'r>,
    /// The decision as far as the judgement goes.
    pub decision: Decision,
    pub next: Next,
}

/// What follows from a judgement.
pub(super) enum Next {
    /// Nothing: a limit or the registry refuses the request, or detectors are not asked about it.
    Nothing,
    /// A ban refuses it: what it charged is taken back.
    TakeBack,
    /// Detectors found this, or nothing: the ladder is climbed for each finding, and what is admitted is learned.
    /// With what the request says about its part of the key's traffic, unless the allowlist covers it.
    Respond(Vec<Finding>, Option<PartSighting>),
}
