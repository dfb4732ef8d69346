//! Reports that are counted behind their answer: those of keys that a ban or the registry refuses. Nobody waits for the
//! store on their account, and what they used is counted within about a second.
//!
//! A flood of them must not become one of the store. What only counts is added up by subject and counter, and told to
//! the store with what else is owed to it; what can be a retry, or is reported late, waits for a charge of its own.

use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        decision::Decision,
        observation::{Charge, Claim},
        record::Record,
        registry::Terms,
    },
    engine::{ActivePolicy, Engine, decide::charge_behind},
    store::{StoreError, patient},
};

/// Reports that wait for a charge of their own, at most. Beyond it they are added up like the others: a retry is then
/// no longer distinguished.
const MOST_WAITING: usize = 2_000;
/// Reports that are charged at a time.
const PAGE: usize = 500;

/// A report that waits for a charge of its own.
#[derive(Debug)]
struct Report {
    charge: Charge,
    record: Record,
    /// Whether it was refused, and not only said to be one that would have been.
    refused: bool,
}

/// Reports that wait for charges of their own.
#[derive(Debug, Default)]
pub(in crate::engine) struct DeferredReports(Mutex<Vec<Report>>);

impl Engine {
    /// Counts a refused record in limits and usage, behind its answer.
    pub(in crate::engine) fn count_behind(
        &self,
        record: &Record,
        terms: &Terms,
        decision: &Decision,
        active: &ActivePolicy,
        now: Millis,
    ) {
        let refused = !decision.allowed;
        let profile = self.profiles.get(&record.key);
        let attribution = self.attribution(record, profile.as_ref());
        let Some(charge) = charge_behind(record, terms, attribution, active, now) else {
            return self.count_usage(record, None, refused, now);
        };
        // A made-up key must not become a known one by being refused.
        let charge = Charge { may_create: profile.is_some(), ..charge };
        // In a replay nothing is owed: the store is in the process.
        let waits = charge.entry.is_some() || !self.options.flushes;
        if waits {
            let mut waiting = self.deferred.0.lock();
            if waiting.len() < MOST_WAITING {
                return waiting.push(Report { charge, record: record.clone(), refused });
            }
        }
        self.owe(&charge, charge.may_create);
        self.count_usage(record, None, refused, now);
    }

    /// Charges the reports that wait, and counts the usage of those that are no retries. While the store does not
    /// answer they go on waiting.
    pub(in crate::engine) async fn count_deferred(&self, now: Millis) -> Result<(), StoreError> {
        let mut rest = std::mem::take(&mut *self.deferred.0.lock());
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(PAGE));
            let charges: Vec<Charge> = rest.iter().map(|report| report.charge.clone()).collect();
            let observed = match patient(self.shared.store.observe(&charges)).await {
                Ok(observed) => observed,
                Err(error) => {
                    self.deferred.0.lock().extend(rest.into_iter().chain(later));
                    return Err(error);
                }
            };
            for (report, mut observation) in rest.into_iter().zip(observed) {
                self.fallback.owe_changes(&std::mem::take(&mut observation.owed));
                if observation.claim == Claim::Fresh {
                    self.count_usage(&report.record, None, report.refused, now);
                }
            }
            rest = later;
        }
        Ok(())
    }
}
