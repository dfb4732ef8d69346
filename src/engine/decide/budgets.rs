//! Budgets as they are used up: a word at a half, at four fifths, and when nothing is left or the rest is too little.
//!
//! The store answers a charge with what the counter holds then, atomically. So of all requests on all instances exactly
//! one takes it over a mark: that one reports it. What is given back (a reservation that was too large) may let a
//! second request pass the same mark; an instance reports a mark once per period.

use super::{
    frame::Frame,
    limit_reports::{LimitReports, News},
    limits::{Counted, counted},
    observe::Observed,
};
use crate::{
    domain::{Millis, finding::Severity, registry::Applied},
    engine::Engine,
};

/// Thousandths of a budget, and how bad it is that so much is used.
const MARKS: [(u64, Severity); 3] = [(500, Severity::Low), (800, Severity::Medium), (1000, Severity::High)];

impl LimitReports {
    /// Whether it has not been reported yet that a budget is used up.
    pub(in crate::engine) fn is_used_up_now(&self, budget: &Applied, now: Millis) -> bool {
        let [.., (whole, _)] = MARKS;
        self.is_new(&budget.counter, News::Used(whole), budget.period_ends(now), now)
    }
}

impl Engine {
    /// Tells of each mark that what a request charged took a budget (a limit on dollars of a calendar period) over, and
    /// that one is used up when it refuses, at the latest with the first refusal.
    pub(super) fn report_budgets(&self, observed: &Observed<'_>, frame: &Frame<'_>) {
        let key = &observed.key;
        for (index, Counted { applied, used, charged, .. }) in counted(observed).enumerate() {
            let limit = &applied.rule.limit;
            if !applied.is_budget() {
                continue;
            }
            let before = used.saturating_sub(charged);
            let at = |mark: u64| (u128::from(limit.most) * u128::from(mark)).div_ceil(1000);
            let passed =
                |mark: &&(u64, Severity)| u128::from(before) < at(mark.0) && at(mark.0) <= u128::from(used);
            // What goes beyond a mark by being counted is said by that.
            let too_little = used < limit.most || limit.most == 0;
            let refuses = too_little && key.counter_refusal.is_some_and(|refusal| refusal.index == index);
            // One that takes it over several marks tells of the last.
            let mark = if refuses { MARKS.last() } else { MARKS.iter().rfind(passed) };
            let Some((mark, severity)) = mark else { continue };
            let (news, until) = (News::Used(*mark), applied.period_ends(key.now));
            if self.limit_reports.is_new(&applied.counter, news, until, key.now) {
                self.shared.outbox.tell(|| frame.budget_used(applied, used, *mark, *severity));
            }
        }
    }
}
