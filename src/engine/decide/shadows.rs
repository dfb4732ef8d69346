//! Shadow limits: what they would have refused.

use super::{
    decider::Decider,
    frame::Frame,
    limits::{Counted, counted},
    stages::Observed,
};
use crate::{
    domain::{
        decision::{Action, LimitStatus, Reason, Would},
        limit::Span,
        window::Unit,
    },
    engine::limit_reports::News,
};

impl Decider {
    /// Tells of each shadow limit that it would have refused the request, once a span on this instance. `statuses`: how
    /// all limits on the request stand.
    pub(super) fn report_shadows(
        &self,
        observed: &Observed<'_>,
        statuses: &[LimitStatus],
        frame: &Frame<'_>,
    ) {
        let of_registry = statuses.iter().filter(|status| status.scope.is_some());
        for (Counted { applied, asked, .. }, status) in counted(observed).zip(of_registry) {
            let limit = &applied.rule.limit;
            if !limit.mode.is_shadow() || !applied.is_exceeded_by(asked) {
                continue;
            }
            let now = observed.key.now;
            let until = match limit.span {
                Span::Sliding(length) => now + length,
                Span::Calendar(_) => applied.period_ends(now),
            };
            if self.limit_reports.is_new(&applied.counter, News::WouldRefuse, until, now) {
                let reason = match limit.unit {
                    Unit::CostUsd => Reason::BudgetExceeded,
                    _ => Reason::RateLimitExceeded,
                };
                let ruled = Would::refuse(Action::Throttle, reason, None, now);
                self.shared.outbox.tell(|| frame.shadowed(status, ruled));
            }
        }
    }
}
