//! Reservations that nobody settled are ended.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::{
    domain::{Millis, SECOND},
    engine::shared::Shared,
    store::StoreError,
};

/// Reservations that are ended at a time, per partition of the store.
const ENDED_PAGE: usize = 200;

/// Reservations that are to be ended.
pub(in crate::engine) struct Reservations {
    shared: Arc<Shared>,
    /// Until when those of this instance may have to be.
    until: AtomicI64,
}

impl Reservations {
    /// None were made here yet.
    pub(in crate::engine) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, until: AtomicI64::default() }
    }

    /// Notes that one was made here, held until then.
    pub(in crate::engine) fn made(&self, until: Millis) {
        self.until.fetch_max(until + 2 * SECOND, Relaxed);
    }

    /// Whether one that was made here may have ended by now.
    pub(super) fn may_end(&self, now: Millis) -> bool {
        self.until.load(Relaxed) >= now
    }

    /// Ends reservations that nobody settled.
    pub(in crate::engine) async fn end(&self, now: Millis) -> Result<(), StoreError> {
        for reservation in self.shared.store.ended_reservations(now, ENDED_PAGE).await? {
            self.shared.store.end_reservation(&reservation, now).await?;
        }
        Ok(())
    }
}
