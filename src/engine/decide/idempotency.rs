//! Answers of the last two minutes, so that a retry of the same request is counted once and gets the same answer.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::domain::{MINUTE, Millis, decision::Decision, record::Record};

/// A retry within this span is recognised.
pub const SPAN: Millis = 2 * MINUTE;

/// Answers by request, the latest up to its capacity.
#[derive(Debug)]
pub struct IdempotencyCache {
    cache: Cache<u128, (Millis, Arc<Decision>)>,
}

impl IdempotencyCache {
    /// Remembers at most `capacity` answers.
    pub fn new(capacity: usize) -> Self {
        Self { cache: Cache::new(capacity.max(1)) }
    }

    /// Identity of a request whose caller gave it an id: a digest of id, key and body.
    pub fn identity(record: &Record) -> Option<u128> {
        record.request_id_given.then_some(record.digest)
    }

    /// The answer that the request got before.
    pub fn get(&self, identity: u128, now: Millis) -> Option<Arc<Decision>> {
        self.cache.get(&identity).filter(|(at, _)| now - at < SPAN).map(|(_, answer)| answer)
    }

    /// Remembers an answer, made at `now`, for retries of its request.
    pub fn put(&self, identity: u128, answer: Decision, now: Millis) {
        self.cache.insert(identity, (now, Arc::new(answer)));
    }
}
