//! Limits beyond the windows of a key, and reservations, on their way through the engine.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use uuid::Uuid;

use super::prepare::Observed;
use crate::{
    clock,
    domain::{
        MINUTE, Millis, SECOND,
        decision::Reservation,
        observation::{Charge, ChargeMode},
        quota::{Counter, Lease, QuotaChange, QuotaCharge, Scope},
        record::Record,
        stable_hash,
        window::Counts,
    },
    engine::Engine,
    store::{Refund, StoreError},
};

/// How long an estimate is held where nothing else is set.
pub const LEASE: Millis = MINUTE;
/// Reservations that are ended at a time, per partition of the store.
const ENDED_PAGE: usize = 200;

/// Until when reservations of this instance may have to be ended.
#[derive(Debug, Default)]
pub(in crate::engine) struct Reservations(AtomicI64);

impl Reservations {
    fn made(&self, until: Millis) {
        self.0.fetch_max(until + 2 * SECOND, Relaxed);
    }

    /// Whether one that was made here may have ended by now.
    pub(in crate::engine) fn may_end(&self, now: Millis) -> bool {
        self.0.load(Relaxed) >= now
    }
}

/// Makes a charge one that holds its estimate: where it would count for longer than the lease, it counts as long as that.
pub(super) fn reserve(charge: &mut Charge, record: &Record, leases: &Reservations, lease: Millis) {
    let until = charge.now + lease;
    charge.mode = ChargeMode::Admit;
    for quota in &mut charge.quotas {
        quota.until = quota.until.min(until);
    }
    let held = |quota: &QuotaCharge| {
        (quota.counter.scope.as_str().into(), quota.counter.id, quota.amount, quota.until)
    };
    leases.made(until);
    charge.lease = Some(Lease {
        id: new_id(record),
        key: record.key_id.clone(),
        charged_at: charge.now,
        counts: charge.counts,
        quotas: charge.quotas.iter().map(held).collect(),
        until,
    });
}

/// Makes a charge one that settles a reservation: what is held is given back, and the real figure charged, whatever the
/// limits. The request itself, and tokens up to the estimate, are in the windows already.
fn settle(charge: &mut Charge, lease: &Lease) {
    charge.mode = ChargeMode::Force;
    charge.counts.requests = charge.counts.requests.saturating_sub(lease.counts.requests);
    charge.counts.tokens = charge.counts.tokens.saturating_sub(lease.counts.tokens);
    for quota in &mut charge.quotas {
        quota.held = lease.held(&quota.counter);
    }
}

/// An id that names the key, too, so that no other key can settle it.
fn new_id(record: &Record) -> Arc<str> {
    let key = stable_hash(record.key_id.as_bytes()) as u32;
    format!("rsv_{}_{key:08x}", Uuid::now_v7().simple()).into()
}

fn is_of(id: &str, record: &Record) -> bool {
    let key = stable_hash(record.key_id.as_bytes()) as u32;
    id.rsplit_once('_').is_some_and(|(_, hash)| hash == format!("{key:08x}"))
}

/// What takes charges of counters back.
pub(super) fn back(quotas: &[QuotaCharge]) -> impl Iterator<Item = QuotaChange> {
    quotas.iter().map(|quota| QuotaChange {
        counter: quota.counter.clone(),
        back: Some((quota.amount, quota.until)),
        add: None,
    })
}

/// What a reservation holds in those of its counters.
fn changes_back(lease: &Lease, of: impl Fn(&Counter) -> bool) -> Vec<QuotaChange> {
    let held = lease.quotas.iter().filter_map(|(scope, id, amount, until)| {
        let counter = Counter { scope: Scope::parse(scope)?, id: *id };
        Some(QuotaChange { counter, back: Some((*amount, *until)), add: None })
    });
    held.filter(|change| of(&change.counter)).collect()
}

impl Engine {
    /// Makes a charge settle the reservation that its record names; without one (any more) it is charged as any other. When
    /// the store does not say whether there is one, it is charged whatever the limits, as the request was let through:
    /// what may be held for it then is held until the lease ends.
    pub(super) async fn settle_reserved(&self, record: &Record, charge: &mut Charge) -> Option<Lease> {
        let id = record.reservation_id.as_deref().filter(|id| is_of(id, record))?;
        let taken = match self.breaker.open_since() {
            None => clock::timeout(self.patience(1), self.store.take_lease(&record.key, id)).await,
            Some(_) => Ok(Err(StoreError::Unavailable("it is being waited for".into()))),
        };
        let Ok(Ok(taken)) = taken else {
            charge.mode = ChargeMode::Force;
            if let (Ok(Err(error)), None) = (taken, self.breaker.open_since()) {
                self.store_failed(&error, self.now());
            }
            return None;
        };
        let lease = taken.filter(|lease| lease.key == record.key_id)?;
        settle(charge, &lease);
        Some(lease)
    }

    /// What a reservation held whose record a ban has refused.
    pub(super) async fn give_all_back(&self, record: &Record, observed: &Observed, lease: &Lease) {
        let refund = Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None };
        self.refund(record, observed, vec![refund], Vec::new()).await;
        self.change_quotas(&changes_back(lease, |_| true), observed.key.now).await;
    }

    /// What a settled reservation held too much of, in windows, and in counters that the record does not touch. Returns
    /// the tokens that windows hold less.
    pub(super) async fn give_rest_back(&self, record: &Record, observed: &Observed, lease: &Lease) -> u64 {
        let spare = lease.counts.tokens.saturating_sub(record.tokens);
        if spare > 0 {
            let counts = Counts { tokens: spare, ..Counts::default() };
            let refund = Refund { charged_at: lease.charged_at, counts, peer: None };
            self.refund(record, observed, vec![refund], Vec::new()).await;
        }
        let touched = |counter: &Counter| observed.charge.quotas.iter().any(|q| q.counter == *counter);
        let changes = changes_back(lease, |counter| !touched(counter));
        self.change_quotas(&changes, observed.key.now).await;
        spare
    }

    /// Takes back what a request that is refused after all charged to counters.
    pub(super) async fn give_quotas_back(&self, observed: &Observed) {
        let changes: Vec<QuotaChange> = back(&observed.charge.quotas).collect();
        self.change_quotas(&changes, observed.key.now).await;
    }

    pub(in crate::engine) async fn change_quotas(&self, changes: &[QuotaChange], now: Millis) {
        if changes.is_empty() || self.breaker.open_since().is_some() {
            return;
        }
        let changed = clock::timeout(self.patience(1), self.store.change_quotas(changes, now)).await;
        if let Ok(Err(error)) = changed {
            self.store_failed(&error, now);
        }
    }

    /// What is held for the caller.
    pub(super) fn reservation(&self, observed: &Observed) -> Option<Reservation> {
        let is_held = observed.key.admitted && observed.key.tracked && !observed.degraded;
        let lease = observed.charge.lease.as_ref().filter(|_| is_held)?;
        let seconds = (lease.until - observed.charge.now).max(0) / SECOND;
        Some(Reservation { id: lease.id.clone(), lease_seconds: seconds.unsigned_abs() })
    }

    /// Ends reservations that nobody settled.
    pub(in crate::engine) async fn end_leases(&self, now: Millis) -> Result<(), StoreError> {
        for lease in self.store.ended_leases(now, ENDED_PAGE).await? {
            self.store.end_lease(&lease, now).await?;
        }
        Ok(())
    }
}
