//! Where windows, standings, events, profiles, documents and usage are kept: roles, and two stores that take them all
//! with equal answers.
//!
//! A store counts and keeps; it never judges. Thresholds and the ladder are in `domain` and `detect`.

pub mod embedded;
mod error;
mod expired;
mod packed;
mod patience;
pub mod redis;
mod roles;

pub use error::{DataGone, StoreError, StoreFault, StoreResult};
pub(crate) use packed::{pack as pack_profile, unpack as unpack_profile};
pub use patience::patient;
pub use roles::{
    Changed, Claim, ClaimStore, CounterStore, DeadLetter, DeadLetterAct, Document, DocumentKind,
    DocumentStore, EventLog, EventQuery, EventWriter, ForwardStore, LogPage, LogPosition, MAX_DEAD_LETTERS,
    Page, ProfileChange, ProfileNews, ProfileStore, ProfileVersion, ProfileWritten, Refund, ReservationStore,
    Respond, Responded, Revision, SeenSubject, SinkHealth, SinkLead, SinkRecord, SinkStep, SinkStore,
    StandingLookup, StandingRecord, StandingStore, Stepped, Store, StoreControl, StoredProfile, UsageStore,
    WholeProfile,
};
