//! The roles of a store: a trait and a file for each, with the types that its calls take and give.
//!
//! A store implements each role in a file of its own (`embedded/<role>.rs`, `redis/<role>.rs`). Who uses a store takes
//! the narrowest role that will do. A call belongs to the role that keeps what it reads or writes; where it writes
//! several things in one step, to the role of what the step is about.
//!
//! Every call happens wholly or not at all. A call that ended with
//! [`StoreError::Deadline`](super::StoreError::Deadline), or that its caller gave up, may have happened. The errors of
//! every call are those of [`StoreError`](super::StoreError); only calls that take an id or a cursor answer
//! [`StoreError::BadCursor`](super::StoreError::BadCursor).

mod claims;
mod control;
mod counters;
mod documents;
mod events;
mod profiles;
mod reservations;
mod sinks;
mod standings;
mod usage;

pub use claims::{Claim, ClaimStore};
pub use control::StoreControl;
pub use counters::CounterStore;
pub(super) use documents::CHANGES_KEPT;
pub use documents::{Changed, Document, DocumentKind, DocumentStore, Revision};
pub use events::{EventLog, EventQuery, EventWriter, LogPage, LogPosition, Page};
pub use profiles::{
    ProfileChange, ProfileNews, ProfileStore, ProfileVersion, ProfileWritten, SeenSubject, StoredProfile,
    WholeProfile,
};
pub use reservations::ReservationStore;
pub use sinks::{
    DeadLetter, DeadLetterAct, MAX_DEAD_LETTERS, SinkHealth, SinkLead, SinkRecord, SinkStep, SinkStore,
    Stepped,
};
pub(super) use sinks::{health_from_text, position_from_text, position_to_text};
pub use standings::{Refund, Respond, Responded, StandingLookup, StandingRecord, StandingStore};
pub use usage::UsageStore;

/// What forwarding may do: read the log, keep the state of sinks, and look whether a ban still stands. It can write
/// neither an event nor a standing.
pub trait ForwardStore: EventLog + SinkStore + StandingLookup {}

impl<T: EventLog + SinkStore + StandingLookup> ForwardStore for T {}

/// All roles together, for who needs most of them.
pub trait Store:
    CounterStore
    + ReservationStore
    + StandingStore
    + ForwardStore
    + EventWriter
    + ProfileStore
    + DocumentStore
    + UsageStore
    + ClaimStore
    + StoreControl
{
}

impl<T> Store for T where
    T: CounterStore
        + ReservationStore
        + StandingStore
        + ForwardStore
        + EventWriter
        + ProfileStore
        + DocumentStore
        + UsageStore
        + ClaimStore
        + StoreControl
{
}
