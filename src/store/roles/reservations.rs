//! What was charged ahead of a request, until it ends.
//! [`CounterStore::observe`](super::CounterStore::observe) makes, settles and corrects reservations in the step that
//! charges.

use crate::{
    domain::{
        Millis,
        reservation::{Ended, Reservation, ReservationChange, ReservationChanged, ReservationId},
    },
    store::StoreResult,
};

/// Changes reservations on their way, and ends those that nobody settled.
pub trait ReservationStore: Send + Sync + 'static {
    /// Changes a reservation that has not ended, in one step with what its own slot holds of it. Changes of counters in
    /// other slots that could not be made are told in [`ReservationChanged::Done`]: they are to be made later.
    fn change_reservation<'a>(
        &'a self,
        id: &'a ReservationId,
        change: ReservationChange,
        now: Millis,
    ) -> StoreResult<'a, ReservationChanged>;

    /// Reservations whose stage ended by `now` ([`Reservation::due`]), at most about `limit` of a partition. Requests
    /// that were counted when they were seen ([`Stage`](crate::domain::reservation::Stage)) are forgotten then, up to
    /// ten times as many, and not among them: there may be as many as there are requests.
    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>>;

    /// All that is kept of reservations, at most about `limit` of a partition.
    fn reservations(&self, limit: usize) -> StoreResult<'_, Vec<Reservation>>;

    /// Ends what is due of a reservation, and says what that came to: what windows hold of it is given back, or the
    /// estimate is charged. Two that end it at once do so once.
    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, now: Millis) -> StoreResult<'a, Ended>;

    /// Counts in usage the estimates that were charged, and takes away those that were corrected, each once, whoever
    /// tries and however often. Returns how many.
    fn count_charged(&self, now: Millis) -> StoreResult<'_, usize>;
}
