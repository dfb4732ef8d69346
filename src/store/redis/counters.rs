//! The hot path: charging windows and counters, and looking at them without charging.

use std::collections::HashMap;

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
        observation::{Charge, ChargeMode, Observation},
        subject::Subject,
    },
    store::{CounterStore, StoreError, StoreResult},
};

impl CounterStore for RedisStore {
    /// All charges go out at once; those of one partition, and so of one subject, in their order. On a cluster what
    /// asks to be admitted waits for reports before it on which the answer depends.
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        Box::pin(async move {
            let mut observations: Vec<Option<Observation>> = vec![None; charges.len()];
            for wave in self.waves(charges) {
                for (index, observation) in self.observe_together(charges, wave).await? {
                    observations[index] = Some(observation);
                }
            }
            observations.into_iter().collect::<Option<_>>().ok_or_else(|| unreadable("the reply to a charge"))
        })
    }

    fn splits_charges(&self) -> bool {
        self.cluster
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
    /// The places of charges that can go out at once, in the order of these groups.
    fn waves(&self, charges: &[Charge]) -> Vec<Vec<usize>> {
        let is_spread = || charges.iter().any(|charge| self.is_spread(charge));
        if charges.len() > 1 && self.cluster && is_spread() {
            waves(charges)
        } else {
            vec![(0..charges.len()).collect()]
        }
    }

    /// Makes the charges at these places at once; what each came to, with its place.
    async fn observe_together(
        &self,
        charges: &[Charge],
        places: Vec<usize>,
    ) -> Result<Vec<(usize, Observation)>, StoreError> {
        let (spread, compact): (Vec<usize>, Vec<usize>) =
            places.into_iter().partition(|index| self.is_spread(&charges[*index]));
        // One server takes all of them in their order, whichever partitions they are in.
        let partition = |index: usize| self.keys.partition(Some(&charges[index].subject));
        let placed = |index: usize| (if self.cluster { partition(index) } else { 0 }, index);
        let groups = by_partition(compact.into_iter().map(placed));
        let calls = groups.values().map(|group| group.iter().map(|i| self.call_of(&charges[*i])).collect());
        let calls: Vec<Vec<Call>> = calls.collect::<Result<_, _>>()?;
        let replies = self.link.call_all(&calls).await?;
        let mut observed = Vec::with_capacity(charges.len());
        for (index, reply) in groups.values().flatten().zip(replies.into_iter().flatten()) {
            observed.push((*index, self.read_charge(reply, &charges[*index])?));
        }
        let spread = spread.into_iter().map(|index| async move {
            self.observe_spread(&charges[index]).await.map(|observation| (index, observation))
        });
        observed.extend(futures::future::try_join_all(spread).await?);
        Ok(observed)
    }

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

/// Charges in groups that can go out at once: what asks is in a later one than reports before it that share a subject
/// or a counter with it, and a report in none before what asked before it. A report charges its key's slot first, and
/// what asks the other slots: in one group they would overtake each other.
fn waves(charges: &[Charge]) -> Vec<Vec<usize>> {
    let (mut reported, mut asked) = (HashMap::new(), HashMap::new());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, charge) in charges.iter().enumerate() {
        let reports = charge.mode == ChargeMode::Report;
        let counters = charge.counters.iter().map(|counter| Place::Counter(&counter.counter));
        let places: Vec<Place<'_>> = [Place::Windows(&charge.subject)].into_iter().chain(counters).collect();
        let last =
            |of: &HashMap<Place<'_>, usize>| places.iter().filter_map(|place| of.get(place)).max().copied();
        let behind_reports = last(&reported).filter(|_| !reports).map_or(0, |wave| wave + 1);
        let wave = behind_reports.max(last(&asked).unwrap_or(0));
        let held = if reports { &mut reported } else { &mut asked };
        for place in places {
            let latest = held.entry(place).or_insert(wave);
            *latest = wave.max(*latest);
        }
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(index);
    }
    waves
}

/// What a charge asks or changes.
#[derive(PartialEq, Eq, Hash)]
enum Place<'c> {
    Windows(&'c Subject),
    Counter(&'c Counter),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Scope;

    #[test]
    fn what_asks_waits_for_reports_before_it_that_share_something_and_for_nothing_else() {
        use ChargeMode::{Admit, Peek, Report};
        let of = |(mode, key, project): &(ChargeMode, &str, &str)| {
            let counter = Counter { scope: Scope::Subject(Subject::project(project)), id: 1 };
            let counter = CounterCharge { counter, amount: 1, most: 9, until: 9, block: None };
            Charge { mode: *mode, counters: vec![counter], ..Charge::look(Subject::key(key), 1) }
        };
        let charges = [
            (Report, "a", "p"),
            (Admit, "b", "p"),
            (Admit, "c", "q"),
            (Report, "d", "p"),
            (Report, "e", "q"),
            (Peek, "a", "r"),
            (Admit, "f", "p"),
        ];
        let charges: Vec<Charge> = charges.iter().map(of).collect();
        assert_eq!(waves(&charges), [vec![0, 2, 4], vec![1, 3, 5], vec![6]]);
        let reports: Vec<Charge> = [(Report, "a", "p"), (Report, "a", "p")].iter().map(of).collect();
        assert_eq!(waves(&reports), [vec![0, 1]]);
    }
}
