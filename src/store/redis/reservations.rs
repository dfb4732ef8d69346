//! The ends of reservations: shown and ended by one script each, in the partition of their key.

use redis::Value;

use super::{
    RedisStore,
    charges::read_reservation,
    error::unreadable,
    scripts::{Call, END_RESERVATION, ENDED_RESERVATIONS},
};
use crate::{
    domain::{Millis, reservation::Reservation},
    store::{Refund, ReservationStore, Respond, StoreResult},
};

impl ReservationStore for RedisStore {
    /// Every partition is asked at once.
    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(async move {
            let call = |partition| {
                let call = Call::new(&ENDED_RESERVATIONS)
                    .key(self.keys.reservations(partition))
                    .key(self.keys.reservation_ends(partition));
                vec![call.arg(now.to_string()).arg(limit.to_string())]
            };
            let calls: Vec<Vec<Call>> = (0..self.keys.partitions()).map(call).collect();
            let mut reservations = Vec::new();
            for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
                let reply = reply.map_err(|error| self.link.translate(&error))?;
                let Value::Array(items) = reply else { return Err(unreadable("reservations")) };
                for item in &items {
                    let Value::BulkString(bytes) = item else { return Err(unreadable("a reservation")) };
                    reservations.push(read_reservation(bytes)?);
                }
            }
            Ok(reservations)
        })
    }

    /// One script: it is taken and given back, or neither.
    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, now: Millis) -> StoreResult<'a, bool> {
        Box::pin(async move {
            let subject = reservation.subject();
            let partition = self.keys.partition(Some(&subject));
            let (charged_at, counts) = (reservation.charged_at, reservation.counts);
            let refunds = vec![Refund { charged_at, counts, peer: None }];
            let respond = Respond { subject, now, standing: None, refunds, events: Vec::new() };
            let call =
                self.respond_call(Call::new(&END_RESERVATION).arg(reservation.id.as_bytes()), &respond)?;
            let call = call.key(self.keys.reservations(partition)).key(self.keys.reservation_ends(partition));
            Ok(self.link.call(call).await? == Value::Int(1))
        })
    }
}
