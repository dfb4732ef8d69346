//! Reservations: taken, shown and ended by one script each, in the partition of their key.

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    scripts::{Call, END_LEASE, LEASE},
};
use crate::{
    domain::{Millis, quota::Lease, subject::Subject},
    store::{Refund, ReservationStore, Respond, StoreError, StoreResult},
};

impl ReservationStore for RedisStore {
    fn take_lease<'a>(&'a self, key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>> {
        Box::pin(async move {
            let call = self.lease_call(self.keys.partition(Some(key)), id, 0, 0);
            Ok(read_leases(&self.link.call(call).await?)?.pop())
        })
    }

    /// Every partition is asked at once.
    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>> {
        Box::pin(async move {
            let call = |partition| vec![self.lease_call(partition, "", now, limit)];
            let calls: Vec<Vec<Call>> = (0..self.keys.partitions()).map(call).collect();
            let mut leases = Vec::new();
            for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
                leases.extend(read_leases(&reply.map_err(|error| self.link.translate(&error))?)?);
            }
            Ok(leases)
        })
    }

    /// One script: it is taken and given back, or neither.
    fn end_lease<'a>(&'a self, lease: &'a Lease, now: Millis) -> StoreResult<'a, bool> {
        Box::pin(async move {
            let subject = lease.subject();
            let partition = self.keys.partition(Some(&subject));
            let refund = Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None };
            let respond = Respond { subject, now, standing: None, refunds: vec![refund], events: Vec::new() };
            let call = self.respond_call(Call::new(&END_LEASE).arg(lease.id.as_bytes()), &respond)?;
            let call = call.key(self.keys.leases(partition)).key(self.keys.lease_ends(partition));
            Ok(self.link.call(call).await? == Value::Int(1))
        })
    }
}

impl RedisStore {
    fn lease_call(&self, partition: u16, id: &str, now: Millis, limit: usize) -> Call {
        Call::new(&LEASE)
            .key(self.keys.leases(partition))
            .key(self.keys.lease_ends(partition))
            .arg(id)
            .arg(now.to_string())
            .arg(limit.to_string())
    }
}

fn read_leases(reply: &Value) -> Result<Vec<Lease>, StoreError> {
    let Value::Array(items) = reply else { return Err(unreadable("reservations")) };
    items.iter().map(read_lease).collect()
}

fn read_lease(item: &Value) -> Result<Lease, StoreError> {
    let Value::BulkString(bytes) = item else { return Err(unreadable("a reservation")) };
    let (charged_at, content) = bytes.split_first_chunk::<8>().ok_or_else(|| unreadable("a reservation"))?;
    let lease: Lease = serde_json::from_slice(content).map_err(unreadable_because("a reservation"))?;
    Ok(Lease { charged_at: f64::from_le_bytes(*charged_at) as Millis, ..lease })
}
