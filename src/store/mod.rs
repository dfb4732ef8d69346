//! Where standing, windows, profiles, events and documents are kept: one trait, two stores with equal answers.
//!
//! A store counts and keeps; it never judges. Thresholds and the ladder are in `domain` and `detect`.

pub mod embedded;
mod packed;
mod patience;
pub mod redis;
mod sinks;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use patience::patient;
pub use sinks::{
    DeadLetter, DeadLetterAct, MAX_DEAD_LETTERS, SinkHealth, SinkLead, SinkRecord, SinkStep, Stepped,
};

use crate::domain::{
    Millis,
    event::{Event, EventType},
    finding::Severity,
    observation::{Charge, Observation},
    profile::Profile,
    quota::{Counter, Lease, QuotaChange, QuotaCount},
    standing::{Standing, StandingDetail},
    subject::Subject,
    usage::{UsageBatch, UsageQuery, UsageTable},
    window::Counts,
};

/// Why a store could not do what was asked. Display never holds secrets.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time. Worth another try later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// It answered that it cannot write (memory or disk full, read-only, not allowed).
    #[error("the store refuses to write: {0}")]
    Refused(String),
    /// What is stored is not what this version can read.
    #[error("the store holds something this version cannot use: {0}")]
    Incompatible(String),
    /// A cursor or id that this store never gave out.
    #[error("the cursor is not one that this service gave out")]
    BadCursor,
}

/// The answer of a store call.
pub type StoreResult<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A charge to take back, because a finding refused the request that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refund {
    /// [`Observation::now`] of the charge.
    pub charged_at: Millis,
    /// What was charged.
    pub counts: Counts,
    /// The peer to forget again if this charge was its only sighting (its `hits` is 1); else its `hits` go down.
    pub peer: Option<u64>,
}

/// A change of a subject's standing, with what belongs to it, made atomically.
#[derive(Debug, Clone)]
pub struct Respond {
    /// Whose.
    pub subject: Subject,
    /// When.
    pub now: Millis,
    /// The new standing with its detail; `None` only appends events and takes back charges.
    /// Its `version` is one more than that of the standing it was made from.
    pub standing: Option<(Standing, StandingDetail)>,
    /// Charges to take back.
    pub refunds: Vec<Refund>,
    /// Events to append (all about this subject; they get their ids).
    pub events: Vec<Event>,
}

/// How a [`Respond`] went.
#[derive(Debug, Clone)]
pub enum Responded {
    /// Done; the events as appended, with ids.
    Done(Vec<Event>),
    /// Somebody else changed the standing meanwhile: nothing was written. This is the one in force.
    Conflict(Standing),
}

/// A standing as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingRecord {
    /// Whose.
    pub subject: Subject,
    /// The numbers.
    pub standing: Standing,
    /// Why.
    pub detail: StandingDetail,
}

/// Which events to list. Times are inclusive (`since`) and exclusive (`until`).
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Not before.
    pub since: Option<Millis>,
    /// Before.
    pub until: Option<Millis>,
    /// About this subject.
    pub subject: Option<Subject>,
    /// Of this type.
    pub kind: Option<EventType>,
    /// Of at least this severity.
    pub severity: Option<Severity>,
    /// Continue after the page that gave this cursor.
    pub cursor: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// Kinds of documents: small things that people configure while the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// The one policy, under the name `current`.
    Policy,
    /// Allowlist entries.
    Allowlist,
    /// Plans.
    Plan,
    /// Projects.
    Project,
    /// Registered keys.
    Key,
}

impl DocumentKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Policy, Self::Allowlist, Self::Plan, Self::Project, Self::Key];

    /// The name under which it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Allowlist => "allowlist",
            Self::Plan => "plan",
            Self::Project => "project",
            Self::Key => "key",
        }
    }
}

/// A document: its name and its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// Its name among its kind.
    pub name: String,
    /// Its content.
    pub body: serde_json::Value,
}

/// Changes of documents that a store remembers at least: whoever missed more reads all documents.
const CHANGES_KEPT: u64 = 5_000;

/// How often documents changed. A store that lost changes, and has counted on since, has another mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revision {
    /// Changes so far.
    pub number: u64,
    /// Names the last change; 0: it is not known which that was.
    pub mark: u64,
}

/// What became of the documents between two revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The later one.
    pub revision: Revision,
    /// What changed until then, each once; with a null body what is gone.
    pub documents: Vec<Document>,
}

/// A position in the event log from which it can be followed without skipping an event.
/// One number pair per partition; opaque outside the stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPosition(pub Vec<(u64, u64)>);

/// A page of the log as a follower reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPage {
    /// Oldest first, in order per subject.
    pub events: Vec<Event>,
    /// Behind them.
    pub next: LogPosition,
    /// Whether events between the position that was read from and these may have been deleted unread.
    pub gap: bool,
}

/// What was claimed for a request id (idempotency shared through the store).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it: the caller goes on and calls [`Store::finish_claim`].
    Fresh,
    /// Another caller has it and has not finished.
    InFlight,
    /// It was answered with this.
    Answered(Vec<u8>),
}

/// What a store keeps, and the atomic operations on it. Every call either happened wholly or not at all; a call
/// that timed out may have happened.
pub trait Store: Send + Sync + 'static {
    /// ONE atomic trip per subject, all charges sent together: prune, read the standing, check every window,
    /// charge them only if all admit, touch the peer, return the counts. Answers are in the order of the charges;
    /// charges of one subject take effect in that order. A banned subject, a refused charge and a peek change
    /// neither windows nor peers.
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>>;

    /// Changes counters, whatever their limits. Each counter changes atomically.
    fn change_quotas<'a>(&'a self, changes: &'a [QuotaChange], now: Millis) -> StoreResult<'a, ()>;

    /// What counters hold at `now`, in their order.
    fn quotas<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<QuotaCount>>;

    /// Takes a reservation, for settling it: whoever comes second gets `None`.
    fn take_lease<'a>(&'a self, key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>>;

    /// Reservations that ended by `now` and were not settled, at most about `limit` of a partition.
    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>>;

    /// Takes a reservation, and what the windows of its key hold of it; says whether nobody was quicker.
    fn end_lease<'a>(&'a self, lease: &'a Lease, now: Millis) -> StoreResult<'a, bool>;

    /// Changes a standing, takes back charges and appends events, atomically. Acknowledged only when durable.
    fn respond<'a>(&'a self, respond: &'a Respond) -> StoreResult<'a, Responded>;

    /// The standing of a subject with its detail; `None` if nothing was ever held against it.
    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>>;

    /// The windows and peers of a subject as of `now`, without changing them; `None` for an unknown subject.
    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>>;

    /// Every standing in force at `now` that throttles or bans, newest (`since`) first.
    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>>;

    /// Writes a `BAN_EXPIRED` event, once over all instances, for each temporary ban that ran out by `now`.
    /// Returns how many.
    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize>;

    /// Appends events; returns them with their ids.
    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>>;

    /// Lists events, newest first.
    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>>;

    /// One event by its id.
    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>>;

    /// The end of the log now.
    fn log_end(&self) -> StoreResult<'_, LogPosition>;

    /// A position from which every event after the one with this id is read again (and perhaps some before it).
    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition>;

    /// Events after `position` in the order of the log (oldest first, in order per subject), at most about
    /// `limit`, and the position after them. Never waits for events to come.
    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage>;

    /// `position` moved on to just behind the event with this id, which was read from there.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for what is no id of this store.
    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError>;

    /// Becomes the one that sends for a sink until `until`; `None` while somebody else is.
    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>>;

    /// Stays the one that sends for a sink until `until`, and says how it is doing. Returns whether dead letters wait to be sent again; `None` if
    /// somebody else leads it since.
    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>>;

    /// Lets a sink go, if `owner` leads it.
    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()>;

    /// Notes that a sink has come further, and what it would not take; all of it or nothing.
    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped>;

    /// What is known of a sink; `None` if nobody ever sent for it.
    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>>;

    /// Every dead letter of a sink, at most [`MAX_DEAD_LETTERS`].
    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>>;

    /// Marks dead letters to be sent again, or gives them up: those with these event ids; all, if none is given. Says
    /// how many.
    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize>;

    /// The profile of a subject; `None` if none was learned.
    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>>;

    /// Merges a delta into the stored profile and returns the result.
    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile>;

    /// Deletes everything about a subject but its events, and appends `event`.
    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()>;

    /// Every document, with a revision that changes whenever any of them does.
    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)>;

    /// The revision of the documents.
    fn documents_revision(&self) -> StoreResult<'_, Revision>;

    /// The documents that changed after `known`. `None` where the store cannot tell, so that all must be read: that is too
    /// long ago, or never was so (it was emptied, or restored to what it had been before).
    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>>;

    /// Writes a document (or deletes it, with `body` null) and appends `event`. Says whether it was there before: where
    /// what is to be deleted was not, nothing is written at all.
    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool>;

    /// Claims a request for two minutes from `now`.
    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim>;

    /// Keeps the answer to a claimed request for the rest of its two minutes.
    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()>;

    /// Notes the fingerprint of the pepper with this name, or returns the different one that is there already.
    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>>;

    /// Adds usage to the roll-ups of minutes, hours and days: once, also when the batch is sent again because its
    /// answer was lost. On several servers parts may be added before others; sending it again completes it.
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()>;

    /// Usage by the roll-ups, as far as they are kept.
    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable>;

    /// The store's own clock, if it has one that instances share.
    fn clock(&self) -> StoreResult<'_, Option<Millis>>;

    /// Whether it answers.
    fn ping(&self) -> StoreResult<'_, ()>;

    /// Writes what is still in memory; called before the process ends.
    fn close(&self) -> StoreResult<'_, ()>;
}
