//! Reservations on their way and their ends: each changed and ended by one script, in the partition of their key.

use redis::Value;

use super::{
    RedisStore,
    charges::read_reservation,
    error::unreadable,
    packing,
    scripts::{CHANGE_RESERVATION, Call, END_RESERVATION, ENDED_RESERVATIONS, RESERVATION_USAGE},
};
use crate::{
    domain::{
        Millis,
        counter::CounterChange,
        reservation::{Ended, Reservation, ReservationChange, ReservationChanged, ReservationId},
        usage::UsageBatch,
    },
    store::{Refund, ReservationStore, Respond, StoreError, StoreResult, UsageStore},
};

/// What usage counts of a partition at a time.
const COUNTED_AT_ONCE: usize = 200;

/// What usage is to count of a reservation.
struct ToCount {
    /// Its sign and id, as the script shows it.
    name: Vec<u8>,
    number: u64,
    reservation: Reservation,
}

impl ReservationStore for RedisStore {
    fn change_reservation<'a>(
        &'a self,
        id: &'a ReservationId,
        change: ReservationChange,
        now: Millis,
    ) -> StoreResult<'a, ReservationChanged> {
        Box::pin(async move {
            let (lease, dispatched) = match change {
                ReservationChange::Extend { lease, dispatched } => (lease, dispatched),
                ReservationChange::GiveBack => (None, false),
            };
            let before = match self.extend(id, lease, dispatched, now).await? {
                ReservationChanged::Done(before, _) => before,
                other => return Ok(other),
            };
            if change != ReservationChange::GiveBack {
                let extended = before.extended(lease, dispatched, now);
                let moves = extended.moves_from(&before).collect();
                return Ok(ReservationChanged::Done(
                    extended,
                    self.make_elsewhere(&before, moves, now).await,
                ));
            }
            match self.end(&before, "give back", now).await? {
                Ended::GivenBack => {
                    let back = before.give_back().collect();
                    let owed = self.make_elsewhere(&before, back, now).await;
                    Ok(ReservationChanged::Done(before, owed))
                }
                // Somebody was quicker.
                _ => self.extend(id, None, false, now).await,
            }
        })
    }

    fn ended_reservations(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(self.kept(now.to_string(), limit))
    }

    fn reservations(&self, limit: usize) -> StoreResult<'_, Vec<Reservation>> {
        Box::pin(self.kept("+inf".to_owned(), limit))
    }

    /// One script: it is taken and given back, or charged, or nothing.
    fn end_reservation<'a>(&'a self, reservation: &'a Reservation, now: Millis) -> StoreResult<'a, Ended> {
        Box::pin(self.end(reservation, "end", now))
    }

    /// Each partition numbers what usage is to count of it, and each roll-up remembers the last number that it has: who
    /// tries again, or beside another, adds nothing twice.
    fn count_charged(&self, now: Millis) -> StoreResult<'_, usize> {
        Box::pin(async move {
            let mut counted = 0;
            let partitions: Vec<u16> = (0..self.keys.partitions()).collect();
            let shown = self.to_count(&partitions).await?;
            for (partition, shown) in partitions.into_iter().zip(shown) {
                counted += self.count_shown(partition, shown, now).await?;
            }
            Ok(counted)
        })
    }
}

impl RedisStore {
    /// A call with the keys of the reservations of a partition behind those that it has.
    fn reservation_call(&self, call: Call, partition: u16) -> Call {
        call.key(self.keys.reservations(partition)).key(self.keys.reservation_ends(partition))
    }

    /// What is kept of reservations by that moment. Every partition is asked at once.
    async fn kept(&self, until: String, limit: usize) -> Result<Vec<Reservation>, StoreError> {
        let call = |partition| {
            let call = self.reservation_call(Call::new(&ENDED_RESERVATIONS), partition);
            vec![call.arg(until.clone()).arg(limit.to_string())]
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
    }

    /// Extends a reservation; it is told as it was before.
    async fn extend(
        &self,
        id: &ReservationId,
        lease: Option<Millis>,
        dispatched: bool,
        now: Millis,
    ) -> Result<ReservationChanged, StoreError> {
        let until = lease.map_or(-1.0, |lease| now.saturating_add(lease) as f64);
        let call = Call::new(&CHANGE_RESERVATION)
            .arg(packing::doubles([now as f64, until, f64::from(u8::from(dispatched))]))
            .arg(id.as_str());
        let reply = self.link.call(self.reservation_call(call, id.partition(self.keys.partitions()))).await?;
        let Value::Array(parts) = reply else { return Err(unreadable("a reservation")) };
        let [Value::Int(changed), Value::BulkString(before)] = parts.as_slice() else {
            return Err(unreadable("a reservation"));
        };
        if before.is_empty() {
            return Ok(ReservationChanged::Unknown);
        }
        let before = read_reservation(before)?;
        Ok(if *changed == 1 {
            ReservationChanged::Done(before, Vec::new())
        } else {
            ReservationChanged::Ended(before.stage)
        })
    }

    /// Ends what is due of a reservation, or gives it back.
    async fn end(&self, reservation: &Reservation, how: &str, now: Millis) -> Result<Ended, StoreError> {
        let subject = reservation.subject();
        let partition = self.keys.partition(Some(&subject));
        let (charged_at, counts) = (reservation.charged_at, reservation.counts);
        let refunds = vec![Refund { charged_at, counts, peer: None }];
        let respond = Respond { subject, now, standing: None, refunds, events: Vec::new() };
        let call = Call::new(&END_RESERVATION).arg(reservation.id.as_bytes()).arg(how);
        let call = self.reservation_call(self.respond_call(call, &respond)?, partition);
        match self.link.call(call).await? {
            Value::Int(0) => Ok(Ended::Not),
            Value::Int(1) => Ok(Ended::GivenBack),
            Value::Int(2) => Ok(Ended::Charged),
            Value::Int(3) => Ok(Ended::Forgotten),
            _ => Err(unreadable("the end of a reservation")),
        }
    }

    /// Makes those of the changes that are in other slots than the reservation itself; they are returned if they could
    /// not be made.
    async fn make_elsewhere(
        &self,
        reservation: &Reservation,
        mut changes: Vec<CounterChange>,
        now: Millis,
    ) -> Vec<CounterChange> {
        let home = self.keys.partition(Some(&reservation.subject()));
        changes.retain(|change| self.cluster && self.partition_of(&change.counter.scope) != home);
        self.change_each_slot(changes, now).await
    }

    /// What usage is to count of partitions, in the order of each.
    async fn to_count(&self, partitions: &[u16]) -> Result<Vec<Vec<ToCount>>, StoreError> {
        let call = |partition: &u16| {
            let call = self.reservation_call(Call::new(&RESERVATION_USAGE), *partition);
            vec![call.arg(COUNTED_AT_ONCE.to_string())]
        };
        let calls: Vec<Vec<Call>> = partitions.iter().map(call).collect();
        let replies = self.link.call_all(&calls).await?.into_iter().flatten();
        replies
            .map(|reply| {
                let shown: Vec<(Vec<u8>, String, Vec<u8>)> = self.read(reply)?;
                shown
                    .into_iter()
                    .map(|(name, number, held)| {
                        let number =
                            number.parse::<u64>().map_err(|_| unreadable("the number of a reservation"))?;
                        Ok(ToCount { name, number, reservation: read_reservation(&held)? })
                    })
                    .collect()
            })
            .collect()
    }

    /// Counts what a partition has shown, one after the other, and notes that.
    async fn count_shown(
        &self,
        partition: u16,
        shown: Vec<ToCount>,
        now: Millis,
    ) -> Result<usize, StoreError> {
        if shown.is_empty() {
            return Ok(0);
        }
        let mut call = self.reservation_call(Call::new(&RESERVATION_USAGE), partition).arg("0");
        let counted = shown.len();
        for ToCount { name, number, reservation } in shown {
            let delta = reservation.usage_delta(name.starts_with(b"-"));
            let instance = format!("reservations:{partition}").into();
            self.add_usage(&UsageBatch { instance, seq: number, now, deltas: vec![delta] }).await?;
            call = call.arg(name);
        }
        self.link.call(call).await?;
        Ok(counted)
    }
}
