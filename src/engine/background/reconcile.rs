//! What the store lacks is written to it: standings, counters and usage of the time in which it did not answer.
//!
//! Amounts go in numbered batches. Whether a batch that was not acknowledged has been counted, and in which partitions,
//! only the store knows: it is sent again as it was.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    domain::{
        Millis,
        counter::CounterChange,
        debt::DebtBatch,
        observation::Charge,
        standing::{Standing, StandingDetail},
        subject::Subject,
    },
    engine::{fallback::Fallback, shared::Shared, standings::Standings},
    store::{StoreError, patient},
};

/// Charges, and changes of counters, in one batch.
const BATCH: usize = 500;

/// Writes to the store what it lacks.
pub(in crate::engine) struct Reconciler {
    shared: Arc<Shared>,
    fallback: Arc<Fallback>,
    standings: Arc<Standings>,
    instance: Arc<str>,
    outgoing: tokio::sync::Mutex<Outgoing>,
}

/// Batches that are not acknowledged, the oldest first.
#[derive(Debug, Default)]
struct Outgoing {
    number: u64,
    batches: VecDeque<DebtBatch>,
}

impl Outgoing {
    fn add(
        &mut self,
        instance: &Arc<str>,
        mut charges: Vec<Charge>,
        mut changes: Vec<CounterChange>,
        now: Millis,
    ) {
        while !charges.is_empty() || !changes.is_empty() {
            let later =
                (charges.split_off(charges.len().min(BATCH)), changes.split_off(changes.len().min(BATCH)));
            self.number += 1;
            let (instance, number) = (instance.clone(), self.number);
            self.batches.push_back(DebtBatch { instance, number, now, charges, changes });
            (charges, changes) = later;
        }
    }
}

impl Reconciler {
    /// Writes what `fallback` has kept for the store, as `instance`, which is new for each start.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        fallback: Arc<Fallback>,
        standings: Arc<Standings>,
        instance: Arc<str>,
    ) -> Self {
        Self { shared, fallback, standings, instance, outgoing: tokio::sync::Mutex::default() }
    }

    /// Tells the store what was decided and admitted without it; says of how many subjects there was usage.
    pub(super) async fn settle(&self, now: Millis) -> Result<usize, StoreError> {
        self.assert_standings(now).await?;
        let mut outgoing = self.outgoing.lock().await;
        // What came since waits until then, where it is added up.
        let mut subjects = self.send(&mut outgoing).await?;
        outgoing.add(&self.instance, self.fallback.take_usage(now), self.fallback.take_counters(), now);
        subjects += self.send(&mut outgoing).await?;
        Ok(subjects)
    }

    /// What the store lacks, taken: standings, and batches in their order.
    pub(super) async fn leave(
        &self,
        now: Millis,
    ) -> (Vec<(Subject, Standing, StandingDetail)>, Vec<DebtBatch>) {
        let mut outgoing = self.outgoing.lock().await;
        outgoing.add(&self.instance, self.fallback.take_usage(now), self.fallback.take_counters(), now);
        (self.fallback.take_standings(), std::mem::take(&mut outgoing.batches).into())
    }

    /// Takes over batches of another run, which go before those of this one.
    pub(super) async fn take_over(&self, batches: Vec<DebtBatch>) {
        let mut outgoing = self.outgoing.lock().await;
        batches.into_iter().rev().for_each(|batch| outgoing.batches.push_front(batch));
    }

    async fn send(&self, outgoing: &mut Outgoing) -> Result<usize, StoreError> {
        let mut subjects = 0;
        while let Some(batch) = outgoing.batches.front() {
            patient(self.shared.store.settle_debts(batch)).await?;
            subjects += batch.charges.len();
            outgoing.batches.pop_front();
        }
        Ok(subjects)
    }

    /// Writes standings that were decided without the store.
    pub(super) async fn assert_standings(&self, now: Millis) -> Result<(), StoreError> {
        let mut standings = self.fallback.take_standings().into_iter();
        while let Some((subject, standing, detail)) = standings.next() {
            if let Err(error) = self.standings.assert(&subject, standing, detail.clone(), now).await {
                self.fallback.owe_standing(&subject, standing, detail);
                standings.for_each(|(subject, s, detail)| self.fallback.owe_standing(&subject, s, detail));
                return Err(error);
            }
        }
        Ok(())
    }
}
