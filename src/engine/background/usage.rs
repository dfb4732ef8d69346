//! Usage as it is asked for: by the roll-ups of the store, with all that this instance has counted.

use std::sync::Arc;

use super::{deferred_reports::DeferredReports, reservations, usage_book::UsageBook};
use crate::{
    domain::{
        Millis,
        calendar::Zone,
        forecast::{self, Forecast},
        usage::{Bucket, Rows, UsageKey, UsageQuery, UsageTable},
    },
    engine::shared::Shared,
    store::{StoreError, patient},
};

/// Most series that a forecast looks at.
const FORECAST_SCAN: usize = 2_000_000;

/// Usage over all instances.
pub struct Usage {
    shared: Arc<Shared>,
    book: Arc<UsageBook>,
    deferred: Arc<DeferredReports>,
}

impl Usage {
    /// The roll-ups of the store, and what is not in them yet.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        book: Arc<UsageBook>,
        deferred: Arc<DeferredReports>,
    ) -> Self {
        Self { shared, book, deferred }
    }

    /// Whether usage is summed by the user that records name.
    pub fn is_by_user(&self) -> bool {
        self.book.by_user
    }

    /// Usage by the roll-ups, with all that this instance has acknowledged: it is written first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn table(&self, query: &UsageQuery) -> Result<UsageTable, StoreError> {
        self.deferred.charge(query.now).await?;
        self.book.flush(&*self.shared.store, query.now).await?;
        reservations::count_charged(&self.shared, query.now).await?;
        patient(self.shared.store.usage(query)).await
    }

    /// What is expected by the end of the day and the month, of one project, model or key, or of everything. `None`: so
    /// many series are kept that it cannot be said.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn forecast(
        &self,
        only: UsageKey,
        zone: &Zone,
        now: Millis,
    ) -> Result<Option<Forecast>, StoreError> {
        let span = (forecast::begins(now, zone), now);
        let query = UsageQuery {
            only,
            max_scanned: FORECAST_SCAN,
            ..UsageQuery::new(Rows::Each(Bucket::Hour), span, now)
        };
        let table = self.table(&query).await?;
        let hours = table.rows.into_iter().map(|((start, _), totals)| (start, totals)).collect();
        Ok((!table.overflowed).then(|| forecast::forecast(&hours, now, zone)))
    }
}
