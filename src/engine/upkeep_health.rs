//! Whether the work beside the decisions gets done: apart from whether the store answers those who wait for it.

use std::collections::BTreeMap;

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

/// The parts of that work that fail one by one. What one of them gets done says nothing of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// What each tick does: the log is read and written, and a lost store looked for.
    Tick,
    /// What is done each second: debts, journals, profiles, bans and reservations that end.
    Second,
    /// The clock that is followed is read.
    Clock,
    /// Amounts of reservations whose instance is gone are counted.
    Charged,
    /// Every ban in force is read.
    Reload,
    /// Usage is added to the store.
    Usage,
    /// Reports of refused keys are counted.
    Reports,
    /// Alert rules over a few sums are looked at.
    Alerts,
    /// Alert rules over sums by key and model are looked at.
    Sums,
    /// Each key's days of spending are looked at.
    Spend,
}

impl Work {
    /// Whether that it cannot be done says that the store is away. The rest may take long, or be asked of a part of the
    /// store alone.
    pub(super) fn shows_the_store(self) -> bool {
        matches!(self, Self::Tick | Self::Second | Self::Clock | Self::Charged | Self::Reload)
    }
}

/// How the upkeep is.
#[derive(Debug, Default)]
pub(super) struct UpkeepHealth {
    failing: Mutex<Failing>,
}

#[derive(Debug, Default)]
struct Failing {
    parts: BTreeMap<Work, UpkeepFailure>,
    /// Whether it was said, which is once until nothing fails.
    reported: bool,
}

impl Failing {
    fn longest(&self) -> Option<&UpkeepFailure> {
        self.parts.values().min_by_key(|failure| failure.since)
    }
}

impl UpkeepHealth {
    /// A part got done: if it failed before, that is over.
    pub(super) fn worked(&self, work: Work) {
        let mut failing = self.failing.lock();
        failing.parts.remove(&work);
        failing.reported &= !failing.parts.is_empty();
    }

    /// Nothing of it can get done, which is told in another way: what failed before is not held against it.
    pub(super) fn forget(&self) {
        *self.failing.lock() = Failing::default();
    }

    /// A part failed. Says so when that is to be reported, which is once.
    pub(super) fn failed(&self, work: Work, error: &str, now: Millis) -> Option<UpkeepFailure> {
        let mut failing = self.failing.lock();
        let new = || UpkeepFailure { since: now, error: String::new() };
        error.clone_into(&mut failing.parts.entry(work).or_insert_with(new).error);
        let due = failing.longest().filter(|longest| now - longest.since >= REPORTED_AFTER).cloned();
        let due = due.filter(|_| !failing.reported)?;
        failing.reported = true;
        Some(due)
    }

    /// Whether a part did not get done when it was tried last.
    pub(super) fn is_failing(&self, work: Work) -> bool {
        self.failing.lock().parts.contains_key(&work)
    }

    /// What has not got done for longest, while there is something.
    pub(super) fn failure(&self) -> Option<UpkeepFailure> {
        self.failing.lock().longest().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_ten_seconds_is_reported_once_and_what_works_in_between_is_not() {
        let health = UpkeepHealth::default();
        assert_eq!(health.failed(Work::Tick, "no", 0), None);
        health.worked(Work::Tick);
        let early = [5_000, 14_999].map(|now| health.failed(Work::Tick, "no", now));
        assert_eq!(early, [None, None]);
        let failure = UpkeepFailure { since: 5_000, error: "still no".to_owned() };
        assert_eq!(health.failed(Work::Tick, "still no", 15_000), Some(failure.clone()));
        assert_eq!((health.failed(Work::Tick, "still no", 16_000), health.failure()), (None, Some(failure)));
        health.worked(Work::Tick);
        assert_eq!(health.failure(), None);
    }

    #[test]
    fn what_one_part_gets_done_does_not_hide_that_another_fails() {
        let health = UpkeepHealth::default();
        for tick in 0..60 {
            health.worked(Work::Tick);
            let reported = (tick % 5 == 0).then(|| health.failed(Work::Second, "no", tick * 200)).flatten();
            assert_eq!(reported.is_some(), tick == 50, "{tick}");
            assert!(health.is_failing(Work::Second) && health.failure().is_some(), "{tick}");
        }
        assert_eq!(health.failed(Work::Usage, "nor this", 12_000), None, "one failure is told once");
        health.worked(Work::Second);
        assert_eq!(health.failure().unwrap().since, 12_000);
        health.forget();
        assert_eq!(health.failure(), None);
    }
}
