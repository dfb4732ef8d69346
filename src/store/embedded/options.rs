//! How much the embedded store keeps, and for how long.

use crate::domain::{Millis, record::RETRY_SPAN, usage::Keep};

/// How an [`EmbeddedStore`](super::EmbeddedStore) keeps things.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Subjects whose windows are kept in memory; beyond them unknown subjects are not taken on.
    pub max_subjects: usize,
    /// Profiles whose version is kept in memory, some 150 bytes each; others are read from disk when they are written.
    pub max_profiles: usize,
    /// How long a request is claimed, ms: a retry within it is charged once.
    pub retry_span: Millis,
    /// Request ids remembered that long; beyond them the oldest are forgotten early.
    pub max_claims: usize,
    /// Days that events are kept.
    pub event_retention_days: u32,
    /// Days that the profile of a silent subject is kept.
    pub profile_retention_days: u32,
    /// Windows and profiles are written this often, in seconds; a crash loses at most that of what they were given.
    pub snapshot_seconds: u64,
    /// How long roll-ups of usage are kept.
    pub usage: Keep,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            max_subjects: 1_000_000,
            max_profiles: 200_000,
            retry_span: RETRY_SPAN,
            max_claims: 200_000,
            event_retention_days: 90,
            profile_retention_days: 45,
            snapshot_seconds: 2,
            usage: Keep::default(),
        }
    }
}
