//! The hot path: charging windows and counters, and looking at them without charging.

use redis::Value;

use super::{
    RedisStore,
    charges::{Asking, as_charge},
    error::unreadable,
    keys::by_partition,
    link::Reply,
    packing,
    scripts::{Call, OBSERVE},
};
use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCharge, CounterCount},
        debt::DebtBatch,
        observation::{Charge, Observation},
        subject::Subject,
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
                groups.values().map(|group| group.iter().map(|i| self.call_of(&charges[*i])).collect());
            let calls: Vec<Vec<Call>> = calls.collect::<Result<_, _>>()?;
            let replies = self.link.call_all(&calls).await?;
            let mut observations: Vec<Option<Observation>> = vec![None; charges.len()];
            for (index, reply) in groups.values().flatten().zip(replies.into_iter().flatten()) {
                observations[*index] = Some(self.read_charge(reply, &charges[*index])?);
            }
            let spread = spread.into_iter().map(|index| async move {
                self.observe_spread(&charges[index]).await.map(|observation| (index, observation))
            });
            for (index, observation) in futures::future::try_join_all(spread).await? {
                observations[index] = Some(observation);
            }
            observations.into_iter().collect::<Option<_>>().ok_or_else(|| unreadable("the reply to a charge"))
        })
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        Box::pin(async move {
            let look = Charge { observing: true, ..Charge::look(subject.clone(), now) };
            let reply = self.link.call(self.window_call(&look)).await?;
            let observation = read_windows(&reply, &look)?;
            Ok(observation.tracked.then_some(observation))
        })
    }

    fn change_counters<'a>(&'a self, changes: &'a [CounterChange], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let charges: Vec<CounterCharge> = changes.iter().map(as_charge).collect();
            let back: Vec<_> = changes.iter().map(|change| change.back).collect();
            self.count(&charges, &back, now, Asking::Change).await.map(drop)
        })
    }

    fn settle_debts<'a>(&'a self, batch: &'a DebtBatch) -> StoreResult<'a, ()> {
        Box::pin(self.count_debts(batch))
    }

    fn counters<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<CounterCount>> {
        Box::pin(async move {
            let look = |counter: &Counter| {
                let counter = counter.clone();
                CounterCharge { counter, amount: 0, most: u64::MAX, until: 0, block: None }
            };
            let looks: Vec<CounterCharge> = counters.iter().map(look).collect();
            Ok(self
                .count(&looks, &[], now, Asking::Look)
                .await?
                .into_iter()
                .map(|(count, _)| count)
                .collect())
        })
    }
}

impl RedisStore {
    /// A charge of the windows alone is one script with one GET and one SETRANGE.
    fn call_of(&self, charge: &Charge) -> Result<Call, StoreError> {
        if is_of_windows(charge) { Ok(self.window_call(charge)) } else { self.charge_call(charge) }
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
        if is_of_windows(charge) { read_windows(&reply, charge) } else { self.read_charged(&reply, charge) }
    }
}

fn is_of_windows(charge: &Charge) -> bool {
    charge.counters.is_empty() && charge.entry.is_none()
}

fn read_windows(reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
    match reply {
        Value::BulkString(bytes) => packing::read_observation(bytes, charge),
        _ => Err(unreadable("the reply to a charge")),
    }
}
