//! Which sums alert rules look at: those of a calendar span, or of a window, over everything or by whom they are.

use crate::domain::{
    MINUTE, Millis,
    alert::{AlertName as Name, AlertSpan, AlertWindow, Operator, Watched},
    usage::{Bucket, Grouping, OTHER, Rows, Totals, UsageQuery, UsageTable},
};

/// After a span has ended its sum is still looked at for so long: other instances write theirs a little later.
pub(super) const LATE: Millis = 20_000;
const _: () = assert!(LATE < MINUTE);

/// Sums of one span that are looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) span: AlertSpan,
    pub(super) scope: Watched,
    pub(super) start: Millis,
    pub(super) end: Millis,
    pub(super) now: Millis,
}

impl Look {
    /// The calendar span that starts then.
    pub(super) fn calendar((bucket, scope): (Bucket, Watched), start: Millis, now: Millis) -> Self {
        Self { span: AlertSpan::Calendar(bucket), scope, start, end: start + bucket.millis(), now }
    }

    /// The window up to the present minute, or up to the last one that is whole.
    pub(super) fn window((window, scope): (AlertWindow, Watched), is_whole: bool, now: Millis) -> Self {
        let minute = Bucket::Minute;
        let end = if is_whole { minute.start(now - LATE / 4) } else { minute.start(now) + minute.millis() };
        Self { span: AlertSpan::Sliding(window), scope, start: end - window.millis(), end, now }
    }

    pub(super) fn is_over(&self) -> bool {
        self.now >= self.end
    }

    /// Whether nothing later is looked at: the running span, or a window.
    pub(super) fn is_latest(&self) -> bool {
        !self.is_over() || matches!(self.span, AlertSpan::Sliding(_))
    }

    /// Since when it is over; below 0: it runs.
    pub(super) fn over_for(&self) -> Millis {
        self.now - self.end
    }

    /// Until when a rule holds that is true of it. What is below a figure is known anew a whole span later.
    pub(super) fn holds_until(&self, operator: Operator) -> Millis {
        match self.span {
            AlertSpan::Sliding(_) => self.now,
            AlertSpan::Calendar(_) if operator == Operator::Gt => self.end,
            AlertSpan::Calendar(bucket) => self.end + bucket.millis(),
        }
    }

    /// Whether all sums have come: the last seconds of a span may still be on their way when it ends.
    pub(super) fn is_whole(&self) -> bool {
        self.over_for() >= LATE / 4
    }

    pub(super) fn query(&self, span: (Millis, Millis)) -> UsageQuery {
        let by = |scope| self.scope == scope;
        let group = Grouping {
            project: by(Watched::Project),
            model: by(Watched::Model),
            key: by(Watched::Key),
            ..Grouping::default()
        };
        // All of it, or the sum of everything would be too small; `usage.max_series` bounds it.
        UsageQuery { group, ..UsageQuery::new(Rows::Whole, span, self.now) }
    }

    /// The sums of a table by whom they are of. What is summed as `(other)` is of nobody.
    pub(super) fn sums(&self, table: UsageTable) -> Vec<(Name, Totals)> {
        let scope = self.scope;
        if scope == Watched::Everything {
            return vec![(None, table.total)];
        }
        let named = table.rows.into_iter().filter_map(|((_, key), totals)| {
            let name = match scope {
                Watched::Everything => None,
                Watched::Project => key.project,
                Watched::Key => key.key,
                Watched::Model => key.model,
            };
            Some((Some(name.filter(|name| **name != *OTHER)?), totals))
        });
        named.collect()
    }
}
