//! Reports that are counted behind their answer: those of keys that a ban or the registry refuses. Nobody waits for the
//! store on their account, and what they used is counted within a second.

use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        observation::{Charge, Claim},
        record::Record,
        registry::Terms,
    },
    engine::{ActivePolicy, Engine, decide::charge_behind},
    store::{StoreError, patient},
};

/// Reports that wait, at most. Beyond it they are added up by subject and counter, and a retry is no longer told apart.
const MOST_WAITING: usize = 20_000;
/// Reports that are counted at a time.
const PAGE: usize = 500;

/// A report that waits to be counted.
#[derive(Debug)]
struct Report {
    charge: Charge,
    /// The record, where its usage is counted only once it is known to be no retry.
    record: Option<Record>,
}

/// Reports that wait to be counted.
#[derive(Debug, Default)]
pub(in crate::engine) struct DeferredReports(Mutex<Vec<Report>>);

impl Engine {
    /// Counts a refused record in limits and usage, behind its answer.
    pub(in crate::engine) fn count_behind(
        &self,
        record: &Record,
        terms: &Terms,
        active: &ActivePolicy,
        now: Millis,
    ) {
        let is_known = self.profiles.get(&record.key).is_some();
        let attribution = self.attribution(record, self.profiles.get(&record.key).as_ref());
        let Some(charge) = charge_behind(record, terms, attribution, active, now) else {
            return self.count_usage(record, None, true, now);
        };
        // A made-up key must not become a known one by being refused.
        let charge = Charge { may_create: is_known, ..charge };
        let mut waiting = self.deferred.0.lock();
        if waiting.len() >= MOST_WAITING {
            drop(waiting);
            self.owe(&charge, is_known);
            return self.count_usage(record, None, true, now);
        }
        let claimed = charge.claim().is_some();
        waiting.push(Report { charge, record: claimed.then(|| record.clone()) });
        drop(waiting);
        if !claimed {
            self.count_usage(record, None, true, now);
        }
    }

    /// Counts the reports that wait. While the store does not answer they go on waiting.
    pub(in crate::engine) async fn count_deferred(&self, now: Millis) -> Result<(), StoreError> {
        let reports = std::mem::take(&mut *self.deferred.0.lock());
        let mut rest = reports.into_iter();
        loop {
            let page: Vec<Report> = rest.by_ref().take(PAGE).collect();
            if page.is_empty() {
                return Ok(());
            }
            let charges: Vec<Charge> = page.iter().map(|report| report.charge.clone()).collect();
            let observed = match patient(self.store.observe(&charges)).await {
                Ok(observed) => observed,
                Err(error) => {
                    self.deferred.0.lock().extend(page.into_iter().chain(rest));
                    return Err(error);
                }
            };
            for (report, mut observation) in page.into_iter().zip(observed) {
                self.fallback.owe_changes(&std::mem::take(&mut observation.owed));
                if let Some(record) = report.record.filter(|_| observation.claim == Claim::Fresh) {
                    self.count_usage(&record, None, true, now);
                }
            }
        }
    }
}
