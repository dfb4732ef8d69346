//! Reservations by the request that they were made for: so a record corrects a charge that it does not name.

use std::sync::Arc;

use super::Inner;
use crate::domain::{
    Millis,
    observation::Charge,
    reservation::{Reservation, Stage},
};

impl Inner {
    /// The id of the reservation that a report means: by its own, or by the name of its request where its estimate is
    /// charged. One that has not ended is found by its own id alone.
    pub(super) fn found(&self, id: &Arc<str>, now: Millis) -> String {
        let is_charged =
            |id: &&String| self.reservations.get(*id).is_some_and(|kept| kept.reservation.is_charged(now));
        let named = self.requests.get(id).filter(|_| !self.reservations.contains_key(&**id));
        named.filter(is_charged).cloned().unwrap_or_else(|| id.to_string())
    }

    /// Takes the observation that a charge completes which counts for nobody: what was counted when the request was
    /// seen stays as it is.
    pub(super) fn complete(&mut self, charge: &Charge) -> Option<Reservation> {
        let id = self.found(&charge.settles()?.id, charge.now);
        let kept = self.reservations.get(&id).filter(|kept| kept.reservation.stage == Stage::Observed)?;
        let is_open = kept.reservation.is_open_to(&charge.subject, charge.now);
        is_open.then(|| self.take(&id)).flatten().map(|kept| kept.reservation)
    }

    /// Has the name of its request lead to a reservation, unless it leads to a later one.
    pub(super) fn name(&mut self, reservation: &Reservation) {
        if let Some(request) = reservation.request.clone().filter(|_| reservation.stage != Stage::Corrected) {
            self.requests.entry(request).or_insert_with(|| reservation.id.to_string());
        }
    }

    /// Whether the name of its request leads to a reservation.
    pub(super) fn is_named(&self, reservation: &Reservation) -> bool {
        let named = reservation.request.as_ref().and_then(|request| self.requests.get(request));
        named.is_some_and(|id| **id == *reservation.id)
    }

    /// Has the name of a request lead nowhere.
    pub(super) fn unname(&mut self, request: Option<&Arc<str>>) {
        if let Some(request) = request {
            self.requests.remove(request);
        }
    }
}
