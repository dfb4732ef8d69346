//! Requests that were counted when they were seen on their way: nothing is to be done at their end.

use super::Inner;
use crate::domain::{Millis, reservation::Stage};

impl Inner {
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
