//! The log of security events: listed for people, followed by sinks and instances, appended to.

use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    store::{StoreError, StoreResult},
};

/// Which events to list; `None` asks for all. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// The earliest time of an event, inclusive.
    pub since: Option<Millis>,
    /// The latest time of an event, exclusive.
    pub until: Option<Millis>,
    /// The subject that events are about.
    pub subject: Option<Subject>,
    /// The one type that events are of.
    pub kind: Option<EventType>,
    /// The lowest severity of events.
    pub severity: Option<Severity>,
    /// Continue after the page that gave this cursor.
    pub cursor: Option<String>,
    /// The most events of one page.
    pub limit: usize,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What the page holds; fewer than were asked for does not mean that none follow.
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
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
    /// The position behind the last of them.
    pub next: LogPosition,
    /// Whether events between the position that was read from and these may have been deleted unread.
    pub gap: bool,
}

/// Shows the event log, and cannot write to it.
pub trait EventLog: Send + Sync + 'static {
    /// Lists events, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for a cursor that is none of this store's.
    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>>;

    /// One event by its id; `None` also for what is no id.
    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>>;

    /// The position behind the last event now.
    fn log_end(&self) -> StoreResult<'_, LogPosition>;

    /// A position from which every event after the one with this id is read again (and perhaps some before it).
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for what is no id of this store.
    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition>;

    /// Events after `position` in the order of the log (oldest first, in order per subject), at most about
    /// `limit`, and the position after them. Never waits for events to come.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for a position that this log never had, where the store can tell.
    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage>;

    /// `position` moved on to just behind the event with this id, which was read from there.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for what is no id of this store.
    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError>;
}

/// Writes to the event log.
pub trait EventWriter: Send + Sync + 'static {
    /// Appends events; returns them with their ids. Events of one subject keep their order.
    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>>;
}
