//! Budgets as they are used up: a word at a half, at four fifths, and when nothing is left or the rest is too little.
//!
//! The store answers a charge with what the counter holds then, atomically. So of all requests on all instances exactly
//! one takes it over a mark: that one reports it. What is given back (a reservation that was too large) may let a
//! second request pass the same mark; an instance reports a mark once per period.

use super::{decider::Decider, frame::Frame, stages::Observed};
use crate::{
    domain::{finding::Severity, observation::ChargeMode},
    engine::budgets::MARKS,
};

impl Decider {
    /// Tells of each mark that what a request charged took a budget (a limit on dollars of a calendar period) over, and
    /// that one is used up when it refuses, at the latest with the first refusal.
    pub(super) fn report_budgets(&self, observed: &Observed<'_>, frame: &Frame<'_>) {
        let key = &observed.key;
        let is_charged = match observed.charge.mode {
            ChargeMode::Report => true,
            ChargeMode::Admit => key.admitted,
            ChargeMode::Peek => false,
        };
        let counted = observed.known.limits.iter().zip(&observed.charge.counters).zip(&key.counters);
        for (index, ((applied, charge), count)) in counted.enumerate() {
            let limit = &applied.rule.limit;
            if !applied.is_budget() {
                continue;
            }
            let charged = if is_charged { charge.amount } else { 0 };
            let before = count.used.saturating_sub(charged);
            let at = |mark: u64| (u128::from(limit.most) * u128::from(mark)).div_ceil(1000);
            let passed = |mark: &&(u64, Severity)| {
                u128::from(before) < at(mark.0) && at(mark.0) <= u128::from(count.used)
            };
            // What goes beyond a mark by being counted is said by that.
            let too_little = count.used < limit.most || limit.most == 0;
            let refuses = too_little && key.counter_refusal.is_some_and(|refusal| refusal.index == index);
            // One that takes it over several marks tells of the last.
            let mark = if refuses { MARKS.last() } else { MARKS.iter().rfind(passed) };
            let Some((mark, severity)) = mark else { continue };
            let period_ends = applied.period_ends(key.now);
            if self.budgets.is_news((charge.counter.clone(), period_ends, *mark), key.now) {
                self.shared.outbox.tell(|| frame.budget_used(applied, count.used, *mark, *severity));
            }
        }
    }
}
