//! A charge on a cluster whose counters are in several slots.
//!
//! A script reaches one slot, and the slot of the key commits. What asks to be admitted charges counters elsewhere
//! first, for a moment: an amount that is not confirmed ends by itself. Then the subject's own are charged, and the
//! others are confirmed or given back: three trips. A report is charged at the key's slot, and then elsewhere: two
//! trips. What is committed and cannot be carried to another slot is owed: [`Observation::owed`].

use std::collections::BTreeMap;

use super::{
    RedisStore,
    charges::{Asking, as_charge},
    keys::by_partition,
};
use crate::{
    domain::{
        Millis, SECOND,
        counter::{CounterChange, CounterCharge, CounterCount, CounterRefusal},
        observation::{Charge, ChargeMode, Claim, Observation},
    },
    store::{CounterStore, StoreError},
};

/// A charge of a counter in another slot that is not confirmed by then, in milliseconds, is no more.
const UNCONFIRMED: Millis = 5 * SECOND;

/// A counter in another slot, and what it answered.
struct Away {
    /// Which of the charge's counters it is.
    index: usize,
    /// Until when the amount counts if it is not confirmed.
    until: Millis,
    count: CounterCount,
    refusal: Option<CounterRefusal>,
}

/// What a report does in another slot.
#[derive(Default)]
struct Slot {
    /// What it gives back there of a reservation, or charges as used.
    changes: Vec<CounterChange>,
    /// What it charges there, each with its place among the charge's counters.
    used: Vec<(usize, CounterCharge)>,
}

impl RedisStore {
    /// Whether a charge needs more than one script.
    pub(super) fn is_spread(&self, charge: &Charge) -> bool {
        let home = self.keys.partition(Some(&charge.subject));
        let away = |counter: &CounterCharge| self.partition_of(&counter.counter.scope) != home;
        self.cluster && (charge.settles().is_some() || charge.counters.iter().any(away))
    }

    /// One charge whose counters are in several slots.
    pub(super) async fn observe_spread(&self, charge: &Charge) -> Result<Observation, StoreError> {
        let home = self.keys.partition(Some(&charge.subject));
        let is_here = |index: &usize| self.partition_of(&charge.counters[*index].counter.scope) == home;
        let (here, away): (Vec<usize>, Vec<usize>) = (0..charge.counters.len()).partition(is_here);
        if charge.mode == ChargeMode::Report {
            return self.report_spread(charge, &here, &away).await;
        }
        let indices = away;
        let away = self.charge_away(charge, &indices).await?;
        let refusal = away.iter().find_map(|away| away.refusal);
        let mode = if refusal.is_some() { ChargeMode::Peek } else { charge.mode };
        let mut local = Charge { mode, ..at_home(charge, &here) };
        if mode != charge.mode
            && let Some(entry) = &mut local.entry
        {
            entry.settles = None;
        }
        let reply = self.link.call(self.charge_call(&local)?).await;
        let observed = reply.and_then(|reply| self.read_charged(&reply, &local));
        let is_new = observed.as_ref().is_ok_and(|observed| observed.claim == Claim::Fresh);
        if refusal.is_some() && charge.claim().is_some() && is_new {
            self.begin_blocks(charge, &indices).await;
        }
        let mut owed = Vec::new();
        if charge.mode == ChargeMode::Admit {
            let is_charged = |observed: &Observation| observed.admitted && observed.claim == Claim::Fresh;
            let admitted = refusal.is_none() && observed.as_ref().is_ok_and(is_charged);
            let changes = confirmations(charge, &away, admitted);
            let left = self.change_each_slot(changes, charge.now).await;
            // What is not given back ends by itself.
            if admitted {
                owed = left;
            }
        }
        Ok(Observation { owed, ..with_away(observed?, charge, &here, &away) })
    }

    /// Charges at the key's slot, which claims and settles, and then elsewhere.
    async fn report_spread(
        &self,
        charge: &Charge,
        here: &[usize],
        away: &[usize],
    ) -> Result<Observation, StoreError> {
        let local = at_home(charge, here);
        let reply = self.link.call(self.charge_call(&local)?).await?;
        let observed = self.read_charged(&reply, &local)?;
        let slots = self.slots_of(charge, away, &observed);
        let mark = |partition| {
            let claim = charge.claim().filter(|_| charge.attempt() > 0)?;
            Some(self.keys.charge_mark(partition, claim, charge.attempt()))
        };
        let charged =
            slots.into_iter().map(|(partition, slot)| self.charge_slot(slot, mark(partition), charge.now));
        let (looked, owed): (Vec<_>, Vec<_>) = futures::future::join_all(charged).await.into_iter().unzip();
        let looked: Vec<Away> = looked.into_iter().flatten().collect();
        let owed = owed.concat();
        let unfinished = !owed.is_empty() && charge.claim().is_some() && charge.attempt() > 0;
        Ok(Observation { owed, unfinished, ..with_away(observed, charge, here, &looked) })
    }

    /// What a report does in each other slot, once it is charged in that of its key.
    fn slots_of(&self, charge: &Charge, away: &[usize], observed: &Observation) -> BTreeMap<u16, Slot> {
        let home = self.keys.partition(Some(&charge.subject));
        let (keeps, is_repeated) = (observed.kept(charge).is_some(), observed.claim != Claim::Fresh);
        let mut slots = BTreeMap::<u16, Slot>::new();
        let held = observed.settled.iter().flat_map(|settled| &settled.counters);
        for change in held.filter_map(|held| held.change(keeps)) {
            let partition = self.partition_of(&change.counter.scope);
            if partition != home {
                slots.entry(partition).or_default().changes.push(change);
            }
        }
        for index in away {
            let counter = &charge.counters[*index];
            let used = if is_repeated || keeps { counter.of_nothing() } else { counter.clone() };
            let block = counter.block.filter(|_| !is_repeated);
            let slot = slots.entry(self.partition_of(&counter.counter.scope)).or_default();
            slot.used.push((*index, CounterCharge { block, ..used }));
        }
        slots
    }

    /// Charges a report in another slot: what is held there is given back, what was used counts, and limits are asked
    /// behind that; once, however often it is sent, where there is a mark of it. Says what counters hold then, of a
    /// slot that does not answer nothing, and what it did not take.
    async fn charge_slot(
        &self,
        Slot { changes, used }: Slot,
        mark: Option<String>,
        now: Millis,
    ) -> (Vec<Away>, Vec<CounterChange>) {
        let counters = used.iter().map(|(_, counter)| counter.clone());
        let rows: Vec<CounterCharge> = changes.iter().map(as_charge).chain(counters).collect();
        let back: Vec<_> = changes.iter().map(|change| change.back).collect();
        let is_changed = !changes.is_empty() || used.iter().any(|(_, counter)| counter.amount > 0);
        let asking = if is_changed { Asking::Report(mark.as_deref()) } else { Asking::WouldFit };
        let Ok(counted) = self.count(&rows, &back, now, asking).await else {
            let added = used.into_iter().map(|(_, counter)| counter).filter(|counter| counter.amount > 0);
            let added = added.map(|CounterCharge { counter, amount, until, .. }| CounterChange {
                counter,
                back: None,
                add: Some((amount, until)),
            });
            return (Vec::new(), changes.into_iter().chain(added).collect());
        };
        let place = |row: usize| row.checked_sub(changes.len()).and_then(|row| used.get(row));
        let away = used.iter().zip(counted.into_iter().skip(changes.len()));
        let away = away.map(|((index, _), (count, refusal))| Away {
            index: *index,
            until: 0,
            count,
            refusal: refusal.and_then(|refusal| {
                place(refusal.index).map(|(index, _)| CounterRefusal { index: *index, ..refusal })
            }),
        });
        (away.collect(), Vec::new())
    }

    /// Begins the blocks of limits in other slots that a request does not fit.
    async fn begin_blocks(&self, charge: &Charge, indices: &[usize]) {
        let asked: Vec<CounterCharge> = indices.iter().map(|index| charge.counters[*index].clone()).collect();
        if asked.iter().any(|counter| counter.block.is_some())
            && let Err(error) = self.count(&asked, &[], charge.now, Asking::WouldFit).await
        {
            tracing::debug!(%error, "a block did not begin; the next request that does not fit begins it");
        }
    }

    /// Makes changes slot by slot, at the same time; returns those of the slots that did not take them.
    pub(super) async fn change_each_slot(
        &self,
        changes: Vec<CounterChange>,
        now: Millis,
    ) -> Vec<CounterChange> {
        let placed = changes.into_iter().map(|change| (self.partition_of(&change.counter.scope), change));
        let groups = by_partition(placed).into_values().map(async |group: Vec<CounterChange>| {
            if self.change_counters(&group, now).await.is_ok() { Vec::new() } else { group }
        });
        futures::future::join_all(groups).await.concat()
    }

    /// Charges the counters in other slots for a moment, or looks at them.
    async fn charge_away(&self, charge: &Charge, indices: &[usize]) -> Result<Vec<Away>, StoreError> {
        let passing = |index: &usize| {
            let counter = &charge.counters[*index];
            // Whether it is a repeated one, which begins no block, is known only at home.
            let block = counter.block.filter(|_| charge.claim().is_none());
            CounterCharge { until: counter.until.min(charge.now + UNCONFIRMED), block, ..counter.clone() }
        };
        let first: Vec<CounterCharge> = indices.iter().map(passing).collect();
        let asking = if charge.mode == ChargeMode::Peek { Asking::WouldFit } else { Asking::Charge };
        let counted = self.count(&first, &[], charge.now, asking).await?;
        let answered = indices.iter().zip(&first).zip(counted);
        let away = answered.map(|((index, first), (count, refusal))| {
            let refusal = refusal.map(|refusal| CounterRefusal { index: indices[refusal.index], ..refusal });
            Away { index: *index, until: first.until, count, refusal }
        });
        Ok(away.collect())
    }
}

/// The part of a charge that is in the slot of its subject.
fn at_home(charge: &Charge, here: &[usize]) -> Charge {
    Charge { counters: here.iter().map(|index| charge.counters[*index].clone()).collect(), ..charge.clone() }
}

/// What confirms what was charged elsewhere for a moment, or takes it back.
fn confirmations(charge: &Charge, away: &[Away], admitted: bool) -> Vec<CounterChange> {
    let is_charged = |away: &&Away| away.refusal.is_none() && charge.counters[away.index].block.is_none();
    let charged = away.iter().filter(is_charged);
    let change = |away: &Away| {
        let counter = &charge.counters[away.index];
        let add = admitted.then_some((counter.amount, counter.until));
        CounterChange { counter: counter.counter.clone(), back: Some((counter.amount, away.until)), add }
    };
    charged.map(change).collect()
}

/// What was observed here, with what was counted elsewhere.
fn with_away(observed: Observation, charge: &Charge, here: &[usize], away: &[Away]) -> Observation {
    let refusal = away.iter().find_map(|away| away.refusal);
    let own =
        observed.counter_refusal.map(|refusal| CounterRefusal { index: here[refusal.index], ..refusal });
    let mut counters = vec![CounterCount::default(); charge.counters.len()];
    for (index, count) in here.iter().zip(&observed.counters) {
        counters[*index] = *count;
    }
    for away in away {
        counters[away.index] = away.count;
    }
    Observation {
        admitted: observed.admitted && refusal.is_none(),
        counter_refusal: refusal.or(own),
        counters,
        ..observed
    }
}
