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
        let mut spread = Vec::new();
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, charge) in charges.iter().enumerate() {
            if self.is_spread(charge) {
                spread.push(index);
                continue;
            }
            by_partition.entry(self.keys.partition(Some(&charge.subject))).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = by_partition.into_values().collect();
        let calls: Vec<Vec<Call>> = groups
            .iter()
            .map(|group| group.iter().map(|i| self.call_for(&charges[*i])).collect())
            .collect::<Result<_, _>>()?;
        let replies = self.link.call_all(&calls).await?;
        let mut observations: Vec<Option<Observation>> = vec![None; charges.len()];
        for (index, reply) in groups.iter().flatten().zip(replies.into_iter().flatten()) {
            let reply = reply.map_err(|e| self.link.translate(&e))?;
            let charge = &charges[*index];
            let is_plain = charge.quotas.is_empty() && charge.lease.is_none();
            let observation = if is_plain { read(&reply, charge)? } else { self.read_quota(&reply, charge)? };
            observations[*index] = Some(observation);
        }
        for index in spread {
            observations[index] = Some(self.observe_spread(&charges[index]).await?);
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
            observing: true,
            quotas: Vec::new(),
            lease: None,
        };
        let reply = self.link.call(self.charge_call(&look)).await?;
        let observation = read(&reply, &look)?;
        Ok(observation.tracked.then_some(observation))
    }

    /// A charge of the windows alone is one script with one GET and one SET.
    fn call_for(&self, charge: &Charge) -> Result<Call, StoreError> {
        if charge.quotas.is_empty() && charge.lease.is_none() {
            Ok(self.charge_call(charge))
        } else {
            self.quota_call(charge)
        }
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
        Value::BulkString(bytes) => packing::read_observation(bytes, charge),
        _ => Err(unreadable("the reply to a charge")),
    }
}
