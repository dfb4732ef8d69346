//! What a store lacks of what was decided while it did not answer, in numbered batches: each is counted once, however
//! often it is sent.

use std::sync::Arc;

use super::{Millis, counter::CounterChange, observation::Charge};

/// A batch of what one instance owes to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct DebtBatch {
    /// Who sends: new for each start of an instance.
    pub instance: Arc<str>,
    /// Larger than that of any batch this instance sent before. The next is sent when this one is acknowledged.
    pub number: u64,
    /// When it was made, in milliseconds.
    pub now: Millis,
    /// Reports to the windows of subjects, without counters.
    pub charges: Vec<Charge>,
    /// Amounts added to counters and given back, whatever their limits.
    pub changes: Vec<CounterChange>,
}
