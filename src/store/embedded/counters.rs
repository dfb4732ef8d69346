//! Windows and counters, in memory; SQLite has snapshots of them. Nothing in here waits.

use super::EmbeddedStore;
use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCount},
        debt::DebtBatch,
        observation::{Charge, Observation},
        subject::Subject,
    },
    store::{CounterStore, StoreResult},
};

impl CounterStore for EmbeddedStore {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        let observe = |charge: &Charge| {
            let counters = &self.memory.counters;
            if charge.counters.is_empty() && charge.entry.is_none() {
                counters.observe(charge)
            } else {
                self.memory.ledger.observe(charge, counters, &self.memory.claims)
            }
        };
        Box::pin(async move { Ok(charges.iter().map(observe).collect()) })
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        Box::pin(async move { Ok(self.memory.counters.inspect(subject, now)) })
    }

    fn change_counters<'a>(&'a self, changes: &'a [CounterChange], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move {
            self.memory.ledger.change(changes, now);
            Ok(())
        })
    }

    fn settle_debts<'a>(&'a self, batch: &'a DebtBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            self.memory.ledger.settle_debts(batch, &self.memory.counters);
            Ok(())
        })
    }

    fn counters<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<CounterCount>> {
        Box::pin(async move { Ok(self.memory.ledger.used(counters, now)) })
    }
}
