//! What every room of the engine uses: the store, the time, whether the store answers, events on their way to the log,
//! and what is measured.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use metrics::Histogram;

use super::{
    answer_health::{AnswerHealth, AnswerShare},
    breaker::Breaker,
    events,
    metrics::Metrics,
    outbox::EventOutbox,
    service_events,
    upkeep_health::{UpkeepFailure, UpkeepHealth, Work},
};
use crate::{
    clock::{self, Clock, Reading},
    domain::{
        Millis,
        decision::Decision,
        event::{ClockSource, JumpStage, format_millis},
    },
    store::{DataGone, Store, StoreError, patient},
};

/// Events written at a time.
const APPEND_PAGE: usize = 500;

/// Whether the store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Since when each instance decides by itself; `None` when the store answers.
    pub degraded_since: Option<Millis>,
    /// By how much the clock that is followed has jumped, ms, while it is not followed.
    pub clock_jump: Option<Millis>,
    /// Whether the files of the store are gone.
    pub data_is_gone: bool,
    /// What of the work beside the decisions does not get done.
    pub upkeep: Option<UpkeepFailure>,
    /// The answers of the last whole minute.
    pub answers: AnswerShare,
}

/// The store and the time, whether it answers, events on their way to the log, and what is measured.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Follows the store's.
    pub(super) clock: Clock,
    pub(super) breaker: Breaker,
    pub(super) outbox: EventOutbox,
    pub(super) metrics: Metrics,
    pub(super) upkeep: UpkeepHealth,
    pub(super) answers: AnswerHealth,
    data_is_gone: AtomicBool,
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
            upkeep: UpkeepHealth::default(),
            answers: AnswerHealth::default(),
            data_is_gone: AtomicBool::new(false),
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
        Health {
            degraded_since: self.breaker.open_since(),
            clock_jump: self.clock.held_jump(),
            data_is_gone: self.data_is_gone(),
            upkeep: self.upkeep.failure(),
            answers: self.answers.last_minute(),
        }
    }

    /// Notes that the store failed; when it has failed too often, says so once.
    pub(super) fn store_failed(&self, error: &StoreError, now: Millis) {
        self.metrics.store_failures.increment(1);
        let is_gone = error.is_caused_by::<DataGone>();
        if is_gone && !self.data_is_gone.swap(true, Relaxed) {
            self.outbox.push_apart(service_events::data_missing(error.to_string(), None, now));
        }
        if if is_gone { self.breaker.open(now) } else { self.breaker.failed(now) } {
            self.say_degraded(error, now);
        }
    }

    /// The store was not there when the service started.
    pub(super) fn begin_without_store(&self, error: &StoreError, now: Millis) {
        if self.breaker.open(now) {
            self.say_degraded(error, now);
        }
    }

    fn say_degraded(&self, error: &StoreError, now: Millis) {
        tracing::error!(%error, "the store does not answer; deciding without it");
        metrics::gauge!("keyward_degraded").set(1.0);
        self.upkeep.forget();
        self.outbox.push(events::degraded(&error.to_string(), now));
    }

    /// Whether the files of the store are gone.
    pub(super) fn data_is_gone(&self) -> bool {
        self.data_is_gone.load(Relaxed)
    }

    /// A probe found the store back. Returns since when it was gone, once.
    pub(super) fn found_back(&self) -> Option<Millis> {
        self.data_is_gone.store(false, Relaxed);
        self.breaker.close()
    }

    /// Notes how a part of the work beside the decisions went; what is read of it is passed on where it got done.
    pub(super) fn note_upkeep<T>(&self, work: Work, done: Result<T, StoreError>) -> Option<T> {
        match done {
            Ok(done) => {
                self.upkeep.worked(work);
                Some(done)
            }
            Err(error) => {
                self.upkeep_failed(work, &error, self.now());
                None
            }
        }
    }

    /// Work beside the decisions failed. That the store is out of reach counts as such, too, for as long as it answers
    /// those who wait: of a Cluster one part may be away, and answers of the others keep the breaker closed.
    fn upkeep_failed(&self, work: Work, error: &StoreError, now: Millis) {
        let is_away = error.is_absence() || error.is_caused_by::<DataGone>();
        if work.shows_the_store() && is_away {
            self.store_failed(error, now);
        }
        if is_away && !self.is_answering() {
            return;
        }
        tracing::warn!(%error, ?work, "work beside the decisions failed; it is tried again");
        if let Some(failure) = self.upkeep.failed(work, &error.to_string(), now) {
            self.outbox.push_apart(service_events::upkeep_failed(failure.error, failure.since, now));
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

    /// Counts an answer: as one without the store, if that is known to answer. While it does not, that is told apart.
    pub(super) fn count_answer(&self, decision: &Decision) {
        self.answers.count(decision.degraded && self.is_answering());
    }

    /// Tells of a minute in which a share of the answers was given without the store, though it answered.
    pub(super) fn look_at_answers(&self) {
        let now = self.now();
        let Some(share) = self.answers.look(now) else { return };
        tracing::warn!(
            degraded = share.degraded,
            answers = share.answers,
            "answers were given without the store"
        );
        self.outbox.push_apart(service_events::answers_degraded(share.degraded, share.answers, now));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};

    /// Of a Cluster one part may be away, and answers of the others keep the breaker closed.
    #[tokio::test]
    async fn work_that_does_not_reach_the_store_fails_while_others_are_answered_and_is_not_counted_when_nobody_is()
     {
        let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
        let shared = Shared::new(Arc::new(store), EventOutbox::new(0, 10));
        let away = || Err::<(), _>(StoreError::Unavailable("its slot has no server".into()));
        for _ in 0..10 {
            shared.note_upkeep(Work::Tick, away());
            shared.breaker.succeeded();
            shared.note_upkeep(Work::Usage, Ok(()));
        }
        assert!(shared.is_answering() && shared.health().upkeep.is_some());
        for _ in 0..3 {
            shared.note_upkeep(Work::Tick, away());
        }
        assert!(!shared.is_answering() && shared.health().upkeep.is_none(), "that is told in another way");
    }
}
