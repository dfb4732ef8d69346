//! Windows and counters, in memory; SQLite has snapshots of them. Nothing in here waits.

use super::EmbeddedStore;
use crate::{
    domain::{
        Millis,
        observation::{Charge, Observation},
        quota::{Counter, QuotaChange, QuotaCount},
        subject::Subject,
    },
    store::{CounterStore, StoreResult},
};

impl CounterStore for EmbeddedStore {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        let observe = |charge: &Charge| {
            let counters = &self.memory.counters;
            if charge.quotas.is_empty() && charge.lease.is_none() {
                counters.observe(charge)
            } else {
                self.memory.quotas.observe(charge, counters)
            }
        };
        Box::pin(async move { Ok(charges.iter().map(observe).collect()) })
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        Box::pin(async move { Ok(self.memory.counters.inspect(subject, now)) })
    }

    fn change_quotas<'a>(&'a self, changes: &'a [QuotaChange], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move {
            self.memory.quotas.change(changes, now);
            Ok(())
        })
    }

    fn quotas<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<QuotaCount>> {
        Box::pin(async move { Ok(self.memory.quotas.used(counters, now)) })
    }
}
