//! What every room of the engine uses: the store, the time, whether the store answers, events on their way to the log,
//! and what is measured.

use std::sync::Arc;

use metrics::Histogram;

use super::{breaker::Breaker, events, metrics::Metrics, outbox::EventOutbox, service_events};
use crate::{
    clock::{self, Clock, Reading},
    domain::{
        Millis,
        event::{ClockSource, JumpStage, format_millis},
    },
    store::{Store, StoreError, patient},
};

/// Events written at a time.
const APPEND_PAGE: usize = 500;

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Since when each instance decides by itself; `None` when the store answers.
    pub degraded_since: Option<Millis>,
    /// By how much the clock that is followed has jumped, ms, while it is not followed.
    pub clock_jump: Option<Millis>,
}

/// The store and the time, whether it answers, events on their way to the log, and what is measured.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Follows the store's.
    pub(super) clock: Clock,
    pub(super) breaker: Breaker,
    pub(super) outbox: EventOutbox,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// Nothing waits yet, and the store is taken to answer.
    pub(super) fn new(store: Arc<dyn Store>, outbox: EventOutbox) -> Self {
        Self {
            store,
            clock: Clock::default(),
            breaker: Breaker::default(),
            outbox,
            metrics: Metrics::default(),
        }
    }

    /// The time that decisions are made by: the machine's clock corrected by its offset to the store's.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Whether the store answers, as far as is known without asking it.
    pub(super) fn is_answering(&self) -> bool {
        self.breaker.open_since().is_none()
    }

    /// Goes on only while the store answers.
    ///
    /// # Errors
    /// While it does not: since when.
    pub(super) fn answering(&self) -> Result<(), StoreError> {
        match self.breaker.open_since() {
            None => Ok(()),
            Some(since) => Err(StoreError::Unavailable(format!("since {}", format_millis(since)).into())),
        }
    }

    /// Whether the store answers, as operators are told.
    pub(super) fn health(&self) -> Health {
        Health { degraded_since: self.breaker.open_since(), clock_jump: self.clock.held_jump() }
    }

    /// Notes that the store failed; when it has failed too often, says so once.
    pub(super) fn store_failed(&self, error: &StoreError, now: Millis) {
        self.metrics.store_failures.increment(1);
        if self.breaker.failed(now) {
            tracing::error!(%error, "the store does not answer; deciding without it");
            metrics::gauge!("keyward_degraded").set(1.0);
            self.outbox.push(events::degraded(&error.to_string(), now));
        }
    }

    /// Reads the clock that is followed: the store's, or the machine's where the store has none. A jump is an event.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn follow_clock(&self) -> Result<(), StoreError> {
        let asked = clock::instant();
        let (source, reading) = match patient(self.store.clock()).await? {
            Some(time) => (ClockSource::Store, self.clock.follow(time, asked.elapsed())),
            None => (ClockSource::Machine, self.clock.follow_wall()),
        };
        let (jump_ms, stage) = match reading {
            Reading::Steady => return Ok(()),
            Reading::Jumped(by) => (by, JumpStage::Held),
            Reading::Returned(by) => (by, JumpStage::Over),
            Reading::Followed(by) => (by, JumpStage::Followed),
        };
        tracing::warn!(jump_ms, ?source, ?stage, "a clock jumped");
        self.outbox.push_apart(service_events::clock_jumped(source, jump_ms, stage, self.now()));
        Ok(())
    }

    /// Writes the events that wait. Those that the store does not take go on waiting.
    pub(super) async fn write_events(&self) -> Result<(), StoreError> {
        let events = self.outbox.take(self.now());
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (page, later) = rest.split_at(rest.len().min(APPEND_PAGE));
            if let Err(error) = measured(self.store.append(page), &self.metrics.append).await {
                self.outbox.put_back(rest.to_vec());
                return Err(error);
            }
            self.metrics.events_written.increment(page.len() as u64);
            rest = later;
        }
        Ok(())
    }
}

/// Bounds a background call, and notes how long it took, answered or not.
pub(super) async fn measured<T>(
    call: impl Future<Output = Result<T, StoreError>>,
    took: &Histogram,
) -> Result<T, StoreError> {
    let asked = clock::instant();
    let answer = patient(call).await;
    took.record(asked.elapsed());
    answer
}
