//! Counters and reservations in memory: what is charged beyond the windows of a subject.
//!
//! One lock over all of them makes a charge of several counters all or none. It is held for microseconds, and only by
//! requests that such limits are on.

use std::collections::{BTreeSet, HashMap, HashSet};

use parking_lot::Mutex;

use super::counters::Counters;
use crate::domain::{
    Millis,
    observation::{Charge, ChargeMode, Observation},
    quota::{Amounts, Counter, Lease, QuotaChange, QuotaCharge, QuotaCount, QuotaRefusal},
};

#[derive(Default)]
struct Inner {
    counters: HashMap<Counter, Amounts>,
    leases: HashMap<String, Lease>,
    /// Ids of reservations by the moment of their end.
    ends: BTreeSet<(Millis, String)>,
    dirty_counters: HashSet<Counter>,
    dirty_leases: HashSet<String>,
}

/// Counters and reservations, all under one lock.
#[derive(Default)]
pub struct Quotas(Mutex<Inner>);

impl Quotas {
    /// Charges the windows of a subject and its counters: all, or none.
    pub fn observe(&self, charge: &Charge, windows: &Counters) -> Observation {
        let mut inner = self.0.lock();
        let now = charge.now;
        let forced = charge.mode == ChargeMode::Force;
        let refusal = if forced { None } else { inner.refusal(&charge.quotas, now) };
        let mut observation = match refusal {
            None => windows.observe(charge),
            // What the windows would have said is still of use.
            Some(_) => {
                let looked = windows.observe(&Charge { mode: ChargeMode::Peek, ..charge.clone() });
                Observation { tracked: looked.tracked || charge.may_create, ..looked }
            }
        };
        observation.admitted &= refusal.is_none();
        observation.quota_refusal = refusal;
        if observation.admitted && charge.mode != ChargeMode::Peek {
            for quota in &charge.quotas {
                inner.change(&quota.counter, quota.held, Some((quota.amount, quota.until)), now);
            }
            if let Some(lease) = charge.lease.as_ref().filter(|_| observation.tracked) {
                inner.keep(Lease { charged_at: observation.now, ..lease.clone() });
            }
        }
        observation.quotas = charge.quotas.iter().map(|quota| inner.used(&quota.counter, now)).collect();
        observation
    }

    /// Changes counters, whatever their limits.
    pub fn change(&self, changes: &[QuotaChange], now: Millis) {
        let mut inner = self.0.lock();
        for change in changes {
            inner.change(&change.counter, change.back, change.add, now);
        }
    }

    /// What counters hold at `now`, in their order.
    pub fn used(&self, counters: &[Counter], now: Millis) -> Vec<QuotaCount> {
        let inner = self.0.lock();
        counters.iter().map(|counter| inner.used(counter, now)).collect()
    }

    /// Takes a reservation; `None` when somebody was quicker.
    pub(in crate::store::embedded) fn take_lease(&self, id: &str) -> Option<Lease> {
        self.0.lock().take(id)
    }

    /// Reservations that ended by `now`, the earliest first, at most `limit`.
    pub(in crate::store::embedded) fn ended(&self, now: Millis, limit: usize) -> Vec<Lease> {
        let inner = self.0.lock();
        let ended = inner.ends.iter().take_while(|(until, _)| *until <= now).take(limit);
        ended.filter_map(|(_, id)| inner.leases.get(id).cloned()).collect()
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
        let leases = std::mem::take(&mut inner.dirty_leases);
        let counters = counters.into_iter().map(|c| (inner.counters.get(&c).cloned(), c));
        let counters: Vec<_> = counters.map(|(amounts, counter)| (counter, amounts)).collect();
        let leases = leases.into_iter().map(|id| (inner.leases.get(&id).cloned(), id));
        Unsaved { counters, leases: leases.map(|(lease, id)| (id, lease)).collect() }
    }

    /// Notes that what was taken could not be written.
    pub(in crate::store::embedded) fn wait_again(&self, unsaved: &Unsaved) {
        let mut inner = self.0.lock();
        inner.dirty_counters.extend(unsaved.counters.iter().map(|(counter, _)| counter.clone()));
        inner.dirty_leases.extend(unsaved.leases.iter().map(|(id, _)| id.clone()));
    }

    /// Puts back what was written; used before the first charge.
    pub(in crate::store::embedded) fn restore(&self, counters: Vec<(Counter, Amounts)>, leases: Vec<Lease>) {
        let mut inner = self.0.lock();
        inner.counters.extend(counters);
        for lease in leases {
            inner.keep(lease);
        }
        inner.dirty_leases.clear();
    }
}

/// Counters and reservations that wait to be written; with `None` those that are to be deleted.
#[derive(Default)]
pub(in crate::store::embedded) struct Unsaved {
    pub(in crate::store::embedded) counters: Vec<(Counter, Option<Amounts>)>,
    pub(in crate::store::embedded) leases: Vec<(String, Option<Lease>)>,
}

impl Inner {
    /// The charge that keeps out longest, when one does; the first of equals.
    fn refusal(&self, quotas: &[QuotaCharge], now: Millis) -> Option<QuotaRefusal> {
        let mut longest: Option<QuotaRefusal> = None;
        let none = Amounts::default();
        for (index, quota) in quotas.iter().enumerate() {
            let retry_at =
                self.counters.get(&quota.counter).unwrap_or(&none).fits_at(quota.amount, quota.most, now);
            let wait = |at: Option<Millis>| at.unwrap_or(Millis::MAX);
            if retry_at != Some(now) && longest.is_none_or(|known| wait(retry_at) > wait(known.retry_at)) {
                longest = Some(QuotaRefusal { index, retry_at });
            }
        }
        longest
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

    fn used(&self, counter: &Counter, now: Millis) -> QuotaCount {
        self.counters.get(counter).map_or_else(QuotaCount::default, |amounts| amounts.used(now))
    }

    fn keep(&mut self, lease: Lease) {
        let id = lease.id.to_string();
        self.ends.insert((lease.until, id.clone()));
        self.dirty_leases.insert(id.clone());
        self.leases.insert(id, lease);
    }

    fn take(&mut self, id: &str) -> Option<Lease> {
        let lease = self.leases.remove(id)?;
        self.ends.remove(&(lease.until, id.to_owned()));
        self.dirty_leases.insert(id.to_owned());
        Some(lease)
    }
}
