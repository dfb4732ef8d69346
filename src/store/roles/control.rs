//! The store as a service: its clock, whether it answers, its end, and whose data it holds.

use crate::{domain::Millis, store::StoreResult};

/// What is asked of a store as a whole.
pub trait StoreControl: Send + Sync + 'static {
    /// Notes the fingerprint of the pepper with this name, or returns the different one that is there already.
    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>>;

    /// The store's own clock, milliseconds since 1970, if it has one that instances share.
    fn clock(&self) -> StoreResult<'_, Option<Millis>>;

    /// Joins a store that was away at the start, before anything else is asked of it. Does nothing where that is done,
    /// or where the store was there.
    fn reach(&self) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the store answers; the error says why it does not.
    fn ping(&self) -> StoreResult<'_, ()>;

    /// Writes what is still in memory; called before the process ends.
    fn close(&self) -> StoreResult<'_, ()>;
}
