//! The one trip to the store, bounded by the deadline, and what happens when it fails.

use std::collections::HashMap;

use super::{
    blocks::without_blocks,
    decider::Decider,
    prepare::{address_charge, attribution},
    reservations,
    stages::{Known, Observed, Request},
};
use crate::{
    clock,
    detect::{self, Attribution},
    domain::{
        HOUR, Millis,
        observation::{Charge, ChargeMode, Observation, Peer},
        place::Prefix,
        profile::Profile,
        record::{Outcome, Record},
        reservation::{Reservation, Stage},
        subject::Subject,
    },
    engine::{policy::ActivePolicy, profile_entry::ProfileHandle},
    store::{StoreError, StoredProfile},
};

/// How a trip to the store went.
enum Observing {
    Answered(Vec<Observation>),
    /// It did not take the charges.
    NotMade,
    /// It may have taken them.
    Unknown,
}

impl Decider {
    /// Takes requests to the store and back, in their order: all charges in one trip, beside it the profiles that are
    /// not at hand. When the store does not answer in time, the fallback observes in its place.
    pub(in crate::engine) async fn observe<'r>(
        &self,
        requests: Vec<Request<'r>>,
        active: &ActivePolicy,
        now: Millis,
    ) -> Vec<Observed<'r>> {
        if requests.is_empty() {
            return Vec::new();
        }
        let cold = cold_subjects(&requests);
        let mut charges: Vec<Charge> = Vec::with_capacity(requests.len());
        let mut known: Vec<(Known<'r>, bool)> = Vec::with_capacity(requests.len());
        for request in requests {
            charges.push(request.charge);
            known.push((request.known, request.address.is_some()));
            charges.extend(request.address);
        }
        let write_by = clock::instant() + self.patience(charges.len()) * 9 / 8;
        let asked = tokio::join!(self.ask(&charges, now), self.load_profiles(&cold));
        let (answer, profiles) = asked;
        let degraded = !matches!(answer, Observing::Answered(_));
        let observations = match answer {
            Observing::Answered(observations) => self.count_those_kept_out(&charges, observations, now).await,
            Observing::NotMade => self.fall_back(&charges, active, true),
            Observing::Unknown => self.fall_back(&charges, active, false),
        };
        let mut seen = charges.into_iter().zip(observations);
        let mut all = Vec::with_capacity(known.len());
        for (known, asks_address) in known {
            let Some((charge, key)) = seen.next() else { break };
            let waits = (degraded && waits(&charge, &key)).then(|| Box::new(charge.clone()));
            let address = if asks_address { seen.next() } else { None };
            let observed = self.observed(known, (charge, key), address, &profiles);
            all.push(Observed { degraded, write_by, waits, ..observed });
        }
        self.observe_cold_addresses(&mut all, &cold, active.observes(), now).await;
        all
    }

    /// A request with what was seen of its key, and of its address.
    fn observed<'r>(
        &self,
        mut known: Known<'r>,
        (charge, key): (Charge, Observation),
        address: Option<(Charge, Observation)>,
        profiles: &HashMap<Subject, Option<StoredProfile>>,
    ) -> Observed<'r> {
        let (charge, key) = without_blocks(charge, key);
        let observing = charge.observing;
        let counting =
            |seen: Observation| Observation { standing: seen.standing.counting(observing), ..seen };
        let address = address.map(|(charge, address)| {
            self.settle_place(&charge, &address);
            counting(address)
        });
        let tracked = key.tracked;
        let at_hand = |subject: &Subject| {
            let loaded = profiles.get(subject).cloned();
            let profile = loaded.map_or_else(|| ProfileHandle::of(Profile::default()), ProfileHandle::stored);
            // A subject that was not taken on leaves no profile behind either.
            if tracked { self.profiles.put(subject, profile) } else { profile }
        };
        let record = known.record;
        let profile = known.profile.take().unwrap_or_else(|| at_hand(&record.key));
        let prior = known.prior.take().or_else(|| record.project.as_ref().map(at_hand));
        if known.new_subject && !key.created {
            self.remembers.new_subjects.give_back(&record.address, charge.now);
        }
        let attribution = match known.attribution {
            Attribution::Key => Attribution::Key,
            _ => attribution(record, Some(&profile)).or_nobody(),
        };
        let (degraded, write_by, key) = (false, clock::instant(), counting(key));
        let waits = None;
        Observed { known, charge, attribution, profile, prior, key, address, degraded, write_by, waits }
    }

    /// Refused credentials of a key whose profile was not at hand: only now is it known whether it succeeds from there.
    async fn observe_cold_addresses(
        &self,
        all: &mut [Observed<'_>],
        cold: &[Subject],
        observing: bool,
        now: Millis,
    ) {
        let asks = |o: &&mut Observed<'_>| {
            o.attribution == Attribution::Source
                && o.address.is_none()
                && !o.degraded
                && cold.contains(&o.known.record.key)
        };
        let asking = all.iter_mut().filter(asks).filter_map(|observed| {
            let charge =
                self.about_address(observed.known.record, observed.attribution, &observed.profile, now)?;
            Some((observed, Charge { observing, ..charge }))
        });
        let (asking, charges): (Vec<_>, Vec<_>) = asking.unzip();
        if charges.is_empty() {
            return;
        }
        let Observing::Answered(observations) = self.ask(&charges, now).await else { return };
        for ((observed, charge), observation) in asking.into_iter().zip(&charges).zip(observations) {
            self.settle_place(charge, &observation);
            let standing = observation.standing.counting(observing);
            observed.address = Some(Observation { standing, ..observation });
        }
    }

    /// What is to be asked about the address of a request: refused credentials are charged to it; a success is held
    /// against those that were refused before, unless the key has long succeeded from there. New addresses have places
    /// of their own, so that a flood of new keys does not hide the address it comes from.
    pub(super) fn about_address(
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
                self.remembers.accused_addresses.insert(record.address.clone(), now);
                let key = Peer::key(&record.key, elsewhere);
                Some(address_charge(
                    record,
                    now,
                    Some(key),
                    self.remembers.new_addresses.take(&record.address, now),
                ))
            }
            Attribution::Key => {
                let since = self.remembers.accused_addresses.get(&record.address)?;
                let doubtful = record.outcome() == Outcome::Success && now - since <= HOUR;
                let source = Prefix::of(record.source_ip);
                let known = || profile.with(|profile| detect::has_a_past_from(profile, source, since));
                (doubtful && !known()).then(|| address_charge(record, now, None, false))
            }
        }
    }

    fn settle_place(&self, charge: &Charge, address: &Observation) {
        if charge.may_create && !address.created {
            self.remembers.new_addresses.give_back(&charge.subject, charge.now);
        }
    }

    /// A subject that the cap on new ones keeps out of the store is still held to its windows: by this instance alone.
    /// The counters that it shares with others are the store's, as ever.
    async fn count_those_kept_out(
        &self,
        charges: &[Charge],
        mut observations: Vec<Observation>,
        now: Millis,
    ) -> Vec<Observation> {
        let mut back = Vec::new();
        for (charge, observation) in charges.iter().zip(&mut observations) {
            let owed = std::mem::take(&mut observation.owed);
            if observation.unfinished {
                self.deferred.finish(charge.clone(), owed);
            } else {
                self.fallback.owe_changes(&owed);
            }
            if observation.tracked || charge.may_create {
                continue;
            }
            let refused = observation.counter_refusal.is_some();
            let mode = match charge.mode {
                ChargeMode::Admit if refused => ChargeMode::Peek,
                mode => mode,
            };
            let here = self.fallback.observe(&Charge { mode, counters: Vec::new(), ..charge.clone() }, 1000);
            if !refused && charge.mode == ChargeMode::Admit {
                if here.admitted {
                    back.extend(reservations::without_windows(charge));
                } else {
                    back.extend(reservations::back(&charge.counters));
                }
            }
            let seen = std::mem::replace(observation, here);
            *observation = Observation {
                tracked: false,
                admitted: observation.admitted && !refused,
                counter_refusal: seen.counter_refusal,
                counters: seen.counters,
                claim: seen.claim,
                settled: seen.settled,
                lapsed: seen.lapsed,
                unfinished: seen.unfinished,
                ..std::mem::replace(observation, Observation::empty(now))
            };
        }
        self.change_counters(&back, now).await;
        observations
    }

    async fn ask(&self, charges: &[Charge], now: Millis) -> Observing {
        if !self.shared.is_answering() {
            return Observing::NotMade;
        }
        let started = clock::instant();
        let answer = clock::timeout(self.patience(charges.len()), self.shared.store.observe(charges)).await;
        self.shared.metrics.observe.record(started.elapsed());
        match answer {
            Ok(Ok(observations)) if observations.len() == charges.len() => {
                self.shared.breaker.succeeded();
                Observing::Answered(observations)
            }
            Ok(Ok(_)) => {
                self.shared.store_failed(&StoreError::Incompatible("answers are missing".into()), now);
                Observing::Unknown
            }
            Ok(Err(error)) => {
                self.shared.store_failed(&error, now);
                // What was sent and not answered in time may have been done.
                if matches!(error, StoreError::Deadline(_)) { Observing::Unknown } else { Observing::NotMade }
            }
            Err(_) => {
                self.shared.store_failed(&StoreError::Deadline(self.patience(charges.len())), now);
                Observing::Unknown
            }
        }
    }

    /// Observes in the store's place. What it admits is owed to the store where that has not taken it: not what the
    /// store may have counted, since a trip that timed out has usually arrived, and counting twice would refuse the
    /// rightful later. What has an identity waits to be charged there itself, once.
    fn fall_back(&self, charges: &[Charge], active: &ActivePolicy, owes: bool) -> Vec<Observation> {
        let share = (active.policy.on_store_failure.instance_share * 1000.0) as u16;
        charges
            .iter()
            .map(|charge| {
                let mut observation = self.fallback.observe(charge, share);
                // The cap on new subjects holds here too: what it keeps out does not reach the store later.
                observation.tracked &= charge.may_create;
                if owes && is_usage(charge, &observation) && !waits(charge, &observation) {
                    self.fallback.owe(charge, observation.tracked);
                }
                observation
            })
            .collect()
    }

    /// What is stored of subjects; those that the store did not answer about are missing.
    pub(super) async fn load_profiles(&self, cold: &[Subject]) -> HashMap<Subject, Option<StoredProfile>> {
        if !self.shared.is_answering() {
            return HashMap::new();
        }
        let loads = cold.iter().map(|subject| async move {
            let read = self.shared.store.stored_profile(subject);
            match clock::timeout(self.patience(cold.len()), read).await {
                Ok(Ok(stored)) => Some((subject.clone(), stored)),
                // The caller goes on with an empty one, which the first flush completes with what is stored.
                _ => None,
            }
        });
        futures::future::join_all(loads).await.into_iter().flatten().collect()
    }
}

/// Whether a charge that was not made by the store is of something that happened. An estimate that is not held is not.
fn is_usage(charge: &Charge, observation: &Observation) -> bool {
    match charge.mode {
        ChargeMode::Report => true,
        ChargeMode::Admit => {
            let holds = |held: &Reservation| held.stage != Stage::Observed;
            observation.admitted && !charge.reserves().is_some_and(holds)
        }
        ChargeMode::Peek => false,
    }
}

/// Whether it is charged when the store is back, and not added up with others: what can be sent again must be found to
/// be the same then.
fn waits(charge: &Charge, observation: &Observation) -> bool {
    charge.claim().is_some() && is_usage(charge, observation)
}

/// Keys and projects whose profiles are not at hand. A record that is reported late needs none.
fn cold_subjects(requests: &[Request<'_>]) -> Vec<Subject> {
    let mut cold: Vec<Subject> = Vec::new();
    for known in requests.iter().map(|request| &request.known).filter(|known| !known.record.late) {
        let key = known.profile.is_none().then_some(&known.record.key);
        let project = known.record.project.as_ref().filter(|_| known.prior.is_none());
        for subject in key.into_iter().chain(project) {
            if !cold.contains(subject) {
                cold.push(subject.clone());
            }
        }
    }
    cold
}
