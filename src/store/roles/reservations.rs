//! What was charged ahead of a request, until it is settled. [`CounterStore::observe`](super::CounterStore::observe)
//! makes a reservation in the step that charges for it.

use crate::{
    domain::{Millis, quota::Lease, subject::Subject},
    store::StoreResult,
};

/// Keeps reservations. Each is taken once, by its settlement or by its end.
pub trait ReservationStore: Send + Sync + 'static {
    /// Takes a reservation, for settling it: whoever comes second gets `None`.
    fn take_lease<'a>(&'a self, key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>>;

    /// Reservations that ended by `now` and were not settled, at most about `limit` of a partition.
    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>>;

    /// Takes a reservation, and what the windows of its key hold of it; says whether nobody was quicker.
    fn end_lease<'a>(&'a self, lease: &'a Lease, now: Millis) -> StoreResult<'a, bool>;
}
