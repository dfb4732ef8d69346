//! The one trip to the store, bounded by the deadline, and what happens when it fails.

use std::{collections::HashMap, time::Duration};

use super::{
    idempotency::IdempotencyCache,
    prepare::{Item, Observed, State, address_charge},
    reservations,
};
use crate::{
    detect::{self, Attribution},
    domain::{
        HOUR, Millis,
        decision::{Action, Decision, Reason},
        idempotency::IdempotencyScope,
        observation::{Charge, ChargeMode, Observation, Peer},
        place::Prefix,
        policy::OnStoreFailure,
        profile::Profile,
        record::{Outcome, Record},
        subject::Subject,
    },
    engine::{ActivePolicy, Engine, events, profiles::ProfileHandle},
    store::{Claim, StoreError},
};

/// How a trip to the store went.
enum Observing {
    /// It answered.
    Answered(Vec<Observation>),
    /// It did not take the charges.
    NotMade,
    /// It may have taken them.
    Unknown,
}

impl Engine {
    /// Takes every waiting item to the store and back: all charges in one trip, beside it the profiles that are not at
    /// hand. When the store does not answer in time, the fallback observes in its place.
    pub(in crate::engine) async fn observe(
        &self,
        items: &mut [Item<'_>],
        active: &ActivePolicy,
        now: Millis,
    ) {
        let waiting: Vec<usize> = items
            .iter()
            .enumerate()
            .filter(|(_, i)| matches!(i.state, State::Waiting(_)))
            .map(|(n, _)| n)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let mut charges: Vec<Charge> = Vec::with_capacity(waiting.len());
        let mut addresses: Vec<Option<usize>> = Vec::with_capacity(waiting.len());
        for &n in &waiting {
            let State::Waiting(w) = &items[n].state else { continue };
            charges.push(w.charge.clone());
            let address =
                w.profile.as_ref().and_then(|p| self.about_address(items[n].record, w.attribution, p, now));
            addresses.push(address.as_ref().map(|_| charges.len()));
            charges.extend(address);
        }
        let observing = active.observes();
        charges.iter_mut().for_each(|charge| charge.observing = observing);
        let write_by = std::time::Instant::now() + self.patience(charges.len()) * 9 / 8;
        let cold = cold_subjects(items, &waiting);
        let asked = tokio::join!(self.ask(&charges, now), self.load_profiles(&cold));
        let (answer, profiles) = asked;
        let degraded = !matches!(answer, Observing::Answered(_));
        let mut observations = match answer {
            Observing::Answered(observations) => self.count_those_kept_out(&charges, observations, now).await,
            Observing::NotMade => self.fall_back(&charges, active, true),
            Observing::Unknown => self.fall_back(&charges, active, false),
        }
        .into_iter()
        .map(|seen| Observation { standing: seen.standing.counting(observing), ..seen });
        for (&n, address) in waiting.iter().zip(addresses) {
            let Some(key) = observations.next() else { break };
            let address = address.and_then(|at| {
                let observation = observations.next()?;
                self.settle_place(&charges[at], &observation);
                Some(observation)
            });
            let item = &mut items[n];
            let State::Waiting(w) = std::mem::replace(&mut item.state, State::SameAs(0)) else { continue };
            let at_hand = |subject: &Subject| {
                let stored = profiles.get(subject).cloned().unwrap_or_default();
                // A subject that was not taken on leaves no profile behind either.
                if key.tracked { self.profiles.put(subject, stored) } else { ProfileHandle::of(stored) }
            };
            let profile = w.profile.unwrap_or_else(|| at_hand(&item.record.key));
            let prior = w.prior.or_else(|| item.record.project.as_ref().map(at_hand));
            if w.new_subject && !key.created {
                self.new_subjects.give_back(&item.record.address, now);
            }
            let (place, features, charge, lease, limits) = (w.place, w.features, w.charge, w.lease, w.limits);
            let attribution = match w.attribution {
                Attribution::Key => Attribution::Key,
                _ => self.attribution(item.record, Some(&profile)).or_nobody(),
            };
            item.state = State::Observed(Box::new(Observed {
                place,
                features,
                attribution,
                charge,
                limits,
                profile,
                prior,
                key,
                address,
                degraded,
                lease,
                write_by,
            }));
        }
        self.observe_cold_addresses(items, &cold, observing, now).await;
    }

    /// Refused credentials of a key whose profile was not at hand: only now is it known whether it succeeds from there.
    async fn observe_cold_addresses(
        &self,
        items: &mut [Item<'_>],
        cold: &[Subject],
        observing: bool,
        now: Millis,
    ) {
        let mut at = Vec::new();
        let mut charges = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let State::Observed(o) = &item.state else { continue };
            let asks = o.address.is_none() && !o.degraded && cold.contains(&item.record.key);
            if asks && o.attribution == Attribution::Source {
                at.push(n);
                let address = self.about_address(item.record, o.attribution, &o.profile, now);
                charges.extend(address.map(|charge| Charge { observing, ..charge }));
            }
        }
        if charges.is_empty() {
            return;
        }
        let Observing::Answered(observations) = self.ask(&charges, now).await else { return };
        for ((n, charge), observation) in at.into_iter().zip(&charges).zip(observations) {
            self.settle_place(charge, &observation);
            if let State::Observed(o) = &mut items[n].state {
                let standing = observation.standing.counting(observing);
                o.address = Some(Observation { standing, ..observation });
            }
        }
    }

    /// What is to be asked about the address of a request: refused credentials are charged to it; a success is held against
    /// those that were refused before, unless the key has long succeeded from there. New addresses have places of their
    /// own, so that a flood of new keys does not hide the address it comes from.
    fn about_address(
        &self,
        record: &Record,
        attribution: Attribution,
        profile: &ProfileHandle,
        now: Millis,
    ) -> Option<Charge> {
        match attribution {
            Attribution::Nobody => None,
            Attribution::Source => {
                let elsewhere = profile.with(|profile| detect::has_succeeded(profile, now));
                self.accused_addresses.insert(record.address.clone(), now);
                let key = Peer::key(&record.key, elsewhere);
                Some(address_charge(record, now, Some(key), self.new_addresses.take(&record.address, now)))
            }
            Attribution::Key => {
                let since = self.accused_addresses.get(&record.address)?;
                let doubtful = record.outcome() == Outcome::Success && now - since <= HOUR;
                let source = Prefix::of(record.source_ip);
                let known = || profile.with(|profile| detect::has_a_past_from(profile, source, since));
                (doubtful && !known()).then(|| address_charge(record, now, None, false))
            }
        }
    }

    fn settle_place(&self, charge: &Charge, address: &Observation) {
        if charge.may_create && !address.created {
            self.new_addresses.give_back(&charge.subject, charge.now);
        }
    }

    /// A subject that the cap on new ones keeps out of the store is still held to its windows: by this instance alone. The
    /// counters that it shares with others are the store's, as ever.
    async fn count_those_kept_out(
        &self,
        charges: &[Charge],
        mut observations: Vec<Observation>,
        now: Millis,
    ) -> Vec<Observation> {
        let mut back = Vec::new();
        for (charge, observation) in charges.iter().zip(&mut observations) {
            if observation.tracked || charge.may_create {
                continue;
            }
            let refused = observation.quota_refusal.is_some();
            let mode = if refused { ChargeMode::Peek } else { charge.mode };
            let here = self.fallback.observe(&Charge { mode, quotas: Vec::new(), ..charge.clone() }, 1000);
            if !refused && !here.admitted && charge.mode != ChargeMode::Peek {
                back.extend(reservations::back(&charge.quotas));
            }
            *observation = Observation {
                tracked: false,
                admitted: here.admitted && !refused,
                quota_refusal: observation.quota_refusal,
                quotas: std::mem::take(&mut observation.quotas),
                ..here
            };
        }
        self.change_quotas(&back, now).await;
        observations
    }

    async fn ask(&self, charges: &[Charge], now: Millis) -> Observing {
        if self.breaker.open_since().is_some() {
            return Observing::NotMade;
        }
        let started = std::time::Instant::now();
        let answer = tokio::time::timeout(self.patience(charges.len()), self.store.observe(charges)).await;
        self.metrics.observe.record(started.elapsed());
        match answer {
            Ok(Ok(observations)) if observations.len() == charges.len() => {
                self.breaker.succeeded();
                Observing::Answered(observations)
            }
            Ok(Ok(_)) => {
                self.store_failed(&StoreError::Incompatible("answers are missing".into()), now);
                Observing::Unknown
            }
            Ok(Err(error)) => {
                self.store_failed(&error, now);
                Observing::NotMade
            }
            Err(_) => {
                self.store_failed(&StoreError::Deadline(self.patience(charges.len())), now);
                Observing::Unknown
            }
        }
    }

    /// How long the trip may take: four fifths of the deadline, and more for a large batch. What is found then has the
    /// rest of nine tenths of the deadline to be written ([`Observed::write_by`]).
    pub(super) fn patience(&self, charges: usize) -> Duration {
        self.options.deadline * 4 / 5 * (1 + u32::try_from(charges / 50).unwrap_or(0))
    }

    /// Notes that the store failed; when it has failed too often, says so once.
    pub(in crate::engine) fn store_failed(&self, error: &StoreError, now: Millis) {
        self.metrics.store_failures.increment(1);
        if self.breaker.failed(now) {
            tracing::error!(%error, "the store does not answer; deciding without it");
            metrics::gauge!("keyward_degraded").set(1.0);
            self.outbox.push(events::degraded(&error.to_string(), now));
        }
    }

    /// Observes in the store's place. What it admits is owed to the store, unless the store may have counted it: a trip
    /// that timed out has usually arrived, and counting twice would refuse the rightful later.
    fn fall_back(&self, charges: &[Charge], active: &ActivePolicy, owe: bool) -> Vec<Observation> {
        let share = (active.policy.on_store_failure.instance_share * 1000.0) as u16;
        charges
            .iter()
            .map(|charge| {
                let mut observation = self.fallback.observe(charge, share);
                // The cap on new subjects holds here too: what it keeps out does not reach the store later.
                observation.tracked &= charge.may_create;
                // An estimate that is not held is no usage; a settlement is, whose estimate ends by itself.
                let is_usage = charge.mode != ChargeMode::Peek && charge.lease.is_none();
                if owe && observation.admitted && observation.tracked && is_usage {
                    self.fallback.owe_usage(&charge.subject, &charge.counts);
                    self.fallback.owe_quotas(&charge.quotas);
                }
                observation
            })
            .collect()
    }

    pub(super) async fn load_profiles(&self, cold: &[Subject]) -> HashMap<Subject, Profile> {
        if self.breaker.open_since().is_some() {
            return HashMap::new();
        }
        let loads = cold.iter().map(|subject| async move {
            let loaded = tokio::time::timeout(self.patience(cold.len()), self.store.profile(subject)).await;
            match loaded {
                Ok(Ok(profile)) => Some((subject.clone(), profile.unwrap_or_default())),
                // The caller goes on with an empty one, which the first flush completes with what is stored.
                _ => None,
            }
        });
        futures::future::join_all(loads).await.into_iter().flatten().collect()
    }

    /// The decision about a request for which there is no observation, by the policy for that.
    pub(super) fn unavailable(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Decision {
        let plain = self.plain_decision(record, active, now);
        let deny = active.policy.on_store_failure.record == OnStoreFailure::Deny;
        let reason = deny.then_some(Reason::StoreUnavailable);
        let action = if deny { Action::Throttle } else { Action::None };
        Decision { allowed: !deny, reason, action, degraded: true, ..plain }
    }

    /// The answer that another instance gave to the same request; claims the request when there is none. Two callers
    /// at the same instant may both be counted by the limits: waiting for the other would cost more than it saves.
    /// `Some(None)`: another has the request and no answer yet, or one that is not remembered.
    pub(super) async fn claimed_elsewhere(&self, identity: u128, now: Millis) -> Option<Option<Decision>> {
        if self.breaker.open_since().is_some() {
            return None;
        }
        let id = format!("{identity:032x}");
        let claim = tokio::time::timeout(self.patience(1), self.store.claim(&id, now)).await;
        match claim {
            Ok(Ok(Claim::Answered(bytes))) => Some(serde_json::from_slice(&bytes).ok()),
            Ok(Ok(Claim::InFlight)) => Some(None),
            Ok(Ok(Claim::Fresh)) => None,
            Ok(Err(error)) => {
                self.store_failed(&error, now);
                None
            }
            Err(_) => None,
        }
    }

    /// Remembers the answer to a request with an id. A refusal is not remembered, enforced or not: nothing was counted, and
    /// a retry after its time deserves a fresh look.
    pub(super) async fn remember(&self, record: &Record, decision: &Decision, now: Millis) {
        let Some(identity) = IdempotencyCache::identity(record).filter(|_| decision.ruling().allowed) else {
            return;
        };
        self.idempotency.put(identity, decision.clone(), now);
        if self.options.idempotency_scope == IdempotencyScope::Store && self.breaker.open_since().is_none() {
            let id = format!("{identity:032x}");
            let answer = serde_json::to_vec(decision).unwrap_or_default();
            let kept =
                tokio::time::timeout(self.patience(1), self.store.finish_claim(&id, &answer, now)).await;
            if let Ok(Err(error)) = kept {
                self.store_failed(&error, now);
            }
        }
    }
}

fn cold_subjects(items: &[Item<'_>], waiting: &[usize]) -> Vec<Subject> {
    let mut cold: Vec<Subject> = Vec::new();
    for &n in waiting {
        let State::Waiting(w) = &items[n].state else { continue };
        let record = items[n].record;
        let key = w.profile.is_none().then_some(&record.key);
        let project = record.project.as_ref().filter(|_| w.prior.is_none());
        for subject in key.into_iter().chain(project) {
            if !cold.contains(subject) {
                cold.push(subject.clone());
            }
        }
    }
    cold
}
