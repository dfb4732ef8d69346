//! Where sending for a sink stands: what the loop, its attempts, the cursor and redelivery share.

use std::time::Duration;

use super::log_watch::LogWatch;
use crate::{
    clock::{self, Instant},
    forward::retry::{backoff, random},
    store::{LogPosition, SinkLead, StoreError},
};

/// Events that are read at a time.
pub(super) const PAGE: usize = 1_000;
/// How long to wait before the store is asked again: for a lease that ran out, or after it failed.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

/// Where sending for a sink stands.
pub(super) struct Progress {
    /// Counts who has led the sink; what an earlier leader writes is refused.
    pub epoch: u64,
    /// Behind the last event that is done with.
    pub position: LogPosition,
    /// The position as it is in the store.
    pub saved: LogPosition,
    /// Since when `position` is ahead of `saved` although nothing was sent.
    pub unsaved_since: Option<Instant>,
    /// Most events in the next batch.
    pub batch: usize,
    /// Failed attempts in a row.
    pub failures: u32,
    /// The event that may be why the sink fails.
    pub suspect: Option<Suspect>,
    /// When dead letters are sent again.
    pub redelivery: Redelivery,
    /// The position behind which events were missing, once that is in the log.
    pub reported_gap: Option<LogPosition>,
    /// Says when to look at the log again.
    pub log_watch: LogWatch,
    /// When the sink last did what is due by time.
    pub ticked: Instant,
}

impl Progress {
    /// Where a sender begins that has just taken the lease.
    pub(super) fn new(lead: &SinkLead, position: LogPosition, batch: usize, log_watch: LogWatch) -> Self {
        Self {
            epoch: lead.epoch,
            saved: position.clone(),
            position,
            unsaved_since: None,
            batch,
            failures: 0,
            suspect: None,
            redelivery: Redelivery::default(),
            reported_gap: None,
            log_watch,
            ticked: clock::instant(),
        }
    }
}

/// An event that may be why the sink fails: it failed alone.
pub(super) struct Suspect {
    /// The id of the event.
    pub event: String,
    /// How often it failed alone.
    pub failures: u32,
    /// How far the log was searched for an event about another subject.
    pub searched: Option<LogPosition>,
}

/// When dead letters are sent again.
#[derive(Default)]
pub(super) struct Redelivery {
    not_before: Option<Instant>,
    /// Failed attempts in a row.
    failures: u32,
}

impl Redelivery {
    /// Whether the last attempt did not fail.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Whether it must wait after a failure.
    pub(super) fn must_wait(&self) -> bool {
        self.not_before.is_some_and(|time| clock::instant() < time)
    }

    /// Notes a failure, after which it waits.
    pub(super) fn failed(&mut self, max_backoff: Duration, retry_after: Option<Duration>) {
        self.failures += 1;
        self.not_before = Some(clock::instant() + backoff(self.failures, max_backoff, retry_after, random()));
    }
}

/// Why a sender stops sending.
pub(super) enum Stop {
    /// Another instance leads the sink.
    NotLeading,
    /// The process is about to end.
    Stopped,
    /// The store failed; the log or the cursor is unknown.
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
