//! Limits as they are used up: a word at each of their marks, at the latest with the first refusal at the whole.
//!
//! The store answers a charge with what the counter holds then, atomically. So of all requests on all instances exactly
//! one takes it over a mark: that one reports it. What is given back (a reservation that was too large) may let a
//! second request pass the same mark; an instance reports a mark once per period, and of a span that slides not before
//! some of what is used has left.

use super::{
    decider::Decider,
    frame::Frame,
    limits::{Counted, counted},
    stages::Observed,
};
use crate::domain::limit::WHOLE_PERCENT;

impl Decider {
    /// Tells of each mark that what a request charged took a limit over, and that one is used up when it refuses, at
    /// the latest with the first refusal.
    pub(super) fn report_marks(&self, observed: &Observed<'_>, frame: &Frame<'_>) {
        let now = observed.key.now;
        for counted in counted(observed) {
            let Some(percent) = mark(&counted) else { continue };
            let Counted { applied, used, resets_at, .. } = counted;
            if self.limit_reports.is_news_of_use(applied, percent, resets_at, now) {
                self.shared.outbox.tell(|| frame.limit_used(applied, used, percent));
            }
        }
    }
}

/// The mark of a limit that a request reached, in per cent. One that takes it over several marks tells of the last.
fn mark(counted: &Counted<'_>) -> Option<u8> {
    let Counted { applied, used, charged, asked, .. } = *counted;
    let limit = &applied.rule.limit;
    let before = used.saturating_sub(charged);
    let at = |percent: u8| (u128::from(limit.most) * u128::from(percent)).div_ceil(100).max(1);
    let passed = |percent: &u8| u128::from(before) < at(*percent) && at(*percent) <= u128::from(used);
    // What goes beyond a mark by being counted is said by that.
    let too_little = used < limit.most || limit.most == 0 && charged == 0;
    let refuses = limit.mode.enforces() && too_little && applied.is_exceeded_by(asked);
    let whole = limit.marks().last().filter(|last| refuses && **last == WHOLE_PERCENT);
    whole.or_else(|| limit.marks().iter().rfind(|percent| passed(percent))).copied()
}
