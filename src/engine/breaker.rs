//! Whether the store is asked at all: after failures in a row it is left alone until a probe finds it back.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::domain::Millis;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;
/// The value of `since` while the store answers.
const CLOSED: Millis = i64::MIN;

/// Opens after failures in a row.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: AtomicU32,
    since: AtomicI64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: AtomicU32::new(0), since: AtomicI64::new(CLOSED) }
    }
}

impl Breaker {
    /// Since when the store is left alone; `None` while it answers.
    pub(super) fn open_since(&self) -> Option<Millis> {
        Some(self.since.load(Ordering::Acquire)).filter(|since| *since != CLOSED)
    }

    /// Notes that the store answered: failures are counted anew.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The store did not answer. Says whether this very failure opened the breaker.
    pub(super) fn failed(&self, now: Millis) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        failures >= FAILURES
            && self.since.compare_exchange(CLOSED, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The store is known to be gone: it is left alone at once. Says whether this opened the breaker.
    pub(super) fn open(&self, now: Millis) -> bool {
        self.failures.store(FAILURES, Ordering::Release);
        self.since.compare_exchange(CLOSED, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A probe found the store back. Returns since when it was gone, once.
    pub(super) fn close(&self) -> Option<Millis> {
        self.failures.store(0, Ordering::Release);
        Some(self.since.swap(CLOSED, Ordering::AcqRel)).filter(|since| *since != CLOSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_after_failures_in_a_row_and_closes_once() {
        let breaker = Breaker::default();
        assert!(!breaker.failed(1) && !breaker.failed(2));
        breaker.succeeded();
        assert!(!breaker.failed(3) && !breaker.failed(4));
        assert!(breaker.failed(5) && !breaker.failed(6));
        assert_eq!(breaker.open_since(), Some(5));
        assert_eq!((breaker.close(), breaker.close()), (Some(5), None));
    }
}
