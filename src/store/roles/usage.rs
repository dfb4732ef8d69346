//! How much was used and what it cost, in roll-ups of minutes, hours and days.

use crate::{
    domain::usage::{UsageBatch, UsageQuery, UsageTable},
    store::StoreResult,
};

/// Keeps roll-ups of usage, each kind for as long as the settings say.
pub trait UsageStore: Send + Sync + 'static {
    /// Adds usage to the roll-ups of minutes, hours and days: once, also when the batch is sent again because its
    /// answer was lost. On several servers parts may be added before others; sending it again completes it.
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()>;

    /// Usage by the roll-ups, as far as they are kept.
    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable>;
}
