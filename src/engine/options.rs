//! What the engine is set up with beside the policy.

use std::{path::PathBuf, time::Duration};

use crate::domain::Millis;

/// Settings of the engine beside the policy.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The answer to a record waits no longer than this for the store.
    pub deadline: Duration,
    /// Answers remembered for retries.
    pub idempotency_capacity: usize,
    /// A retry within this span, ms, gets the first answer and is counted once.
    pub retry_span: Millis,
    /// Whether other instances may use the same store: then they are told answers, for retries that come to them.
    pub shares_store: bool,
    /// Most profiles that are kept in memory.
    pub profile_capacity: usize,
    /// Most new subjects per minute that get a profile and windows; further ones are held to limits in memory alone.
    pub new_subjects_per_minute: u32,
    /// New subjects per minute and source address.
    pub new_subjects_per_minute_per_address: u32,
    /// Equal events within this many seconds become one.
    pub fold_seconds: u64,
    /// Events kept while the store does not take them; 0: no events are made (replay).
    pub event_buffer: usize,
    /// Whether learned deltas are flushed to the store by `upkeep`; else profiles live in memory alone (replay).
    pub flushes: bool,
    /// Series of usage told apart per hour; 0: usage is not counted (replay).
    pub usage_series: usize,
    /// Whether usage is also summed by the user that records name.
    pub usage_by_user: bool,
    /// How long a reservation is held, ms.
    pub lease: Millis,
    /// Where what belongs to this machine is kept beside the store; `None`: nowhere.
    pub directory: Option<DataDirectory>,
}

/// Where an instance keeps what the store does not take, and what it knows of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    /// The directory, made at the start where it is missing.
    pub path: PathBuf,
    /// Names the store: what it was not given yet is for no other.
    pub store: String,
    /// Names the store and the peppers: what is known under another name is not of this one.
    pub identity: String,
}
