//! What was used: the windows of a subject, and the counters of limits beyond them.

use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCount},
        debt::DebtBatch,
        observation::{Charge, Observation},
        subject::Subject,
    },
    store::StoreResult,
};

/// Keeps windows, peers and counters. All times are milliseconds since 1970.
pub trait CounterStore: Send + Sync + 'static {
    /// ONE atomic trip per subject, all charges sent together: prune, read the standing, check every window,
    /// charge them only if all admit, touch the peer, return the counts. Answers are in the order of the charges;
    /// charges of one subject take effect in that order. A banned subject, a refused charge and a peek change
    /// neither windows nor peers.
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>>;

    /// Whether one charge may take several trips, of which some can get lost alone: then it must be sent again by name.
    fn splits_charges(&self) -> bool {
        false
    }

    /// The windows and peers of a subject as of `now`, without changing them; `None` for an unknown subject.
    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>>;

    /// Changes counters, whatever their limits. Each counter changes atomically.
    fn change_counters<'a>(&'a self, changes: &'a [CounterChange], now: Millis) -> StoreResult<'a, ()>;

    /// Counts what an instance owes: each part of a batch once, however often it is sent. After an error the same batch
    /// is sent again.
    fn settle_debts<'a>(&'a self, batch: &'a DebtBatch) -> StoreResult<'a, ()>;

    /// What counters hold at `now`, in their order.
    fn counters<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<CounterCount>>;
}
