//! Usage whose additions are not answered now and then, after they were made or before.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use keyward::{
    domain::usage::{UsageBatch, UsageQuery, UsageTable},
    store::{StoreError, StoreResult, UsageStore},
};

/// See the module.
pub(super) struct Forgetful {
    inner: Arc<dyn UsageStore>,
    calls: AtomicUsize,
    /// Answers that were lost.
    pub lost: AtomicUsize,
}

impl Forgetful {
    /// Over another store.
    pub(super) fn over(inner: Arc<dyn UsageStore>) -> Arc<Self> {
        Arc::new(Self { inner, calls: AtomicUsize::new(0), lost: AtomicUsize::new(0) })
    }
}

impl UsageStore for Forgetful {
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let lost = || {
                self.lost.fetch_add(1, Relaxed);
                Err(StoreError::Unavailable("the answer was lost".into()))
            };
            match self.calls.fetch_add(1, Relaxed) % 4 {
                1 => lost(),
                3 => {
                    self.inner.add_usage(batch).await?;
                    lost()
                }
                _ => self.inner.add_usage(batch).await,
            }
        })
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable> {
        self.inner.usage(query)
    }
}
