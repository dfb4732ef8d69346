//! What the store lacks is written to it: standings, counters and usage of the time in which it did not answer.

use std::sync::Arc;

use crate::{
    domain::Millis,
    engine::{fallback::Fallback, shared::Shared, standings::Standings},
    store::{StoreError, patient},
};

/// Charges and changes of counters written at a time.
const OWED_PAGE: usize = 500;

/// Writes to the store what it lacks.
pub(in crate::engine) struct Reconciler {
    shared: Arc<Shared>,
    fallback: Arc<Fallback>,
    standings: Arc<Standings>,
}

impl Reconciler {
    /// Writes what `fallback` has kept for the store.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        fallback: Arc<Fallback>,
        standings: Arc<Standings>,
    ) -> Self {
        Self { shared, fallback, standings }
    }

    /// Tells the store what was decided and admitted without it; says of how many subjects there was usage.
    pub(super) async fn settle(&self, now: Millis) -> Result<usize, StoreError> {
        let mut standings = self.fallback.take_standings().into_iter();
        while let Some((subject, standing, detail)) = standings.next() {
            if let Err(error) = self.standings.assert(&subject, standing, detail.clone(), now).await {
                self.fallback.owe_standing(&subject, standing, detail);
                standings.for_each(|(subject, s, detail)| self.fallback.owe_standing(&subject, s, detail));
                return Err(error);
            }
        }
        let changes = self.fallback.take_counters();
        for (done, page) in changes.chunks(OWED_PAGE).enumerate() {
            if let Err(error) = patient(self.shared.store.change_counters(page, now)).await {
                self.fallback.owe_changes(&changes[done * OWED_PAGE..]);
                return Err(error);
            }
        }
        let usage = self.fallback.take_usage(now);
        for (done, page) in usage.chunks(OWED_PAGE).enumerate() {
            if let Err(error) = patient(self.shared.store.observe(page)).await {
                usage[done * OWED_PAGE..].iter().for_each(|c| self.fallback.owe_usage(&c.subject, &c.counts));
                return Err(error);
            }
        }
        Ok(usage.len())
    }
}
