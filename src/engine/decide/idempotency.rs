//! Answers of the last `idempotency.seconds`, and requests that are on their way, so that a retry of the same request
//! is counted once and gets the same answer: later, or at the same moment.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::domain::{Millis, decision::Decision};

/// The answer to a request on its way, once there is one; closed without one when it was given up.
pub(in crate::engine) type Waiting = watch::Receiver<Option<Arc<Decision>>>;

/// Answers by request, the latest up to its capacity, and requests that are not answered yet.
#[derive(Debug)]
pub(crate) struct IdempotencyCache {
    answers: Cache<u128, (Millis, Arc<Decision>)>,
    in_flight: Mutex<HashMap<u128, watch::Sender<Option<Arc<Decision>>>>>,
    /// How long an answer is given again, ms.
    span: Millis,
}

/// What is known of the same request.
pub(super) enum Earlier<'e> {
    /// It has not come before: it is on its way from now on.
    None(InFlight<'e>),
    /// It is on its way.
    InFlight(Waiting),
    /// It got this answer.
    Answered(Arc<Decision>),
}

/// A request on its way. Dropped without an answer, those who wait for it are on their own.
pub(in crate::engine) struct InFlight<'e> {
    cache: &'e IdempotencyCache,
    /// `None`: its caller gave it no id, and nobody can wait for it.
    identity: Option<u128>,
}

impl IdempotencyCache {
    /// Remembers at most `capacity` answers, each for `span` milliseconds.
    pub(crate) fn new(capacity: usize, span: Millis) -> Self {
        Self { answers: Cache::new(capacity.max(1)), in_flight: Mutex::default(), span }
    }

    /// Starts a request, or says what became of the same one.
    pub(super) fn begin(&self, identity: Option<u128>, now: Millis) -> Earlier<'_> {
        let Some(id) = identity else { return Earlier::None(InFlight { cache: self, identity }) };
        let mut in_flight = self.in_flight.lock();
        if let Some(sender) = in_flight.get(&id) {
            return Earlier::InFlight(sender.subscribe());
        }
        if let Some((at, answer)) = self.answers.get(&id)
            && now - at < self.span
        {
            return Earlier::Answered(answer);
        }
        in_flight.insert(id, watch::channel(None).0);
        Earlier::None(InFlight { cache: self, identity })
    }
}

impl IdempotencyCache {
    /// Forgets the answers that are given to nobody any more.
    pub(super) fn forget_old(&self, now: Millis) {
        self.answers.retain(|_, (at, _)| (0..self.span).contains(&(now - *at)));
    }

    /// How many answers are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }
}

impl InFlight<'_> {
    /// Tells those who wait the answer; it is kept for retries where `remembered`.
    pub(super) fn answer(mut self, decision: &Decision, remembered: bool, now: Millis) {
        let Some(identity) = self.identity.take() else { return };
        let answer = Arc::new(decision.clone());
        let mut in_flight = self.cache.in_flight.lock();
        if remembered {
            self.cache.answers.insert(identity, (now, answer.clone()));
        }
        if let Some(sender) = in_flight.remove(&identity) {
            sender.send_replace(Some(answer));
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            self.cache.in_flight.lock().remove(&identity);
        }
    }
}
