//! What is told of limits beside refusals: each thing once a span.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::{
    Millis,
    counter::{Counter, CounterCount},
    limit::{Span, WHOLE_PERCENT},
    registry::Applied,
};

/// How many things are remembered to be told; beyond them those whose span is over are forgotten, and then all.
const REMEMBERED: usize = 100_000;

/// Something that is told of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum News {
    /// So much of it is used, in per cent of the most that it allows.
    Used { percent: u8, most: u64 },
    /// A shadow limit would have refused a request.
    WouldRefuse,
}

/// Until when the use of a limit need not be told again: until its period ends, or until some of what slides leaves,
/// which is at `resets_at` (`None`: nothing is used).
fn holds_until(applied: &Applied, resets_at: Option<Millis>, now: Millis) -> Millis {
    match applied.rule.limit.span {
        Span::Sliding(length) => resets_at.unwrap_or(now + length),
        Span::Calendar(_) => applied.period_ends(now),
    }
}

/// What this instance has told of limits, and until when it is not told again.
#[derive(Debug, Default)]
pub(super) struct LimitReports(Mutex<HashMap<(Counter, News), Millis>>);

impl LimitReports {
    /// Whether it has not been told yet, or long ago. Then it is told by the caller, and not again before `until`.
    pub(super) fn is_new(&self, counter: &Counter, news: News, until: Millis, now: Millis) -> bool {
        let mut reported = self.0.lock();
        if reported.len() >= REMEMBERED {
            reported.retain(|_, until| *until > now);
        }
        if reported.len() >= REMEMBERED {
            reported.clear();
        }
        let key = (counter.clone(), news);
        if reported.get(&key).is_some_and(|until| *until > now) {
            return false;
        }
        reported.insert(key, until);
        true
    }

    /// Whether a limit is used up by what its counter holds, wants that to be told, and it has not been told yet.
    pub(super) fn is_used_up_now(&self, applied: &Applied, count: CounterCount, now: Millis) -> bool {
        let is_used_up = count.used > 0 && count.used >= applied.rule.limit.most;
        let percent = WHOLE_PERCENT;
        is_used_up
            && applied.rule.limit.marks().contains(&percent)
            && self.is_news_of_use(applied, percent, count.resets_at, now)
    }

    /// Whether it has not been told yet that so many per cent of a limit are used; `resets_at`: when some of it leaves.
    pub(super) fn is_news_of_use(
        &self,
        applied: &Applied,
        percent: u8,
        resets_at: Option<Millis>,
        now: Millis,
    ) -> bool {
        let news = News::Used { percent, most: applied.rule.limit.most };
        self.is_new(&applied.counter, news, holds_until(applied, resets_at, now), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Scope;

    #[test]
    fn a_thing_is_reported_once_until_its_span_is_over_and_each_apart() {
        let reports = LimitReports::default();
        let [a, b] = [1, 2].map(|id| Counter { scope: Scope::Everything, id });
        assert!(reports.is_new(&a, News::WouldRefuse, 10, 0));
        assert!(!reports.is_new(&a, News::WouldRefuse, 20, 9));
        assert!(
            reports.is_new(&a, News::Used { percent: 50, most: 1 }, 10, 9)
                && reports.is_new(&b, News::WouldRefuse, 10, 9)
        );
        assert!(reports.is_new(&a, News::WouldRefuse, 20, 10));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let reports = LimitReports::default();
        for id in 0..=REMEMBERED as u64 {
            reports.is_new(&Counter { scope: Scope::Everything, id }, News::WouldRefuse, 10, 0);
        }
        assert_eq!(reports.0.lock().len(), 1);
    }
}
