//! Whether the work beside the decisions gets done: apart from whether the store answers those who wait for it.

use parking_lot::Mutex;

use crate::domain::{Millis, SECOND};

/// Failing for so long is reported.
const REPORTED_AFTER: Millis = 10 * SECOND;

/// Work that does not get done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepFailure {
    /// Since when it does not.
    pub since: Millis,
    /// Why it does not.
    pub error: String,
}

/// How the upkeep is.
#[derive(Debug, Default)]
pub(super) struct UpkeepHealth {
    failing: Mutex<Option<(UpkeepFailure, bool)>>,
}

impl UpkeepHealth {
    /// It got done: what failed before is over.
    pub(super) fn worked(&self) {
        *self.failing.lock() = None;
    }

    /// It failed. Says so when that is to be reported, which is once.
    pub(super) fn failed(&self, error: &str, now: Millis) -> Option<UpkeepFailure> {
        let mut failing = self.failing.lock();
        let (failure, reported) =
            failing.get_or_insert_with(|| (UpkeepFailure { since: now, error: error.to_owned() }, false));
        error.clone_into(&mut failure.error);
        let is_due = now - failure.since >= REPORTED_AFTER && !*reported;
        *reported |= is_due;
        is_due.then(|| failure.clone())
    }

    /// What does not get done, while it does not.
    pub(super) fn failure(&self) -> Option<UpkeepFailure> {
        self.failing.lock().as_ref().map(|(failure, _)| failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_ten_seconds_is_reported_once_and_what_works_in_between_is_not() {
        let health = UpkeepHealth::default();
        assert_eq!(health.failed("no", 0), None);
        health.worked();
        assert_eq!((health.failed("no", 5_000), health.failed("no", 14_999)), (None, None));
        let failure = UpkeepFailure { since: 5_000, error: "still no".to_owned() };
        assert_eq!(health.failed("still no", 15_000), Some(failure.clone()));
        assert_eq!((health.failed("still no", 16_000), health.failure()), (None, Some(failure)));
        health.worked();
        assert_eq!(health.failure(), None);
    }
}
