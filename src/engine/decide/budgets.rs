//! Budgets as they are used up: a word at a half, at four fifths, and when nothing is left.
//!
//! The store answers a charge with what the counter holds then, atomically. So of all requests on all instances exactly
//! one takes it over a mark: that one reports it. What is given back (a reservation that was too large) may let a second
//! request pass the same mark; an instance reports a mark once per period.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::{frame::Frame, observe::Observed};
use crate::{
    domain::{Millis, counter::Counter, finding::Severity, limit::Span, window::Unit},
    engine::Engine,
};

/// Thousandths of a budget, and how bad it is that so much is used.
const MARKS: [(u64, Severity); 3] = [(500, Severity::Low), (800, Severity::Medium), (1000, Severity::High)];
/// Marks remembered; beyond them those of periods that are over are forgotten, and then all.
const REMEMBERED: usize = 100_000;

/// Marks that this instance has reported.
#[derive(Debug, Default)]
pub(in crate::engine) struct Budgets(Mutex<HashSet<(Counter, Millis, u64)>>);

impl Budgets {
    fn is_news(&self, mark: (Counter, Millis, u64), now: Millis) -> bool {
        let mut reported = self.0.lock();
        if reported.len() >= REMEMBERED {
            reported.retain(|(_, until, _)| *until > now);
        }
        if reported.len() >= REMEMBERED {
            reported.clear();
        }
        reported.insert(mark)
    }
}

impl Engine {
    /// Tells of each mark that an admitted request took a budget (a limit on dollars of a calendar period) over.
    pub(super) fn report_budgets(&self, observed: &Observed<'_>, frame: &Frame<'_>) {
        let charged = observed.known.limits.iter().zip(&observed.charge.counters).zip(&observed.key.counters);
        for ((applied, quota), count) in charged {
            let limit = &applied.rule.limit;
            if limit.unit != Unit::CostUsd || !matches!(limit.span, Span::Calendar(_)) || quota.amount == 0 {
                continue;
            }
            let before = count.used.saturating_sub(quota.amount);
            let at = |mark: u64| (u128::from(limit.most) * u128::from(mark)).div_ceil(1000);
            let passed = |mark: &&(u64, Severity)| {
                u128::from(before) < at(mark.0) && at(mark.0) <= u128::from(count.used)
            };
            // One that takes it over several marks tells of the last.
            let Some((mark, severity)) = MARKS.iter().rfind(passed) else { continue };
            if self.budgets.is_news((quota.counter.clone(), quota.until, *mark), observed.key.now) {
                self.outbox.tell(|| frame.budget_used(applied, count.used, *mark, *severity));
            }
        }
    }
}
