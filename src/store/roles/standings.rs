//! Where subjects are on the ladder, and the atomic step that moves them.

use crate::{
    domain::{
        Millis,
        event::Event,
        standing::{Standing, StandingDetail},
        subject::Subject,
        window::Counts,
    },
    store::StoreResult,
};

/// A charge to take back, because a finding refused the request that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refund {
    /// [`Observation::now`](crate::domain::observation::Observation::now) of the charge.
    pub charged_at: Millis,
    /// The counts that were charged.
    pub counts: Counts,
    /// The peer to forget again if this charge was its only sighting (its `hits` is 1); else its `hits` go down.
    pub peer: Option<u64>,
}

/// A change of a subject's standing, with what belongs to it, made atomically.
#[derive(Debug, Clone)]
pub struct Respond {
    /// Whose standing, charges and events these are.
    pub subject: Subject,
    /// The moment of the change, milliseconds since 1970.
    pub now: Millis,
    /// The new standing with its detail; `None` only appends events and takes back charges.
    /// Its `version` is one more than that of the standing it was made from.
    pub standing: Option<(Standing, StandingDetail)>,
    /// Charges to take back, in any order.
    pub refunds: Vec<Refund>,
    /// Events to append (all about this subject; they get their ids).
    pub events: Vec<Event>,
}

/// How a [`Respond`] went.
#[derive(Debug, Clone)]
pub enum Responded {
    /// Everything was written; the events as appended, with ids.
    Done(Vec<Event>),
    /// Somebody else changed the standing meanwhile: nothing was written. This is the one in force.
    Conflict(Standing),
}

/// A standing as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingRecord {
    /// The subject whose standing it is.
    pub subject: Subject,
    /// State, version, times and strikes.
    pub standing: Standing,
    /// Who or what made it, and for which reason.
    pub detail: StandingDetail,
}

/// Shows standings, and can change none.
pub trait StandingLookup: Send + Sync + 'static {
    /// The standing of a subject with its detail; `None` if nothing was ever held against it.
    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>>;

    /// Every standing in force at `now` that throttles or bans, newest (`since`) first.
    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>>;
}

/// Keeps standings. What it acknowledged is durable.
pub trait StandingStore: StandingLookup {
    /// Changes a standing, takes back charges and appends events, atomically. Acknowledged only when durable.
    fn respond<'a>(&'a self, respond: &'a Respond) -> StoreResult<'a, Responded>;

    /// Writes a `BAN_EXPIRED` event, once over all instances, for each temporary ban that ran out by `now`.
    /// Returns how many.
    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize>;

    /// Deletes everything about a subject but its events (standing, windows, peers, profile), and appends `event`.
    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()>;
}
