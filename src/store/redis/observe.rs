//! The hot path: charging, and looking without charging.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    packing,
    scripts::{Call, OBSERVE},
};
use crate::{
    domain::{
        Millis,
        observation::{Charge, ChargeMode, Observation},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::StoreError,
};

impl RedisStore {
    /// All charges go out at once; those of one partition, and so of one subject, in their order.
    pub(super) async fn observe_all(&self, charges: &[Charge]) -> Result<Vec<Observation>, StoreError> {
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, charge) in charges.iter().enumerate() {
            by_partition.entry(self.keys.partition(Some(&charge.subject))).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = by_partition.into_values().collect();
        let calls: Vec<Vec<Call>> = groups
            .iter()
            .map(|group| group.iter().map(|i| self.charge_call(&charges[*i])).collect())
            .collect();
        let replies = self.link.call_all(&calls).await?;
        let mut observations: Vec<Option<Observation>> = vec![None; charges.len()];
        for (index, reply) in groups.iter().flatten().zip(replies.into_iter().flatten()) {
            let reply = reply.map_err(|e| self.link.translate(&e))?;
            observations[*index] = Some(read(&reply, &charges[*index])?);
        }
        observations.into_iter().collect::<Option<_>>().ok_or_else(|| unreadable("the reply to a charge"))
    }

    /// The windows and peers of a subject at `now`, unchanged.
    pub(super) async fn peek_at(
        &self,
        subject: &Subject,
        now: Millis,
    ) -> Result<Option<Observation>, StoreError> {
        let look = Charge {
            subject: subject.clone(),
            now,
            counts: Counts::default(),
            limits: WindowLimits::default(),
            mode: ChargeMode::Peek,
            peer: None,
            peer_capacity: 1,
            may_create: false,
        };
        let reply = self.link.call(self.charge_call(&look)).await?;
        let observation = read(&reply, &look)?;
        Ok(observation.tracked.then_some(observation))
    }

    fn charge_call(&self, charge: &Charge) -> Call {
        let keys = self.keys.subject(&charge.subject);
        Call::new(&OBSERVE)
            .key(keys.state)
            .keys(keys.windows)
            .arg(packing::charge(charge))
            .arg(packing::peer(charge.peer.as_ref()))
    }
}

fn read(reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
    match reply {
        Value::BulkString(bytes) => packing::read_observation(bytes, &charge.limits),
        _ => Err(unreadable("the reply to a charge")),
    }
}
