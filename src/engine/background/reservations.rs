//! Reservations after they are made: changed by their callers, and ended where nobody settled them.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::{
    domain::{
        Millis, SECOND,
        reservation::{Ended, ReservationChange, ReservationChanged, ReservationId},
    },
    engine::{fallback::Fallback, shared::Shared},
    store::{StoreError, patient},
};

/// Reservations that are ended at a time, per partition of the store.
const ENDED_PAGE: usize = 200;

/// Reservations that are open.
pub struct Reservations {
    shared: Arc<Shared>,
    fallback: Arc<Fallback>,
    /// Until when those of this instance may have to be ended.
    until: AtomicI64,
}

impl Reservations {
    /// None were made here yet.
    pub(in crate::engine) fn new(shared: Arc<Shared>, fallback: Arc<Fallback>) -> Self {
        Self { shared, fallback, until: AtomicI64::default() }
    }

    /// Notes that one was made here, held until then.
    pub(in crate::engine) fn made(&self, until: Millis) {
        self.until.fetch_max(until + 2 * SECOND, Relaxed);
    }

    /// Whether one that was made here may have ended by now.
    pub(super) fn may_end(&self, now: Millis) -> bool {
        self.until.load(Relaxed) >= now
    }

    /// Extends a reservation, notes that its request has left for the provider, or gives it back.
    ///
    /// # Errors
    /// When the store does not answer; nothing is acknowledged then.
    pub async fn change(
        &self,
        id: &ReservationId,
        change: ReservationChange,
        now: Millis,
    ) -> Result<ReservationChanged, StoreError> {
        self.shared.answering()?;
        let changed = patient(self.shared.store.change_reservation(id, change, now)).await?;
        if let ReservationChanged::Done(reservation, owed) = &changed {
            self.made(reservation.until);
            self.fallback.owe_changes(owed);
        }
        Ok(changed)
    }

    /// Ends reservations that nobody settled: what was not dispatched is given back, and what was is charged, and
    /// counted in usage.
    ///
    /// # Errors
    /// When the store does not answer; what is not ended then is ended later, by any instance.
    pub async fn end(&self, now: Millis) -> Result<(), StoreError> {
        let mut is_charged = false;
        for reservation in self.shared.store.ended_reservations(now, ENDED_PAGE).await? {
            is_charged |= self.shared.store.end_reservation(&reservation, now).await? == Ended::Charged;
        }
        if is_charged { count_charged(&self.shared, now).await } else { Ok(()) }
    }
}

/// Has usage count all estimates that were charged, on any instance, and none of those that were corrected.
pub(super) async fn count_charged(shared: &Shared, now: Millis) -> Result<(), StoreError> {
    while patient(shared.store.count_charged(now)).await? > 0 {}
    Ok(())
}
