//! The hot path: charging windows and counters, and looking at them without charging.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    keys::by_partition,
    link::Reply,
    packing,
    scripts::{Call, OBSERVE},
};
use crate::{
    domain::{
        Millis,
        observation::{Charge, ChargeMode, Observation},
        quota::{Counter, QuotaChange, QuotaCharge, QuotaCount},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::{CounterStore, StoreError, StoreResult},
};

impl CounterStore for RedisStore {
    /// All charges go out at once; those of one partition, and so of one subject, in their order.
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        Box::pin(async move {
            let (spread, compact): (Vec<usize>, Vec<usize>) =
                (0..charges.len()).partition(|index| self.is_spread(&charges[*index]));
            let placed = |index: usize| (self.keys.partition(Some(&charges[index].subject)), index);
            let groups = by_partition(compact.into_iter().map(placed));
            let calls =
                groups.values().map(|group| group.iter().map(|i| self.charge_call(&charges[*i])).collect());
            let calls: Vec<Vec<Call>> = calls.collect::<Result<_, _>>()?;
            let replies = self.link.call_all(&calls).await?;
            let mut observations: Vec<Option<Observation>> = vec![None; charges.len()];
            for (index, reply) in groups.values().flatten().zip(replies.into_iter().flatten()) {
                observations[*index] = Some(self.read_charge(reply, &charges[*index])?);
            }
            for index in spread {
                observations[index] = Some(self.observe_spread(&charges[index]).await?);
            }
            observations.into_iter().collect::<Option<_>>().ok_or_else(|| unreadable("the reply to a charge"))
        })
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        Box::pin(async move {
            let look = look(subject, now);
            let reply = self.link.call(self.window_call(&look)).await?;
            let observation = read_windows(&reply, &look)?;
            Ok(observation.tracked.then_some(observation))
        })
    }

    fn change_quotas<'a>(&'a self, changes: &'a [QuotaChange], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let as_charge = |change: &QuotaChange| {
                let (amount, until) = change.add.unwrap_or((0, 0));
                QuotaCharge {
                    counter: change.counter.clone(),
                    amount,
                    most: u64::MAX,
                    until,
                    held: change.back,
                }
            };
            let charges: Vec<QuotaCharge> = changes.iter().map(as_charge).collect();
            self.count(&charges, now, false, true).await.map(drop)
        })
    }

    fn quotas<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<QuotaCount>> {
        Box::pin(async move {
            let look = |counter: &Counter| {
                let counter = counter.clone();
                QuotaCharge { counter, amount: 0, most: u64::MAX, until: 0, held: None }
            };
            let looks: Vec<QuotaCharge> = counters.iter().map(look).collect();
            Ok(self.count(&looks, now, false, false).await?.into_iter().map(|(count, _)| count).collect())
        })
    }
}

impl RedisStore {
    /// A charge of the windows alone is one script with one GET and one SET.
    fn charge_call(&self, charge: &Charge) -> Result<Call, StoreError> {
        if is_of_windows(charge) { Ok(self.window_call(charge)) } else { self.quota_call(charge) }
    }

    fn window_call(&self, charge: &Charge) -> Call {
        let keys = self.keys.subject(&charge.subject);
        Call::new(&OBSERVE)
            .key(keys.state)
            .keys(keys.windows)
            .arg(packing::charge(charge))
            .arg(packing::peer(charge.peer.as_ref()))
    }

    fn read_charge(&self, reply: Reply, charge: &Charge) -> Result<Observation, StoreError> {
        let reply = reply.map_err(|error| self.link.translate(&error))?;
        if is_of_windows(charge) { read_windows(&reply, charge) } else { self.read_quota(&reply, charge) }
    }
}

fn is_of_windows(charge: &Charge) -> bool {
    charge.quotas.is_empty() && charge.lease.is_none()
}

/// A charge of nothing, which changes nothing.
fn look(subject: &Subject, now: Millis) -> Charge {
    Charge {
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
    }
}

fn read_windows(reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
    match reply {
        Value::BulkString(bytes) => packing::read_observation(bytes, charge),
        _ => Err(unreadable("the reply to a charge")),
    }
}
