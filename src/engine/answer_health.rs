//! Which share of the answers was given without the store, minute by minute.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::domain::{MINUTE, Millis};

/// Of a hundred answers, so many degraded ones are told.
const PERCENT: u64 = 1;
/// And no less than so many.
const LEAST: u64 = 5;

/// Answers of a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerShare {
    /// How many there were.
    pub answers: u64,
    /// How many of them were degraded.
    pub degraded: u64,
}

impl AnswerShare {
    /// Whether that is more than is usual.
    pub fn is_high(self) -> bool {
        self.degraded >= LEAST && self.degraded * 100 >= self.answers * PERCENT
    }
}

/// Counts the answers of each minute.
#[derive(Debug, Default)]
pub(super) struct AnswerHealth {
    answers: AtomicU64,
    degraded: AtomicU64,
    minutes: Mutex<Minutes>,
}

#[derive(Debug, Default)]
struct Minutes {
    ends: Millis,
    last: AnswerShare,
}

impl AnswerHealth {
    /// Counts an answer, and whether it was given without the store.
    pub(super) fn count(&self, degraded: bool) {
        self.answers.fetch_add(1, Relaxed);
        self.degraded.fetch_add(u64::from(degraded), Relaxed);
    }

    /// Where a minute is over: its answers, if a high share of them was degraded and that of the minute before was not.
    pub(super) fn look(&self, now: Millis) -> Option<AnswerShare> {
        let mut minutes = self.minutes.lock();
        if (minutes.ends - MINUTE..minutes.ends).contains(&now) {
            return None;
        }
        let (answers, degraded) = (self.answers.swap(0, Relaxed), self.degraded.swap(0, Relaxed));
        let share = AnswerShare { answers, degraded };
        let before = std::mem::replace(&mut minutes.last, share);
        minutes.ends = now + MINUTE;
        (share.is_high() && !before.is_high()).then_some(share)
    }

    /// The answers of the last whole minute.
    pub(super) fn last_minute(&self) -> AnswerShare {
        self.minutes.lock().last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(health: &AnswerHealth, answers: u64, degraded: u64, ends: Millis) -> Option<AnswerShare> {
        for n in 0..answers {
            health.count(n < degraded);
        }
        health.look(ends)
    }

    #[test]
    fn a_share_of_degraded_answers_is_reported_once_until_a_minute_is_well() {
        let health = AnswerHealth::default();
        assert_eq!(health.look(100_000), None);
        assert_eq!(minute(&health, 1_000, 9, 130_000), None, "the minute is not over");
        assert_eq!(minute(&health, 100, 2, 161_000), Some(AnswerShare { answers: 1_100, degraded: 11 }));
        assert_eq!(minute(&health, 100, 50, 221_000), None, "it is told already");
        assert_eq!(minute(&health, 100, 0, 281_000), None);
        assert!(!health.last_minute().is_high());
        assert!(minute(&health, 500, 5, 341_000).is_some());
    }

    #[test]
    fn single_answers_and_small_shares_are_none() {
        assert!(!AnswerShare { answers: 4, degraded: 4 }.is_high());
        assert!(!AnswerShare { answers: 1_000, degraded: 9 }.is_high());
        assert!(AnswerShare { answers: 1_000, degraded: 10 }.is_high());
    }
}
