//! The ends of reservations, in memory; SQLite has a snapshot of them.

use super::EmbeddedStore;
use crate::{
    domain::{Millis, reservation::Reservation},
    store::{Refund, ReservationStore, StoreResult},
};

impl ReservationStore for EmbeddedStore {
    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(async move { Ok(self.memory.ledger.ended(now, limit)) })
    }

    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, _now: Millis) -> StoreResult<'a, bool> {
        // Both in one breath of this process: a crash between them forgets the same snapshot of either.
        Box::pin(async move {
            let taken = self.memory.ledger.take_reservation(&reservation.id);
            if let Some(taken) = &taken {
                let refund = Refund { charged_at: taken.charged_at, counts: taken.counts, peer: None };
                self.memory.counters.apply(&taken.subject(), None, &[refund]);
            }
            Ok(taken.is_some())
        })
    }
}
