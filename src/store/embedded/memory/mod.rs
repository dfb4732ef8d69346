//! What the store knows without asking SQLite, shared by callers and the writer.

mod claims;
mod counters;
mod ledger;
mod profiles;
mod settling;
mod subject_state;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

pub use counters::Counters;
pub use ledger::Ledger;

use claims::Claims;
pub(super) use claims::{SavedClaim, request_name};
pub(super) use ledger::{Kept, Unsaved};
use profiles::Profiles;
pub(super) use subject_state::keep_until;

use super::{
    effects::{Effect, Effects},
    options::EmbeddedOptions,
};
use crate::domain::{MINUTE, Millis};

/// Forgetting walks over every subject, so it is done this often, by the time that callers name.
const SWEEP_EVERY: Millis = 10 * MINUTE;

/// The store's memory. For windows, peers and profiles it is the truth and SQLite has snapshots; for standings,
/// events and documents SQLite is the truth, and memory learns of a change after its commit.
pub(super) struct Memory {
    pub(super) counters: Counters,
    pub(super) profiles: Profiles,
    pub(super) claims: Claims,
    pub(super) ledger: Ledger,
    log_end: AtomicI64,
    revision: AtomicU64,
    /// No throttle or ban runs out before this.
    next_end: AtomicI64,
    /// The latest time that a caller named: the store reads no clock.
    named: AtomicI64,
    swept_at: AtomicI64,
}

impl Memory {
    /// A memory that holds nothing yet but these counters.
    pub(super) fn new(options: &EmbeddedOptions, counters: Counters) -> Self {
        Self {
            counters,
            profiles: Profiles::new(options.max_profiles),
            claims: Claims::new(options.max_claims, options.retry_span),
            ledger: Ledger::default(),
            log_end: AtomicI64::new(0),
            revision: AtomicU64::new(0),
            next_end: AtomicI64::new(Millis::MAX),
            named: AtomicI64::new(0),
            swept_at: AtomicI64::new(0),
        }
    }

    /// Learns what a committed transaction changed.
    pub(super) fn learn(&self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Apply { subject, standing, refunds } => {
                    self.counters.apply(&subject, standing, &refunds)
                }
                Effect::Forget(subject) => {
                    self.counters.remove(&subject);
                    self.profiles.remove(&subject);
                }
                Effect::LogEnd(seq) => self.log_end.store(seq, SeqCst),
                Effect::Revision(revision) => self.revision.store(revision, SeqCst),
                Effect::Ends(at) => drop(self.next_end.fetch_min(at, SeqCst)),
                Effect::NextEnd(at) => self.next_end.store(at, SeqCst),
                Effect::Counted(id, stage) => self.ledger.counted(&id, stage),
            }
        }
    }

    /// The last sequence number in the log.
    pub(super) fn log_end(&self) -> i64 {
        self.log_end.load(SeqCst)
    }

    /// The revision of the documents.
    pub(super) fn revision(&self) -> u64 {
        self.revision.load(SeqCst)
    }

    /// Whether a throttle or ban has run out by `now`.
    pub(super) fn something_ended(&self, now: Millis) -> bool {
        self.next_end.load(SeqCst) <= now
    }

    /// Notes the time that a caller named.
    pub(super) fn tell(&self, now: Millis) {
        self.named.fetch_max(now, SeqCst);
    }

    /// The latest time that any caller named.
    pub(super) fn latest(&self) -> Millis {
        self.named.load(SeqCst).max(self.counters.latest())
    }

    /// Whether it is time to forget idle subjects; says so once per span.
    pub(super) fn sweep_is_due(&self, now: Millis) -> bool {
        let last = self.swept_at.load(SeqCst);
        now.saturating_sub(last) >= SWEEP_EVERY
            && self.swept_at.compare_exchange(last, now, SeqCst, SeqCst).is_ok()
    }
}
