//! Counters and reservations in memory: what is charged beyond the windows of a subject.
//!
//! One lock over all of them makes a charge of several counters all or none. It is held for microseconds, and only by
//! requests that such limits are on.

mod ended;
mod requests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    claims::{Claims, SavedClaim},
    counters::Counters,
    settling::{give_windows_back, settling},
};
use crate::domain::{
    Millis,
    counter::{Amounts, Counter, CounterChange, CounterCharge, CounterCount, CounterRefusal},
    debt::DebtBatch,
    observation::{Charge, ChargeMode, Claim, Observation},
    reservation::{Ended, Reservation, ReservationChange, ReservationChanged, Stage},
    usage::UsageDelta,
};

#[derive(Default)]
struct Inner {
    counters: HashMap<Counter, Amounts>,
    reservations: HashMap<String, Kept>,
    /// Ids of reservations by the moment at which their stage ends.
    ends: BTreeSet<(Millis, String)>,
    /// Ids of reservations by the name of their request; of several the last one that was made.
    requests: HashMap<Arc<str>, String>,
    /// Ids of those whose estimate usage has not counted yet, or not taken away yet.
    uncounted: BTreeSet<String>,
    /// The last batch of debts of each instance; only this process has this store.
    debts: HashMap<Arc<str>, u64>,
    dirty_counters: HashSet<Counter>,
    dirty_reservations: HashSet<String>,
}

/// A reservation, and whether usage has counted its estimate.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store::embedded) struct Kept {
    pub(in crate::store::embedded) reservation: Reservation,
    pub(in crate::store::embedded) counted: bool,
}

/// What usage is to count of reservations: for each its id and its stage, and what is added.
pub(in crate::store::embedded) type Uncounted = Vec<((String, Stage), Option<UsageDelta>)>;

/// Counters and reservations, all under one lock.
#[derive(Default)]
pub struct Ledger(Mutex<Inner>);

impl Ledger {
    /// Makes a charge of windows and counters with its entry: all of it, or nothing.
    pub(in crate::store::embedded) fn observe(
        &self,
        charge: &Charge,
        windows: &Counters,
        claims: &Claims,
    ) -> Observation {
        let mut inner = self.0.lock();
        if let Some(claim) = charge.claim() {
            let found = claims.look_for(charge, claim);
            if found != Ok(Claim::Fresh) {
                let look = Charge { mode: ChargeMode::Peek, ..charge.clone() };
                let counters = inner.all_used(&charge.counters, charge.now);
                let seen = Observation { counters, ..windows.observe(&look) };
                return match found {
                    Ok(claim) => Observation { claim, ..seen },
                    Err(settled) => Observation { settled: settled.map(|settled| *settled), ..seen },
                };
            }
        }
        if charge.mode == ChargeMode::Peek {
            let settled = inner.complete(charge);
            return Observation { settled, ..inner.charge(charge, windows) };
        }
        let settles = charge.settles().filter(|_| charge.mode == ChargeMode::Report);
        let found = settles.map(|settles| inner.found(&settles.id, charge.now));
        let lapsed = found.as_ref().is_some_and(|id| inner.has_lapsed(id, charge.now));
        let settled = found.and_then(|id| inner.settle(charge, &id));
        let keeps = settles.zip(settled.as_ref()).is_some_and(|(settles, settled)| settles.keeps(settled));
        let observation = match &settled {
            None => inner.charge(charge, windows),
            Some(reservation) => {
                let changed = settling(charge, reservation, keeps, windows);
                inner.give_back(reservation, keeps, charge.now);
                inner.charge(&changed, windows)
            }
        };
        let charged = observation.admitted || charge.mode == ChargeMode::Report;
        if let Some(claim) = charge.claim().filter(|_| charged) {
            claims.claim_request(charge, claim, settled.clone());
        }
        Observation { settled, lapsed, ..observation }
    }

    /// Charges windows and counters alone: all of them, or none.
    pub fn charge(&self, charge: &Charge, windows: &Counters) -> Observation {
        self.0.lock().charge(charge, windows)
    }

    /// Changes counters, whatever their limits.
    pub fn change(&self, changes: &[CounterChange], now: Millis) {
        self.0.lock().change_all(changes, now);
    }

    /// Counts a batch of debts, unless it was counted already.
    pub(in crate::store::embedded) fn settle_debts(&self, batch: &DebtBatch, windows: &Counters) {
        let mut inner = self.0.lock();
        let last = inner.debts.entry(batch.instance.clone()).or_default();
        if *last >= batch.number {
            return;
        }
        *last = batch.number;
        inner.change_all(&batch.changes, batch.now);
        for charge in &batch.charges {
            windows.observe(charge);
        }
    }

    /// What counters hold at `now`, in their order.
    pub fn used(&self, counters: &[Counter], now: Millis) -> Vec<CounterCount> {
        let inner = self.0.lock();
        counters.iter().map(|counter| inner.used(counter, now)).collect()
    }

    /// Changes a reservation that has not ended.
    pub(in crate::store::embedded) fn change_reservation(
        &self,
        id: &str,
        change: ReservationChange,
        windows: &Counters,
        now: Millis,
    ) -> ReservationChanged {
        let mut inner = self.0.lock();
        let Some(held) = inner.reservations.get(id).map(|kept| kept.reservation.clone()) else {
            return ReservationChanged::Unknown;
        };
        match (held.stage, change) {
            (Stage::Corrected, _) => ReservationChanged::Unknown,
            (stage, _) if !stage.is_open() || held.until <= now => ReservationChanged::Ended(stage),
            (_, ReservationChange::Extend { lease, dispatched }) => {
                let extended = held.extended(lease, dispatched, now);
                let moves: Vec<CounterChange> = extended.moves_from(&held).collect();
                inner.change_all(&moves, now);
                inner.take(id);
                inner.keep(extended.clone(), false);
                ReservationChanged::Done(extended, Vec::new())
            }
            (_, ReservationChange::GiveBack) => {
                inner.take(id);
                inner.change_all(&held.give_back().collect::<Vec<_>>(), now);
                give_windows_back(&held, windows);
                ReservationChanged::Done(held, Vec::new())
            }
        }
    }

    /// Ends what is due of a reservation.
    pub(in crate::store::embedded) fn end(&self, id: &str, windows: &Counters, now: Millis) -> Ended {
        let mut inner = self.0.lock();
        let due = |kept: &&Kept| kept.reservation.stage != Stage::Corrected && kept.reservation.due() <= now;
        let Some(kept) = inner.reservations.get(id).filter(due).cloned() else { return Ended::Not };
        let until = kept.reservation.until;
        match kept.reservation.stage {
            Stage::Held => {
                inner.take(id);
                give_windows_back(&kept.reservation, windows);
                inner.keep(kept.reservation.lapsed(), false);
                Ended::GivenBack
            }
            Stage::Dispatched => {
                inner.take(id);
                inner.keep(kept.reservation.at(Stage::Charged, until), false);
                inner.uncounted.insert(id.to_owned());
                Ended::Charged
            }
            // What usage has not counted yet waits for that.
            Stage::Charged if !kept.counted => Ended::Not,
            Stage::Charged | Stage::Lapsed | Stage::Corrected | Stage::Observed => {
                inner.take(id);
                Ended::Forgotten
            }
        }
    }

    /// Whether usage is to count something of reservations.
    pub(in crate::store::embedded) fn has_uncounted(&self) -> bool {
        !self.0.lock().uncounted.is_empty()
    }

    /// Notes that usage has counted a reservation as it was at a stage.
    pub(in crate::store::embedded) fn counted(&self, id: &str, stage: Stage) {
        let mut inner = self.0.lock();
        let Some(kept) = inner.reservations.get_mut(id) else { return };
        if stage == Stage::Corrected {
            inner.take(id);
            return;
        }
        kept.counted = true;
        let is_done = kept.reservation.stage == stage;
        inner.dirty_reservations.insert(id.to_owned());
        if is_done {
            inner.uncounted.remove(id);
        }
    }

    /// Forgets counters in which nothing counts any more.
    pub fn sweep(&self, now: Millis) {
        let mut inner = self.0.lock();
        let over: Vec<Counter> =
            inner.counters.iter().filter(|(_, a)| a.is_over(now)).map(|(c, _)| c.clone()).collect();
        for counter in over {
            inner.counters.remove(&counter);
            inner.dirty_counters.insert(counter);
        }
    }

    /// What changed since the last call: each counter and reservation as it is now, or `None` when it is gone.
    /// With what they charged up to so many claims: a charge and its claim are made under one lock.
    pub(in crate::store::embedded) fn take_dirty(&self, claims: &Claims, most: usize) -> Unsaved {
        let mut inner = self.0.lock();
        let unsaved = Unsaved { claims: claims.take_dirty(most), ..inner.unsaved() };
        inner.dirty_counters.clear();
        inner.dirty_reservations.clear();
        unsaved
    }

    /// What usage is to count of charged and corrected estimates, and what changed and is to be written with it. That
    /// goes on waiting.
    pub(in crate::store::embedded) fn to_count(&self) -> (Unsaved, Uncounted) {
        let inner = self.0.lock();
        (inner.unsaved(), inner.uncounted())
    }

    /// Notes that what was taken could not be written.
    pub(in crate::store::embedded) fn wait_again(&self, unsaved: &Unsaved) {
        let mut inner = self.0.lock();
        inner.dirty_counters.extend(unsaved.counters.iter().map(|(counter, _)| counter.clone()));
        inner.dirty_reservations.extend(unsaved.reservations.iter().map(|(id, _)| id.clone()));
    }

    /// Puts back what was written; used before the first charge.
    pub(in crate::store::embedded) fn restore(
        &self,
        counters: Vec<(Counter, Amounts)>,
        reservations: Vec<Kept>,
    ) {
        let mut inner = self.0.lock();
        inner.counters.extend(counters);
        for Kept { reservation, counted } in reservations {
            let uncounted =
                reservation.stage == Stage::Corrected || reservation.stage == Stage::Charged && !counted;
            if uncounted {
                inner.uncounted.insert(reservation.id.to_string());
            }
            inner.keep(reservation, counted);
        }
        inner.dirty_reservations.clear();
    }
}

/// Counters and reservations that wait to be written; with `None` those that are to be deleted.
#[derive(Default)]
pub(in crate::store::embedded) struct Unsaved {
    pub(in crate::store::embedded) counters: Vec<(Counter, Option<Amounts>)>,
    pub(in crate::store::embedded) reservations: Vec<(String, Option<Kept>)>,
    pub(in crate::store::embedded) claims: Vec<SavedClaim>,
}

impl Inner {
    /// Charges windows and counters, and keeps what is charged as a reservation where that is asked.
    fn charge(&mut self, charge: &Charge, windows: &Counters) -> Observation {
        let now = charge.now;
        let mut exceeded = self.exceeded(&charge.counters, now);
        self.begin_blocks(&charge.counters, &mut exceeded, now);
        let reports = charge.mode == ChargeMode::Report;
        let mut observation = if exceeded.is_empty() || reports {
            windows.observe(charge)
        } else {
            // What the windows would have said is still of use.
            let looked = windows.observe(&Charge { mode: ChargeMode::Peek, ..charge.clone() });
            Observation { tracked: looked.tracked || charge.may_create, ..looked }
        };
        observation.admitted &= exceeded.is_empty();
        if reports || observation.admitted && charge.mode == ChargeMode::Admit {
            for counter in &charge.counters {
                self.change(&counter.counter, None, Some((counter.amount, counter.until)), now);
            }
            if let Some(reservation) = charge.reserves().filter(|_| observation.tracked) {
                self.unname(reservation.request.as_ref());
                self.keep(Reservation { charged_at: observation.now, ..reservation.clone() }, false);
            }
        }
        observation.counter_refusal = self.longest(&charge.counters, &exceeded, now);
        observation.counters = self.all_used(&charge.counters, now);
        observation
    }

    /// The charges that go beyond what their counters may hold, as indices.
    fn exceeded(&self, charges: &[CounterCharge], now: Millis) -> Vec<usize> {
        let beyond = |charge: &CounterCharge| {
            self.used(&charge.counter, now).used.saturating_add(charge.amount) > charge.most
        };
        charges.iter().enumerate().filter(|(_, charge)| beyond(charge)).map(|(index, _)| index).collect()
    }

    /// Begins the blocks of the limits that are exceeded, where they do not hold already, and adds them to these.
    fn begin_blocks(&mut self, charges: &[CounterCharge], exceeded: &mut Vec<usize>, now: Millis) {
        for (index, charge) in charges.iter().enumerate().skip(1) {
            let Some(length) = charge.block else { continue };
            if exceeded.contains(&(index - 1)) && !exceeded.contains(&index) {
                self.change(&charge.counter, None, Some((1, now + length)), now);
                exceeded.push(index);
            }
        }
    }

    /// Of these charges the one that is kept out longest; the first of equals.
    fn longest(&self, charges: &[CounterCharge], exceeded: &[usize], now: Millis) -> Option<CounterRefusal> {
        let none = Amounts::default();
        let wait = |refusal: &CounterRefusal| refusal.retry_at.unwrap_or(Millis::MAX);
        let refusals = exceeded.iter().map(|&index| {
            let charge = &charges[index];
            let amounts = self.counters.get(&charge.counter).unwrap_or(&none);
            CounterRefusal { index, retry_at: amounts.fits_at(charge.amount, charge.most, now) }
        });
        refusals.reduce(|longest, other| if wait(&other) > wait(&longest) { other } else { longest })
    }

    fn unsaved(&self) -> Unsaved {
        let counters = self.dirty_counters.iter().map(|c| (c.clone(), self.counters.get(c).cloned()));
        let reservations = self.dirty_reservations.iter();
        let reservations = reservations.map(|id| (id.clone(), self.reservations.get(id).cloned()));
        Unsaved { counters: counters.collect(), reservations: reservations.collect(), claims: Vec::new() }
    }

    fn uncounted(&self) -> Uncounted {
        let of = |id: &String| {
            let Kept { reservation, counted } = self.reservations.get(id)?;
            let delta = match (reservation.stage, counted) {
                (Stage::Charged, false) => Some(reservation.usage_delta(false)),
                (Stage::Corrected, true) => Some(reservation.usage_delta(true)),
                // Corrected before it was counted: there is nothing to take away.
                _ => None,
            };
            Some(((id.clone(), reservation.stage), delta))
        };
        self.uncounted.iter().filter_map(of).collect()
    }

    fn has_lapsed(&self, id: &str, now: Millis) -> bool {
        self.reservations.get(id).is_some_and(|kept| kept.reservation.has_lapsed(now))
    }

    /// Takes the reservation that a charge settles or corrects, if it is still open to its key. A charge that is
    /// corrected is remembered until usage has taken the estimate away.
    fn settle(&mut self, charge: &Charge, id: &str) -> Option<Reservation> {
        let kept = self.reservations.get(id)?;
        if !kept.reservation.is_open_to(&charge.subject, charge.now) {
            return None;
        }
        let Kept { reservation, counted } = self.take(id)?;
        if reservation.stage == Stage::Charged {
            self.keep(reservation.clone().at(Stage::Corrected, reservation.until), counted);
            self.uncounted.insert(id.to_owned());
        }
        Some(reservation)
    }

    /// Gives back what counters hold of a reservation, and charges it as used where the estimate is kept.
    fn give_back(&mut self, reservation: &Reservation, keeps: bool, now: Millis) {
        for change in reservation.counters.iter().filter_map(|held| held.change(keeps)) {
            self.change(&change.counter, change.back, change.add, now);
        }
    }

    fn change_all(&mut self, changes: &[CounterChange], now: Millis) {
        for change in changes {
            self.change(&change.counter, change.back, change.add, now);
        }
    }

    fn all_used(&self, charges: &[CounterCharge], now: Millis) -> Vec<CounterCount> {
        charges.iter().map(|charge| self.used(&charge.counter, now)).collect()
    }

    fn change(
        &mut self,
        counter: &Counter,
        back: Option<(u64, Millis)>,
        add: Option<(u64, Millis)>,
        now: Millis,
    ) {
        let amounts = self.counters.entry(counter.clone()).or_default();
        if let Some((amount, until)) = back {
            amounts.give_back(amount, until);
        }
        if let Some((amount, until)) = add {
            amounts.add(amount, until, now);
        }
        self.dirty_counters.insert(counter.clone());
    }

    fn used(&self, counter: &Counter, now: Millis) -> CounterCount {
        self.counters.get(counter).map_or_else(CounterCount::default, |amounts| amounts.used(now))
    }

    fn keep(&mut self, reservation: Reservation, counted: bool) {
        let id = reservation.id.to_string();
        if reservation.stage != Stage::Corrected {
            self.ends.insert((reservation.due(), id.clone()));
        }
        self.dirty_reservations.insert(id.clone());
        self.name(&reservation);
        self.reservations.insert(id, Kept { reservation, counted });
    }

    fn take(&mut self, id: &str) -> Option<Kept> {
        let kept = self.reservations.remove(id)?;
        self.ends.remove(&(kept.reservation.due(), id.to_owned()));
        self.uncounted.remove(id);
        self.dirty_reservations.insert(id.to_owned());
        if self.is_named(&kept.reservation) {
            self.unname(kept.reservation.request.as_ref());
        }
        Some(kept)
    }
}
