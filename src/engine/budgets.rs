//! Which marks of budgets this instance has reported: each once per period.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::domain::{Millis, counter::Counter, finding::Severity, registry::Applied};

/// Thousandths of a budget, and how bad it is that so much is used.
pub(super) const MARKS: [(u64, Severity); 3] =
    [(500, Severity::Low), (800, Severity::Medium), (1000, Severity::High)];
/// Marks remembered; beyond them those of periods that are over are forgotten, and then all.
const REMEMBERED: usize = 100_000;

/// Marks that this instance has reported.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<HashSet<(Counter, Millis, u64)>>);

impl Budgets {
    /// Whether a mark (of a counter, by the end of its period) has not been reported yet; from now on it has.
    pub(super) fn is_news(&self, mark: (Counter, Millis, u64), now: Millis) -> bool {
        let mut reported = self.0.lock();
        if reported.len() >= REMEMBERED {
            reported.retain(|(_, until, _)| *until > now);
        }
        if reported.len() >= REMEMBERED {
            reported.clear();
        }
        reported.insert(mark)
    }

    /// Whether it has not been reported yet that a budget is used up.
    pub(super) fn is_used_up_now(&self, budget: &Applied, now: Millis) -> bool {
        let [.., (whole, _)] = MARKS;
        self.is_news((budget.counter.clone(), budget.period_ends(now), whole), now)
    }
}
