//! What was charged ahead of a request, until it ends.
//! [`CounterStore::observe`](super::CounterStore::observe) makes and settles reservations in the step that charges.

use crate::{
    domain::{Millis, reservation::Reservation},
    store::StoreResult,
};

/// Ends reservations that nobody settled.
pub trait ReservationStore: Send + Sync + 'static {
    /// Reservations that ended by `now` and were not settled, at most about `limit` of a partition.
    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>>;

    /// Takes a reservation, and what the windows of its key hold of it; says whether nobody was quicker.
    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, now: Millis) -> StoreResult<'a, bool>;
}
