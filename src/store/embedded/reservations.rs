//! Reservations, in memory; SQLite has a snapshot of them.

use super::EmbeddedStore;
use crate::{
    domain::{Millis, quota::Lease, subject::Subject},
    store::{Refund, ReservationStore, StoreResult},
};

impl ReservationStore for EmbeddedStore {
    fn take_lease<'a>(&'a self, _key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>> {
        Box::pin(async move { Ok(self.memory.quotas.take_lease(id)) })
    }

    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>> {
        Box::pin(async move { Ok(self.memory.quotas.ended(now, limit)) })
    }

    fn end_lease<'a>(&'a self, lease: &'a Lease, _now: Millis) -> StoreResult<'a, bool> {
        // Both in one breath of this process: a crash between them forgets the same snapshot of either.
        Box::pin(async move {
            let taken = self.memory.quotas.take_lease(&lease.id);
            if let Some(lease) = &taken {
                let refund = Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None };
                self.memory.counters.apply(&lease.subject(), None, &[refund]);
            }
            Ok(taken.is_some())
        })
    }
}
