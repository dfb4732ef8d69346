//! Reservations that are kept from ending while their request is on its way.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    domain::reservation::{ReservationChange, ReservationId},
    engine::Engine,
};

/// Keeps a reservation from ending while its request is on its way. Dropped, it ends with its lease.
pub(super) struct Lease(tokio::task::JoinHandle<()>);

impl Lease {
    /// Extends a reservation that has been made for this long, again and again.
    pub(super) fn keep(engine: Arc<Engine>, id: ReservationId, lease: Duration) -> Self {
        let every = lease.max(Duration::from_secs(1)) / 3;
        Self(tokio::spawn(async move {
            let lease = i64::try_from((every * 3).as_millis()).ok();
            let change = ReservationChange::Extend { lease, dispatched: true };
            loop {
                clock::sleep(every).await;
                if let Err(error) = engine.reservations().change(&id, change, engine.now()).await {
                    tracing::debug!(%error, "a lease could not be extended; it is tried again");
                }
            }
        }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is held for a stream beyond what was held at first.
pub(super) struct Part {
    pub id: ReservationId,
    /// Extended for as long as this is there.
    _lease: Lease,
}

impl Part {
    /// Keeps a reservation that has been made for this long.
    pub(super) fn keep(engine: Arc<Engine>, id: ReservationId, lease: Duration) -> Self {
        Self { _lease: Lease::keep(engine, id.clone(), lease), id }
    }
}
