//! The requests that Splunk took and has not acknowledged yet.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    clock::{self, Instant},
    domain::event::Event,
};

/// The requests that wait for their acknowledgement.
pub(super) struct PendingAcks {
    /// How long a request may wait before its events are sent again.
    limit: Duration,
    /// How long one attempt waits.
    pub wait_per_attempt: Duration,
    /// Whether Splunk said that the token has acknowledgement.
    pub enabled: bool,
    requests: Vec<PendingRequest>,
}

/// A request that Splunk took.
struct PendingRequest {
    ack: u64,
    event_ids: HashSet<String>,
    sent: Instant,
    indexed: bool,
}

impl PendingRequest {
    fn has_one_of(&self, events: &[Event]) -> bool {
        events.iter().any(|event| self.event_ids.contains(&event.id))
    }
}

impl PendingAcks {
    /// Nothing waits, and it is not known yet whether the token has acknowledgement.
    pub(super) fn new(limit: Duration, wait_per_attempt: Duration) -> Self {
        Self { limit, wait_per_attempt, enabled: false, requests: Vec::new() }
    }

    /// Forgets requests that have waited for too long: their events are sent again.
    pub(super) fn drop_overdue(&mut self) {
        self.requests.retain(|request| request.sent.elapsed() < self.limit);
    }

    /// Whether an event is in a request that waits.
    pub(super) fn has(&self, event_id: &str) -> bool {
        self.requests.iter().any(|request| request.event_ids.contains(event_id))
    }

    /// Adds a request. Numbers count up: one that does not is from after a restart of Splunk, which knows nothing of
    /// the requests before.
    pub(super) fn add(&mut self, ack: u64, event_ids: HashSet<String>) {
        if self.requests.iter().any(|request| request.ack >= ack) {
            self.requests.clear();
        }
        self.requests.push(PendingRequest { ack, event_ids, sent: clock::instant(), indexed: false });
    }

    /// The numbers of the requests with one of these events that are not indexed.
    pub(super) fn waiting_for(&self, events: &[Event]) -> Vec<u64> {
        let own = self.requests.iter().filter(|request| request.has_one_of(events));
        own.filter(|request| !request.indexed).map(|request| request.ack).collect()
    }

    /// Notes which requests are indexed, by number.
    pub(super) fn mark_indexed(&mut self, indexed: &HashMap<String, bool>) {
        for request in &mut self.requests {
            request.indexed |= indexed.get(&request.ack.to_string()) == Some(&true);
        }
    }

    /// Forgets every request with one of these events.
    pub(super) fn forget(&mut self, events: &[Event]) {
        self.requests.retain(|request| !request.has_one_of(events));
    }
}
