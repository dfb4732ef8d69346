//! What an instance owes, counted once per partition: the number of the last batch is kept beside what it changed.

use super::{
    RedisStore,
    charges::numbers,
    keys::by_partition,
    packing,
    scripts::{Call, DEBTS},
};
use crate::{
    domain::{
        DAY, Millis,
        counter::{CounterChange, CounterCharge},
        debt::DebtBatch,
        observation::Charge,
    },
    store::StoreError,
};

/// An instance that was silent for so long does not send its last batch again.
const KEPT: Millis = 7 * DAY;

impl RedisStore {
    /// Sends each partition its part. One that was counted already is not counted again.
    pub(super) async fn count_debts(&self, batch: &DebtBatch) -> Result<(), StoreError> {
        let counters = batch.changes.iter().map(|change| self.partition_of(&change.counter.scope));
        let changes = by_partition(counters.zip(&batch.changes));
        let subjects = batch.charges.iter().map(|charge| self.keys.partition(Some(&charge.subject)));
        let charges = by_partition(subjects.zip(&batch.charges));
        let mut partitions: Vec<u16> = changes.keys().chain(charges.keys()).copied().collect();
        partitions.sort_unstable();
        partitions.dedup();
        let part = |partition: &u16| {
            let changes = changes.get(partition).map_or(&[][..], Vec::as_slice);
            let charges = charges.get(partition).map_or(&[][..], Vec::as_slice);
            vec![self.debts_call(*partition, batch, changes, charges)]
        };
        let calls: Vec<Vec<Call>> = partitions.iter().map(part).collect();
        if calls.is_empty() {
            return Ok(());
        }
        for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
            reply.map_err(|error| self.link.translate(&error))?;
        }
        Ok(())
    }

    fn debts_call(
        &self,
        partition: u16,
        batch: &DebtBatch,
        changes: &[&CounterChange],
        charges: &[&Charge],
    ) -> Call {
        let amounts = changes.iter().flat_map(|change| {
            let (amount, until) = change.add.unwrap_or((0, 0));
            let counter =
                CounterCharge { counter: change.counter.clone(), amount, most: u64::MAX, until, block: None };
            numbers(&counter, change.back)
        });
        let head = [batch.now as f64, batch.number as f64, changes.len() as f64, KEPT as f64];
        let mut call = Call::new(&DEBTS)
            .key(self.keys.debts(partition, &batch.instance))
            .keys(changes.iter().map(|change| self.counter_key(&change.counter)));
        for charge in charges {
            let keys = self.keys.subject(&charge.subject);
            call = call.key(keys.state).keys(keys.windows);
        }
        call = call.arg(packing::doubles(head)).arg(packing::doubles(amounts));
        charges.iter().fold(call, |call, charge| call.arg(packing::charge(charge)))
    }
}
