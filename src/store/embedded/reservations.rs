//! Reservations on their way and their ends, in memory; SQLite has a snapshot of them.

use std::collections::HashSet;

use super::{EmbeddedStore, effects::Effect, ledger_rows, usage::add_cells};
use crate::{
    domain::{
        Millis,
        reservation::{Ended, Reservation, ReservationChange, ReservationChanged, ReservationId},
        usage::UsageBatch,
    },
    store::{ReservationStore, StoreResult},
};

impl ReservationStore for EmbeddedStore {
    fn change_reservation<'a>(
        &'a self,
        id: &'a ReservationId,
        change: ReservationChange,
        now: Millis,
    ) -> StoreResult<'a, ReservationChanged> {
        let (ledger, windows) = (&self.memory.ledger, &self.memory.counters);
        Box::pin(async move { Ok(ledger.change_reservation(id.as_str(), change, windows, now)) })
    }

    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(async move { Ok(self.memory.ledger.take_ended(now, limit)) })
    }

    fn reservations(&self, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(async move { Ok(self.memory.ledger.all(limit)) })
    }

    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, now: Millis) -> StoreResult<'a, Ended> {
        // Both in one breath of this process: a crash between them forgets the same snapshot of either.
        Box::pin(async move { Ok(self.memory.ledger.end(&reservation.id, &self.memory.counters, now)) })
    }

    /// In one transaction with what memory holds of them: a crash leaves both, or neither.
    fn count_charged(&self, now: Millis) -> StoreResult<'_, usize> {
        Box::pin(async move {
            if !self.memory.ledger.has_uncounted() {
                return Ok(0);
            }
            let (memory, keep) = (self.memory.clone(), self.keep);
            self.write(move |connection, effects| {
                let (unsaved, uncounted) = memory.ledger.to_count();
                ledger_rows::save(connection, &unsaved)?;
                let mut batch =
                    UsageBatch { instance: "reservations".into(), seq: 0, now, deltas: Vec::new() };
                // What another has counted in this very transaction, memory learns after it.
                let counted = |effect: &Effect| match effect {
                    Effect::Counted(id, _) => Some(id.clone()),
                    _ => None,
                };
                let before: HashSet<String> = effects.iter().filter_map(counted).collect();
                let mut count = 0;
                for ((id, stage), delta) in uncounted {
                    if before.contains(&id) {
                        continue;
                    }
                    count += 1;
                    ledger_rows::count(connection, &id, stage)?;
                    batch.deltas.extend(delta);
                    effects.push(Effect::Counted(id, stage));
                }
                add_cells(connection, &batch, keep)?;
                Ok(count)
            })
            .await
        })
    }
}
