//! What is known of a request before the store is asked: retries, bans in force, its place, what it charges. Nothing
//! here waits.

use super::{
    decider::Decider,
    frame::Frame,
    idempotency::{Earlier, InFlight, Waiting},
    reservations,
    stages::{Known, Purpose, Request},
};
use crate::{
    detect::{Attribution, Features},
    domain::{
        Millis,
        decision::{Action, Decision, Reason},
        observation::{Charge, ChargeMode, ClientMark, LedgerEntry, Peer},
        place::{PlaceCore, Prefix},
        record::{Outcome, Record},
        registry::{Applied, NotAllowed, Terms},
        reservation::{COMPLETED_WITHIN, Settles},
        standing::{Standing, StandingState},
        window::{Counts, ONE_DAY, WINDOW_MILLIS},
    },
    engine::{bans, policy::ActivePolicy, profile_entry::ProfileHandle},
};

/// Recent places kept per key.
const KEY_PEERS: u8 = 12;
/// Recent failing keys kept per address.
pub(super) const ADDRESS_PEERS: u8 = 64;

/// The way that a record takes.
pub(in crate::engine) enum Step<'r, 'e> {
    /// It is answered without the store.
    Answered(Box<Decision>),
    /// The same request is on its way: its answer is waited for.
    Waits(&'r Record, Waiting),
    /// The store is asked: it is the next of the requests. Who waits for the same is told the answer.
    Asks(InFlight<'e>),
}

impl Decider {
    /// The way of each record, and the requests that the store is asked about.
    pub(in crate::engine) fn prepare<'r>(
        &self,
        records: &'r [Record],
        terms: Vec<Terms>,
        active: &ActivePolicy,
        now: Millis,
    ) -> (Vec<Step<'r, '_>>, Vec<Request<'r>>) {
        let mut terms = terms.into_iter();
        let mut requests = Vec::with_capacity(records.len());
        let steps = records.iter().map(|record| {
            let terms = terms.next().unwrap_or_default();
            // One that settles a reservation makes the trip all the same, and one whose profile may spare it.
            if record.reservation_id.is_none()
                && !self.may_be_spared(record, active, now)
                && let Some(decision) = self.refuse_at_once(record, &terms, active, now, Purpose::Record)
            {
                self.count_behind(record, &terms, !decision.allowed, active, now);
                return Step::Answered(Box::new(decision));
            }
            match self.remembers.idempotency.begin(record.identity(), now) {
                Earlier::Answered(answer) => Step::Answered(Box::new((*answer).clone())),
                Earlier::InFlight(waiting) => Step::Waits(record, waiting),
                Earlier::None(in_flight) => {
                    requests.push(self.request(record, terms, active, now, Purpose::Record));
                    Step::Asks(in_flight)
                }
            }
        });
        (steps.collect(), requests)
    }

    /// Counts a refused record in limits and usage, behind its answer.
    fn count_behind(
        &self,
        record: &Record,
        terms: &Terms,
        refused: bool,
        active: &ActivePolicy,
        now: Millis,
    ) {
        let profile = self.profiles.get(&record.key);
        let attribution = attribution(record, profile.as_ref());
        let charge = charge_behind(record, terms, attribution, active, now);
        // A made-up key must not become a known one by being refused, nor a flood of them one of the store. Whether
        // a key that is banned itself has windows says the store: this instance may never have seen it.
        let may_create = profile.is_some() || terms.is_registered;
        let may_be_known = may_create || self.bans.get(&record.key, now).is_some();
        let mut charge = charge.map(|charge| Charge {
            may_create,
            counts: if may_be_known { charge.counts } else { Counts::default() },
            ..charge
        });
        if let Some(entry) = charge.as_mut().and_then(|charge| charge.entry.as_mut()) {
            self.attempts.name(entry, true);
        }
        self.deferred.count(record, charge, refused, now);
    }

    /// The refusal of a request by a ban in force or by the registry. The use of a canary key is judged: its address is
    /// banned.
    pub(super) fn refuse_at_once(
        &self,
        record: &Record,
        terms: &Terms,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Option<Decision> {
        let refusal = terms.refusal.filter(|refusal| *refusal != NotAllowed::Canary);
        let by_registry =
            || refusal.map(|refusal| self.refuse_by_registry(record, refusal, active, now, purpose));
        let mut refused = self.refuse_banned(record, active, now, purpose).or_else(by_registry)?;
        active.policy.enforcement.soften(&mut refused);
        Some(refused)
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
        self.shared.outbox.tell(|| frame.blocked(&subject, &standing));
        let mut decision = self.plain_decision(record, active, now);
        refuse(&mut decision, &standing, bans::reason(&subject));
        Some(decision)
    }

    /// What a request charges, and what is known of it.
    pub(super) fn request<'r>(
        &self,
        record: &'r Record,
        mut terms: Terms,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Request<'r> {
        let place = self.geo.lookup(record.source_ip);
        let origin = PlaceCore::of(place.as_deref(), record.source_ip);
        let core = origin.precise(active.policy.detectors.impossible_travel.max_radius_km);
        let profile = self.profiles.get(&record.key);
        let prior = record.project.as_ref().and_then(|project| self.profiles.get(project));
        let attribution = match purpose {
            Purpose::Record => attribution(record, profile.as_ref()),
            Purpose::Check | Purpose::Reserve(_) => Attribution::Key,
        };
        let mode = mode(record, attribution, purpose);
        let counted = mode != ChargeMode::Peek;
        let may_be_new = counted
            && profile.is_none()
            && terms.refusal.is_none()
            && !is_past_every_window(record, now)
            && self.bans.find(record, now, active.observes(), |_, _| false).is_none();
        let new_subject = may_be_new && self.remembers.new_subjects.take(&record.address, now);
        let features = Features::of(record);
        if attribution == Attribution::Key && !record.late {
            terms.limits.extend(self.limit_of_part(
                record,
                profile.as_ref(),
                &features,
                &origin,
                active,
                now,
            ));
        }
        let reserves = matches!(purpose, Purpose::Reserve(_));
        // Where it has not been made yet, or is reported late, its place is not touched.
        let touches = attribution == Attribution::Key && !reserves && !record.late;
        let peer = touches.then(|| Peer::place(&core, ClientMark::of(&features.client)));
        let mut charge = Charge {
            peer,
            peer_capacity: KEY_PEERS,
            may_create: profile.is_some() || new_subject,
            mode,
            ..charge(record, &terms.limits, attribution, active, now)
        };
        self.add_entry(&mut charge, record, purpose, now);
        let address = profile
            .as_ref()
            .filter(|_| !record.late)
            .and_then(|profile| self.about_address(record, attribution, profile, now))
            .map(|address| Charge { observing: active.observes(), ..address });
        let (limits, refusal) = (terms.limits, terms.refusal);
        let known =
            Known { record, place, features, attribution, limits, refusal, profile, prior, new_subject };
        Request { known, charge, address }
    }

    /// What a charge does beside counting, as it is asked for.
    fn add_entry(&self, charge: &mut Charge, record: &Record, purpose: Purpose, now: Millis) {
        match purpose {
            Purpose::Reserve(terms) => {
                let lease = terms.lease.unwrap_or(self.lease);
                let reservation = reservations::reserve(charge, record, terms.dispatched, now + lease);
                self.reservations.made(reservation.until);
                let entry = charge.entry.get_or_insert_default();
                (entry.settles, entry.reserves) = (None, Some(reservation));
            }
            // It has happened, as far as is known, and its record completes it.
            Purpose::Record if record.observes => {
                let reservation = reservations::observation(charge, record, now + COMPLETED_WITHIN);
                self.reservations.made(reservation.until);
                charge.entry.get_or_insert_default().reserves = Some(reservation);
            }
            // What holds nothing may be asked again.
            Purpose::Check => charge.entry = None,
            // What counts for nobody begins no block either: a stranger's failure must not shut the owner out.
            Purpose::Record if charge.mode == ChargeMode::Peek => {
                charge.counters.retain(|counter| counter.block.is_none())
            }
            Purpose::Record => {}
        }
        // A trip of a report that gets lost is made again, by the name of the charge.
        let reports = charge.mode == ChargeMode::Report;
        let is_split = reports && !charge.counters.is_empty() && self.shared.store.splits_charges();
        if is_split {
            charge.entry.get_or_insert_default();
        }
        if let Some(entry) = &mut charge.entry {
            self.attempts.name(entry, is_split || record.reservation_id.is_some());
        }
    }
}

/// Whose a request is. What Keyward refused is nobody's failure.
pub(super) fn attribution(record: &Record, profile: Option<&ProfileHandle>) -> Attribution {
    if record.refused_by_keyward {
        return Attribution::Key;
    }
    let source = Prefix::of(record.source_ip);
    match profile {
        Some(handle) => handle.with(|profile| Attribution::of(record.status, Some(profile), source)),
        None => Attribution::of(record.status, None, source),
    }
}

/// Whether no window holds the time of a record that is reported late: then it makes nobody known.
fn is_past_every_window(record: &Record, now: Millis) -> bool {
    record.late && record.timestamp.is_some_and(|at| at < now - WINDOW_MILLIS[ONE_DAY])
}

/// How a request is charged: what was used always, what is asked for if it fits.
fn mode(record: &Record, attribution: Attribution, purpose: Purpose) -> ChargeMode {
    match purpose {
        Purpose::Check => ChargeMode::Peek,
        Purpose::Reserve(_) => ChargeMode::Admit,
        Purpose::Record if record.reservation_id.is_some() => ChargeMode::Report,
        Purpose::Record if record.refused_by_keyward => ChargeMode::Peek,
        Purpose::Record if attribution != Attribution::Key && !record.has_usage() => ChargeMode::Peek,
        Purpose::Record if record.admit => ChargeMode::Admit,
        Purpose::Record => ChargeMode::Report,
    }
}

/// What a record charges to windows and counters, once, and the reservation that it settles. One that is reported late
/// is counted at its own time, wherever a span still holds that.
pub(super) fn charge(
    record: &Record,
    limits: &[Applied],
    attribution: Attribution,
    active: &ActivePolicy,
    now: Millis,
) -> Charge {
    let used_at = record.timestamp.filter(|_| record.late);
    let outcome = record.outcome();
    let is_key = attribution == Attribution::Key;
    // What Keyward refused has used nothing: it may give back what was held for it.
    let is_used = !(record.refused_by_keyward && record.reservation_id.is_some());
    let counts = if !is_used {
        Counts::default()
    } else {
        Counts {
            requests: u64::from(!record.is_part),
            tokens: record.tokens,
            auth_failures: u64::from(outcome == Outcome::AuthFailure && is_key),
            not_found: u64::from(outcome == Outcome::NotFound),
        }
    };
    let counter = |limit: &Applied| {
        let charge = limit.charge(record, used_at.unwrap_or(now));
        if is_used && charge.until > now { charge } else { limit.charge(record, now).of_nothing() }
    };
    let settles = record.reservation_id.as_ref().filter(|id| reservations::is_of(id, record));
    let settles = settles.map(|id| Settles {
        id: id.clone(),
        keeps_estimate: !record.usage_known && !record.refused_by_keyward,
    });
    let settles = settles.or_else(|| reservations::completes(record));
    // More of a request that is on its way neither begins a block nor stands before one.
    let is_whole = !(record.is_part || record.has_parts);
    let block = |limit: &Applied| limit.block(now).filter(|_| is_whole);
    let claim = record.identity();
    let entry = LedgerEntry { claim, settles, counted_at: used_at, ..LedgerEntry::default() };
    Charge {
        counts,
        limits: active.limits,
        mode: ChargeMode::Report,
        observing: active.observes(),
        counters: limits.iter().flat_map(|l| [counter(l)].into_iter().chain(block(l))).collect(),
        entry: (entry != LedgerEntry::default()).then(|| Box::new(entry)),
        ..Charge::look(record.key.clone(), now)
    }
}

/// What a record charges that a ban or the registry refuses, where it is a report of what was used.
fn charge_behind(
    record: &Record,
    terms: &Terms,
    attribution: Attribution,
    active: &ActivePolicy,
    now: Millis,
) -> Option<Charge> {
    let reports = mode(record, attribution, Purpose::Record) == ChargeMode::Report;
    let charge = charge(record, &terms.limits, attribution, active, now);
    let counts = Counts { auth_failures: 0, not_found: 0, ..charge.counts };
    reports.then_some(Charge { counts, ..charge })
}

/// The charge of refused credentials to their address, by the key in whose name they came; without one, the address is
/// only looked at.
pub(super) fn address_charge(record: &Record, now: Millis, key: Option<Peer>, may_create: bool) -> Charge {
    Charge {
        counts: Counts { requests: 1, auth_failures: 1, ..Counts::default() },
        mode: if key.is_some() { ChargeMode::Admit } else { ChargeMode::Peek },
        peer: key,
        peer_capacity: ADDRESS_PEERS,
        may_create,
        ..Charge::look(record.address.clone(), now)
    }
}

/// Makes a decision one that a ban refuses.
pub(super) fn refuse(decision: &mut Decision, standing: &Standing, reason: Reason) {
    decision.allowed = false;
    decision.reason = Some(reason);
    decision.retry_at = standing.until;
    decision.action = match standing.state {
        StandingState::PermanentlyBanned => Action::PermanentBan,
        _ => Action::TemporaryBan,
    };
}
