//! What has ended: reservations that something is to be done about, and requests that were counted when they were seen
//! on their way, about which nothing is.

use super::{Inner, Ledger};
use crate::domain::{
    Millis,
    reservation::{Reservation, Stage},
};

impl Ledger {
    /// All reservations, the earliest to end first, at most `limit`.
    pub(in crate::store::embedded) fn all(&self, limit: usize) -> Vec<Reservation> {
        self.0.lock().ended(Millis::MAX, limit, |_| true)
    }

    /// Reservations whose stage ended by `now`, the earliest first, at most `limit`. Requests that were counted when
    /// they were seen are forgotten, at most ten times as many, and are not among them.
    pub(in crate::store::embedded) fn take_ended(&self, now: Millis, limit: usize) -> Vec<Reservation> {
        let mut inner = self.0.lock();
        inner.forget_observed(now, 10 * limit);
        inner.ended(now, limit, |reservation| reservation.stage != Stage::Observed)
    }
}

impl Inner {
    /// Those whose stage ended by `now` and that are wanted, the earliest first, at most `limit`.
    pub(super) fn ended(
        &self,
        now: Millis,
        limit: usize,
        is_wanted: impl Fn(&Reservation) -> bool,
    ) -> Vec<Reservation> {
        let ended = self.ends.iter().take_while(|(until, _)| *until <= now);
        let ended = ended.filter_map(|(_, id)| self.reservations.get(id));
        let ended = ended.filter(|kept| kept.counted || !self.uncounted.contains(&*kept.reservation.id));
        let ended = ended.map(|kept| &kept.reservation).filter(|reservation| is_wanted(reservation));
        ended.take(limit).cloned().collect()
    }

    /// Forgets those that were counted when they were seen and whose time is over, the earliest first, at most `most`.
    pub(super) fn forget_observed(&mut self, now: Millis, most: usize) {
        let is_observed = |id: &&String| {
            self.reservations.get(*id).is_some_and(|kept| kept.reservation.stage == Stage::Observed)
        };
        let due = self.ends.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| id);
        let over: Vec<String> = due.filter(is_observed).take(most).cloned().collect();
        for id in over {
            self.take(&id);
        }
    }
}
