//! Reservations on the way of a request: made by a check, settled by a record.

use std::sync::Arc;

use uuid::Uuid;

use super::{decider::Decider, stages::Observed};
use crate::{
    clock,
    domain::{
        MINUTE, Millis, SECOND,
        counter::{CounterChange, CounterCharge},
        decision::{Reserved, Settlement},
        observation::Charge,
        record::Record,
        reservation::{HeldAmount, Reservation},
        stable_hash,
    },
    engine::background::reservations::Reservations,
};

/// How long an estimate is held where nothing else is set.
pub const LEASE: Millis = MINUTE;
/// Makes a charge one that holds its estimate: where it would count for longer than the lease, it counts as long as
/// that.
pub(super) fn reserve(
    charge: &mut Charge,
    record: &Record,
    reservations: &Reservations,
    lease: Millis,
    now: Millis,
) {
    let until = now + lease;
    let charged = charge.counters.iter_mut().filter(|counter| counter.block.is_none());
    let held = charged.map(|counter| {
        let counts_until = counter.until;
        counter.until = counts_until.min(until);
        HeldAmount {
            scope: counter.counter.scope.as_str().into(),
            id: counter.counter.id,
            amount: counter.amount,
            until: counter.until,
            counts_until,
        }
    });
    let counters = held.collect();
    reservations.made(until);
    charge.entry.get_or_insert_default().reserves = Some(Reservation {
        id: new_id(record),
        key: record.key_id.clone(),
        charged_at: now,
        counts: charge.counts,
        cost_nanos: record.cost().nanos,
        counters,
        until,
    });
}

/// An id that names the key, too, so that no other key can settle it.
fn new_id(record: &Record) -> Arc<str> {
    let key = stable_hash(record.key_id.as_bytes()) as u32;
    format!("rsv_{}_{key:08x}", Uuid::now_v7().simple()).into()
}

/// Whether a reservation's id is one that was made for the key of a record.
pub(super) fn is_of(id: &str, record: &Record) -> bool {
    let key = stable_hash(record.key_id.as_bytes()) as u32;
    id.rsplit_once('_').is_some_and(|(_, hash)| hash == format!("{key:08x}"))
}

/// What takes charges of counters back.
pub(super) fn back(charges: &[CounterCharge]) -> impl Iterator<Item = CounterChange> {
    charges.iter().map(|charge| CounterChange {
        counter: charge.counter.clone(),
        back: Some((charge.amount, charge.until)),
        add: None,
    })
}

impl Observed<'_> {
    /// The reservation whose estimate is charged as used, because the record does not say what was.
    pub(super) fn kept_estimate(&self) -> Option<&Reservation> {
        let keeps = self.charge.settles().is_some_and(|settles| settles.keeps_estimate);
        self.key.settled.as_ref().filter(|_| keeps)
    }

    /// What became of the reservation that the record names; `None` when it names none, or the store did not say.
    pub(super) fn settlement(&self) -> Option<Settlement> {
        self.known.record.reservation_id.as_ref()?;
        match (self.charge.settles(), &self.key.settled) {
            _ if self.degraded => None,
            (None, _) => Some(Settlement::Unknown),
            (Some(_), Some(_)) => Some(Settlement::Settled),
            (Some(_), None) => Some(Settlement::Expired),
        }
    }

    /// What is held for the caller.
    pub(super) fn reserved(&self) -> Option<Reserved> {
        let is_held = self.key.admitted && self.key.tracked && !self.degraded;
        let reservation = self.charge.reserves().filter(|_| is_held)?;
        let seconds = (reservation.until - self.charge.now).max(0) / SECOND;
        Some(Reserved { id: reservation.id.clone(), lease_seconds: seconds.unsigned_abs() })
    }
}

impl Decider {
    /// Takes back what an admission that is refused after all charged to counters.
    pub(super) async fn give_counters_back(&self, observed: &Observed<'_>) {
        let changes: Vec<CounterChange> = back(&observed.charge.counters).collect();
        self.change_counters(&changes, observed.key.now).await;
    }

    pub(in crate::engine) async fn change_counters(&self, changes: &[CounterChange], now: Millis) {
        if changes.is_empty() || !self.shared.is_answering() {
            return;
        }
        let changed = clock::timeout(self.patience(1), self.shared.store.change_counters(changes, now)).await;
        if let Ok(Err(error)) = changed {
            self.shared.store_failed(&error, now);
        }
    }
}
