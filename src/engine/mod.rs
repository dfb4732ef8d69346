//! observe -> detect -> ladder -> respond.

use std::{sync::Arc, time::Duration};

use crate::domain::{
    Millis, allowlist::Allowlist, decision::Decision, event::Event, observation::Observation, policy::Policy,
    profile::Profile, record::Record, subject::Subject,
};
use crate::store::{Document, StandingRecord, Store, StoreError};

/// The policy in force, with its version and the allowlist.
#[derive(Debug)]
pub struct ActivePolicy {
    /// Limits, thresholds, modes, ladder.
    pub policy: Policy,
    /// Names this policy in decisions and events.
    pub version: Arc<str>,
    /// What detectors leave alone.
    pub allowlist: Allowlist,
}

/// All that an analyst opens first.
#[derive(Debug)]
pub struct SubjectView {
    /// Standing.
    pub standing: StandingRecord,
    /// Windows and peers; `None` when nothing was counted.
    pub observation: Option<Observation>,
    /// What is normal for it.
    pub profile: Option<Profile>,
    /// Newest events.
    pub events: Vec<Event>,
}

/// An analyst's word about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was nothing.
    Benign,
    /// It was an attack.
    Attack,
}

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Since when each instance decides by itself; `None` when the store answers.
    pub degraded_since: Option<Millis>,
}

/// The engine.
pub struct Engine {}

impl Engine {
    /// The time that decisions are made by: the machine's clock corrected by its offset to the store's.
    pub fn now(&self) -> Millis {
        unimplemented!()
    }
    /// Decides about finished requests, in order.
    pub async fn record(&self, _records: &[Record], _now: Millis) -> Vec<Decision> {
        unimplemented!()
    }
    /// Decides about a request before it is made (`tokens` is the estimate). Counts nothing.
    pub async fn check(&self, _record: &Record, _now: Millis) -> Decision {
        unimplemented!()
    }
    /// An operator's ban for `length`, or for good. Also says whether there was no ban before.
    pub async fn ban(
        &self,
        _subject: &Subject,
        _length: Option<Millis>,
        _reason: &str,
        _now: Millis,
    ) -> Result<(StandingRecord, bool), StoreError> {
        unimplemented!()
    }
    /// An operator's lifting; `None` when no ban or throttle is in force.
    pub async fn lift(
        &self,
        _subject: &Subject,
        _reason: &str,
        _now: Millis,
    ) -> Result<Option<StandingRecord>, StoreError> {
        unimplemented!()
    }
    /// The standing of a subject (a clear one when nothing was ever held against it).
    pub async fn standing(&self, _subject: &Subject) -> Result<StandingRecord, StoreError> {
        unimplemented!()
    }
    /// All that is known about a subject; `None` when nothing is.
    pub async fn subject(&self, _subject: &Subject, _now: Millis) -> Result<Option<SubjectView>, StoreError> {
        unimplemented!()
    }
    /// Deletes what is known about a subject; its events stay until their retention ends.
    pub async fn forget(&self, _subject: &Subject, _reason: &str, _now: Millis) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// An analyst's word about an event; `None` when there is no such event. Benign: lifts the ban, undoes its strike.
    pub async fn feedback(
        &self,
        _event_id: &str,
        _verdict: Verdict,
        _note: &str,
        _now: Millis,
    ) -> Result<Option<Event>, StoreError> {
        unimplemented!()
    }
    /// The policy in force.
    pub fn policy(&self) -> Arc<ActivePolicy> {
        unimplemented!()
    }
    /// Puts a (validated) policy in force, here at once and on every instance within a second. Returns the new version.
    pub async fn set_policy(&self, _policy: &Policy, _now: Millis) -> Result<Arc<str>, StoreError> {
        unimplemented!()
    }
    /// Every allowlist entry: its name is the entry, its body `{"reason","expires","created"}`.
    pub fn allowlist(&self) -> Arc<Vec<Document>> {
        unimplemented!()
    }
    /// Writes an allowlist entry (or deletes it, with a null body). Says whether it was there before.
    pub async fn write_allowlist(
        &self,
        _entry: &str,
        _body: serde_json::Value,
        _now: Millis,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        unimplemented!()
    }
    /// New events of every instance as they are appended (each within about a second).
    pub fn follow(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        unimplemented!()
    }
    /// Whether the store answers.
    pub fn health(&self) -> Health {
        unimplemented!()
    }
    /// The deadline for an answer to a record.
    pub fn deadline(&self) -> Duration {
        unimplemented!()
    }
}
