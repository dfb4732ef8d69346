//! What is held for a request that is on its way, and kept from ending meanwhile.

use std::{sync::Arc, time::Duration};

use super::super::estimate::Estimated;
use crate::{
    clock,
    domain::{
        decision::Decision,
        record::Record,
        reservation::{ReservationChange, ReservationId},
    },
    engine::Engine,
};

/// What is held for a request.
pub(super) struct Hold {
    /// The model that it is held for.
    pub model: Arc<str>,
    /// The record of the estimate: by it the request is stopped, should its key be banned meanwhile.
    pub record: Record,
    /// The decision that admitted it.
    pub decision: Decision,
    /// How many tokens its prompt has.
    pub prompt: Estimated,
    /// Tokens of the answer that are held.
    pub output: u64,
    pub lease: Option<Lease>,
    /// What is held beyond that for a stream that has outgrown it.
    pub parts: Vec<Part>,
}

/// Keeps a reservation from ending while its request is on its way. Dropped, it ends with its lease.
pub(super) struct Lease(tokio::task::JoinHandle<()>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Hold {
    /// The id of the reservation; none where the store did not answer.
    pub(super) fn reservation(&self) -> Option<&Arc<str>> {
        self.decision.reserved.as_ref().map(|reserved| &reserved.id)
    }

    /// Ends the lease's extension: from now on the reservation is settled, or ends by itself.
    pub(super) fn release(&mut self) {
        self.lease = None;
    }
}

/// What is held for a stream beyond what was held at first.
pub(super) struct Part {
    pub id: ReservationId,
    /// Extended for as long as this is there.
    pub _lease: Lease,
}

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
