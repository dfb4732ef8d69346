//! What is known of a request before the store is asked: retries, bans in force, its place, what it charges.

use std::{collections::HashMap, sync::Arc};

use smallvec::SmallVec;

use super::{frame::Frame, idempotency::IdempotencyCache, reservations};
use crate::{
    clock::Instant,
    detect::{Attribution, Features},
    domain::{
        Millis,
        decision::{Action, Decision},
        idempotency::IdempotencyScope,
        observation::{Charge, ChargeMode, ClientMark, Observation, Peer},
        place::{Place, PlaceCore, Prefix},
        quota::Lease,
        record::{Outcome, Record},
        registry::{Applied, Terms},
        standing::{Standing, StandingState},
        window::{Counts, WindowLimits},
    },
    engine::{ActivePolicy, Engine, bans, profiles::ProfileHandle},
};

/// Recent places kept per key.
const KEY_PEERS: u8 = 12;
/// Recent failing keys kept per address.
pub(super) const ADDRESS_PEERS: u8 = 64;

/// What the request is asked about for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Purpose {
    /// It has happened.
    Record,
    /// It is to happen.
    Check,
    /// It is to happen, and room for it is to be held.
    Reserve,
}

/// Limits of the registry that apply to a request.
pub(super) type Quotas = SmallVec<[Applied; 4]>;

/// A request on its way through the engine.
pub(in crate::engine) struct Item<'r> {
    pub record: &'r Record,
    pub state: State,
    /// Another instance has taken the same request on, and counts what it used.
    pub elsewhere: bool,
}

/// How far it is.
pub(in crate::engine) enum State {
    /// Answered without the store.
    Decided(Box<Decision>),
    /// A retry of an earlier one of the same batch.
    SameAs(usize),
    /// Waiting for the store.
    Waiting(Box<Waiting>),
    /// The store has answered (or the fallback in its place).
    Observed(Box<Observed>),
}

/// What goes to the store.
pub(in crate::engine) struct Waiting {
    pub place: Option<Arc<Place>>,
    pub features: Features,
    /// Whose it is, as far as that is known before the profile is at hand.
    pub attribution: Attribution,
    pub charge: Charge,
    /// The registry's limits that apply to it.
    pub limits: Quotas,
    pub profile: Option<ProfileHandle>,
    /// The profile of its project.
    pub prior: Option<ProfileHandle>,
    /// Whether a new subject's place was taken for it.
    pub new_subject: bool,
    /// The reservation that it settles.
    pub lease: Option<Lease>,
}

/// What came back.
pub(in crate::engine) struct Observed {
    pub place: Option<Arc<Place>>,
    pub features: Features,
    /// Whose it is.
    pub attribution: Attribution,
    pub charge: Charge,
    /// The registry's limits that apply to it.
    pub limits: Quotas,
    pub profile: ProfileHandle,
    /// The profile of its project, when one is named.
    pub prior: Option<ProfileHandle>,
    pub key: Observation,
    pub address: Option<Observation>,
    pub degraded: bool,
    /// The reservation that it settles.
    pub lease: Option<Lease>,
    /// By when what is found should be written, for the answer to be in time.
    pub write_by: Instant,
}

impl Engine {
    pub(in crate::engine) async fn prepare<'r>(
        &self,
        records: &'r [Record],
        terms: Vec<Terms>,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Vec<Item<'r>> {
        let mut seen: HashMap<u128, usize> = HashMap::new();
        let mut items = Vec::with_capacity(records.len());
        let mut terms = terms.into_iter();
        for (index, record) in records.iter().enumerate() {
            let identity = if purpose == Purpose::Record { IdempotencyCache::identity(record) } else { None };
            let earlier =
                identity.and_then(|id| if records.len() > 1 { seen.insert(id, index) } else { None });
            let mut elsewhere = false;
            let terms = terms.next().unwrap_or_default();
            let state = if let Some(decision) = self.refuse_banned(record, active, now, purpose) {
                State::Decided(Box::new(decision))
            } else if let Some(refusal) = terms.refusal {
                State::Decided(Box::new(self.refuse_by_registry(record, refusal, active, now, purpose)))
            } else if let Some(earlier) = earlier {
                State::SameAs(earlier)
            } else if let Some(answer) = self.answered_before(identity, now, &mut elsewhere).await {
                State::Decided(Box::new(answer))
            } else if record.late {
                State::Decided(Box::new(Decision { late: true, ..self.plain_decision(record, active, now) }))
            } else {
                let mut waiting = self.waiting(record, terms.limits, active, now, purpose);
                if purpose == Purpose::Record && waiting.charge.mode == ChargeMode::Admit {
                    waiting.lease = self.settle_reserved(record, &mut waiting.charge).await;
                }
                State::Waiting(Box::new(waiting))
            };
            items.push(Item { record, state, elsewhere });
        }
        items
    }

    fn refuse_banned(
        &self,
        record: &Record,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Option<Decision> {
        let (subject, standing) = self.ban_on(record, active, purpose, now)?;
        let place = self.geo.lookup(record.source_ip);
        let frame = Frame::new(record, place.as_deref(), active, purpose, now);
        self.outbox.tell(|| frame.blocked(&subject, &standing));
        let mut decision = self.plain_decision(record, active, now);
        refuse(&mut decision, &standing, bans::reason(&subject));
        Some(decision)
    }

    async fn answered_before(
        &self,
        identity: Option<u128>,
        now: Millis,
        elsewhere: &mut bool,
    ) -> Option<Decision> {
        let identity = identity?;
        if let Some(answer) = self.idempotency.get(identity, now) {
            return Some((*answer).clone());
        }
        if self.options.idempotency_scope == IdempotencyScope::Store {
            let claimed = self.claimed_elsewhere(identity, now).await;
            *elsewhere = claimed.is_some();
            claimed.flatten()
        } else {
            None
        }
    }

    fn waiting(
        &self,
        record: &Record,
        applied: Quotas,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Waiting {
        let place = self.geo.lookup(record.source_ip);
        let core = place.as_ref().map_or_else(|| PlaceCore::unknown(record.source_ip), |p| p.core);
        let core = core.precise(active.policy.detectors.impossible_travel.max_radius_km);
        let profile = self.profiles.get(&record.key);
        let prior = record.project.as_ref().and_then(|project| self.profiles.get(project));
        let attribution = match purpose {
            Purpose::Record => self.attribution(record, profile.as_ref()),
            Purpose::Check | Purpose::Reserve => Attribution::Key,
        };
        let is_key = attribution == Attribution::Key;
        let counted = match purpose {
            Purpose::Record => !record.refused_by_keyward && (is_key || record.has_usage()),
            Purpose::Check => false,
            Purpose::Reserve => true,
        };
        let outcome = record.outcome();
        let new_subject = counted && profile.is_none() && self.new_subjects.take(&record.address, now);
        let counts = Counts {
            requests: 1,
            tokens: record.tokens,
            auth_failures: u64::from(outcome == Outcome::AuthFailure && is_key),
            not_found: u64::from(outcome == Outcome::NotFound),
        };
        let features = Features::of(record);
        let client = ClientMark::of(&features.client);
        let mut charge = Charge {
            subject: record.key.clone(),
            now,
            counts,
            limits: active.limits,
            mode: if counted { ChargeMode::Admit } else { ChargeMode::Peek },
            peer: is_key.then(|| Peer::place(&core, client)),
            peer_capacity: KEY_PEERS,
            may_create: profile.is_some() || new_subject,
            observing: false,
            quotas: applied.iter().map(|limit| limit.charge(record, now)).collect(),
            lease: None,
        };
        if purpose == Purpose::Reserve {
            // It has not been made yet: its place will be touched when it is reported.
            charge.peer = None;
            reservations::reserve(&mut charge, record, &self.reservations, self.options.lease);
        }
        Waiting {
            place,
            features,
            attribution,
            charge,
            limits: applied,
            profile,
            prior,
            new_subject,
            lease: None,
        }
    }

    /// Whose a request is. What Keyward refused is nobody's failure.
    pub(super) fn attribution(&self, record: &Record, profile: Option<&ProfileHandle>) -> Attribution {
        if record.refused_by_keyward {
            return Attribution::Key;
        }
        let source = Prefix::of(record.source_ip);
        match profile {
            Some(handle) => handle.with(|profile| Attribution::of(record.status, Some(profile), source)),
            None => Attribution::of(record.status, None, source),
        }
    }

    /// A decision with nothing against the request.
    pub(super) fn plain_decision(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Decision {
        Decision {
            request_id: record.request_id.clone(),
            key_id: record.key_id.clone(),
            allowed: true,
            action: Action::None,
            reason: None,
            retry_at: None,
            decided_at: now,
            anomalies: Vec::new(),
            limits: Vec::new(),
            reservation: None,
            cost: record.cost(),
            degraded: self.breaker.open_since().is_some(),
            late: false,
            would: None,
            policy_version: active.version.clone(),
        }
    }
}

/// The charge of refused credentials to their address, by the key in whose name they came; without one, the address is
/// only looked at.
pub(super) fn address_charge(record: &Record, now: Millis, key: Option<Peer>, may_create: bool) -> Charge {
    Charge {
        subject: record.address.clone(),
        now,
        counts: Counts { requests: 1, auth_failures: 1, ..Counts::default() },
        limits: WindowLimits::default(),
        mode: if key.is_some() { ChargeMode::Admit } else { ChargeMode::Peek },
        peer: key,
        peer_capacity: ADDRESS_PEERS,
        may_create,
        observing: false,
        quotas: Vec::new(),
        lease: None,
    }
}

/// Makes a decision one that a ban refuses.
pub(super) fn refuse(decision: &mut Decision, standing: &Standing, reason: crate::domain::decision::Reason) {
    decision.allowed = false;
    decision.reason = Some(reason);
    decision.retry_at = standing.until;
    decision.action = match standing.state {
        StandingState::PermanentlyBanned => Action::PermanentBan,
        _ => Action::TemporaryBan,
    };
}
