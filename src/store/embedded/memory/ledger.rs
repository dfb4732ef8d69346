//! Counters and reservations in memory: what is charged beyond the windows of a subject.
//!
//! One lock over all of them makes a charge of several counters all or none. It is held for microseconds, and only by
//! requests that such limits are on.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    claims::{Claims, request_name},
    counters::Counters,
};
use crate::{
    domain::{
        Millis,
        counter::{Amounts, Counter, CounterChange, CounterCharge, CounterCount, CounterRefusal},
        debt::DebtBatch,
        observation::{Charge, ChargeMode, Claim, Observation},
        reservation::Reservation,
        window::Counts,
    },
    store::Refund,
};

#[derive(Default)]
struct Inner {
    counters: HashMap<Counter, Amounts>,
    reservations: HashMap<String, Reservation>,
    /// Ids of reservations by the moment of their end.
    ends: BTreeSet<(Millis, String)>,
    /// The last batch of debts of each instance; only this process has this store.
    debts: HashMap<Arc<str>, u64>,
    dirty_counters: HashSet<Counter>,
    dirty_reservations: HashSet<String>,
}

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
            let claim = claims.look(&request_name(claim), charge.now);
            if claim != Claim::Fresh {
                let look = Charge { mode: ChargeMode::Peek, ..charge.clone() };
                let counters = inner.all_used(&charge.counters, charge.now);
                return Observation { claim, counters, ..windows.observe(&look) };
            }
        }
        let settles = charge.settles().filter(|_| charge.mode == ChargeMode::Report);
        let settled = settles.and_then(|settles| inner.settle(charge, &settles.id));
        let keeps = settles.is_some_and(|settles| settles.keeps_estimate);
        let observation = match &settled {
            None => inner.charge(charge, windows),
            Some(reservation) => {
                let changed = settling(charge, reservation, keeps, windows);
                inner.give_back(reservation, keeps, charge.now);
                inner.charge(&changed, windows)
            }
        };
        let charged =
            observation.admitted && charge.mode != ChargeMode::Peek || charge.mode == ChargeMode::Report;
        if let Some(claim) = charge.claim().filter(|_| charged) {
            claims.claim(&request_name(claim), charge.now);
        }
        Observation { settled, ..observation }
    }

    /// Charges windows and counters alone: all of them, or none.
    pub fn charge(&self, charge: &Charge, windows: &Counters) -> Observation {
        self.0.lock().charge(charge, windows)
    }

    /// Changes counters, whatever their limits.
    pub fn change(&self, changes: &[CounterChange], now: Millis) {
        let mut inner = self.0.lock();
        for change in changes {
            inner.change(&change.counter, change.back, change.add, now);
        }
    }

    /// Counts a batch of debts, unless it was counted already.
    pub(in crate::store::embedded) fn settle_debts(&self, batch: &DebtBatch, windows: &Counters) {
        let mut inner = self.0.lock();
        let last = inner.debts.entry(batch.instance.clone()).or_default();
        if *last >= batch.number {
            return;
        }
        *last = batch.number;
        for change in &batch.changes {
            inner.change(&change.counter, change.back, change.add, batch.now);
        }
        for charge in &batch.charges {
            windows.observe(charge);
        }
    }

    /// What counters hold at `now`, in their order.
    pub fn used(&self, counters: &[Counter], now: Millis) -> Vec<CounterCount> {
        let inner = self.0.lock();
        counters.iter().map(|counter| inner.used(counter, now)).collect()
    }

    /// Takes a reservation, for its end; `None` when somebody was quicker.
    pub(in crate::store::embedded) fn take_reservation(&self, id: &str) -> Option<Reservation> {
        self.0.lock().take(id)
    }

    /// Reservations that ended by `now`, the earliest first, at most `limit`.
    pub(in crate::store::embedded) fn ended(&self, now: Millis, limit: usize) -> Vec<Reservation> {
        let inner = self.0.lock();
        let ended = inner.ends.iter().take_while(|(until, _)| *until <= now).take(limit);
        ended.filter_map(|(_, id)| inner.reservations.get(id).cloned()).collect()
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
    pub(in crate::store::embedded) fn take_dirty(&self) -> Unsaved {
        let mut inner = self.0.lock();
        let counters = std::mem::take(&mut inner.dirty_counters);
        let reservations = std::mem::take(&mut inner.dirty_reservations);
        let counters = counters.into_iter().map(|c| (inner.counters.get(&c).cloned(), c));
        let counters: Vec<_> = counters.map(|(amounts, counter)| (counter, amounts)).collect();
        let reservations = reservations.into_iter().map(|id| (inner.reservations.get(&id).cloned(), id));
        Unsaved { counters, reservations: reservations.map(|(lease, id)| (id, lease)).collect() }
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
        reservations: Vec<Reservation>,
    ) {
        let mut inner = self.0.lock();
        inner.counters.extend(counters);
        for lease in reservations {
            inner.keep(lease);
        }
        inner.dirty_reservations.clear();
    }
}

/// Counters and reservations that wait to be written; with `None` those that are to be deleted.
#[derive(Default)]
pub(in crate::store::embedded) struct Unsaved {
    pub(in crate::store::embedded) counters: Vec<(Counter, Option<Amounts>)>,
    pub(in crate::store::embedded) reservations: Vec<(String, Option<Reservation>)>,
}

/// A charge that settles a reservation, without what the windows hold of it already. What they hold too much of is
/// taken back from them.
fn settling(charge: &Charge, reservation: &Reservation, keeps: bool, windows: &Counters) -> Charge {
    let held = reservation.counts;
    let used = if keeps { held } else { charge.counts };
    let over = |used: u64, held: u64| used.saturating_sub(held);
    let spare = Counts {
        requests: over(held.requests, used.requests),
        tokens: over(held.tokens, used.tokens),
        ..Counts::default()
    };
    if !spare.is_zero() {
        let refund = Refund { charged_at: reservation.charged_at, counts: spare, peer: None };
        windows.apply(&charge.subject, None, &[refund]);
    }
    let (requests, tokens) = (over(used.requests, held.requests), over(used.tokens, held.tokens));
    let counters = if keeps {
        charge.counters.iter().map(CounterCharge::of_nothing).collect()
    } else {
        charge.counters.clone()
    };
    Charge { counts: Counts { requests, tokens, ..charge.counts }, counters, ..charge.clone() }
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
                self.keep(Reservation { charged_at: observation.now, ..reservation.clone() });
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

    /// Takes the reservation that a charge settles, if it is still open to its key.
    fn settle(&mut self, charge: &Charge, id: &str) -> Option<Reservation> {
        let open = |held: &Reservation| held.is_open_to(&charge.subject, charge.now);
        if self.reservations.get(id).is_some_and(open) { self.take(id) } else { None }
    }

    /// Gives back what counters hold of a reservation, and charges it as used where the estimate is kept.
    fn give_back(&mut self, reservation: &Reservation, keeps: bool, now: Millis) {
        for change in reservation.counters.iter().filter_map(|held| held.change(keeps)) {
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

    fn keep(&mut self, lease: Reservation) {
        let id = lease.id.to_string();
        self.ends.insert((lease.until, id.clone()));
        self.dirty_reservations.insert(id.clone());
        self.reservations.insert(id, lease);
    }

    fn take(&mut self, id: &str) -> Option<Reservation> {
        let lease = self.reservations.remove(id)?;
        self.ends.remove(&(lease.until, id.to_owned()));
        self.dirty_reservations.insert(id.to_owned());
        Some(lease)
    }
}
