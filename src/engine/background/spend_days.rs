//! What keys used by day and interval, as a spend check looks at it: the days as they stood at this check or an earlier
//! one, and whether a key is critical at many checks in a row.

use std::{collections::HashMap, sync::Arc};

use crate::domain::{
    DAY, Millis,
    spend::{CheckInterval, Judgement, Rules, SPAN, Spent},
    usage::Bucket,
};

/// Days that are read: yesterday is judged too, for what came late.
pub(super) const DAYS: usize = SPAN + 1;

/// A key's days, today first.
pub(super) type Days = [Spent; DAYS];

/// A check: at a multiple of the interval, of the day that the interval before it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) at: Millis,
    pub(super) interval: CheckInterval,
    pub(super) now: Millis,
}

impl Check {
    /// When the day begins that is looked at, ms since the Unix epoch.
    pub(super) fn day(&self) -> Millis {
        Bucket::Day.start(self.at - 1)
    }

    /// The one so many intervals before.
    pub(super) fn before(self, intervals: usize) -> Self {
        Self { at: self.at - self.interval.millis() * Millis::try_from(intervals).unwrap_or(0), ..self }
    }
}

/// What keys that matter used: by day, and by interval since the first check that is looked at.
pub(super) struct Book {
    pub(super) check: Check,
    pub(super) days: HashMap<Arc<str>, Days>,
    pub(super) intervals: HashMap<Arc<str>, Vec<(Millis, Spent)>>,
}

impl Book {
    /// The days of a key as they stood at a check on this day or the one before.
    pub(super) fn days_at(&self, key: &str, check: Check) -> Option<[Spent; SPAN]> {
        let back = usize::try_from((self.check.day() - check.day()) / DAY).ok()?;
        let mut days: [Spent; SPAN] = self.days.get(key)?.get(back..back + SPAN)?.try_into().ok()?;
        let end = check.day() + DAY;
        for (begin, spent) in self.intervals.get(key).into_iter().flatten() {
            if (check.at..end.min(self.check.at)).contains(begin) {
                days[0] = days[0].without(*spent);
            }
        }
        Some(days)
    }

    /// Whether a key used anything in the interval before the check.
    pub(super) fn goes_on(&self, key: &str) -> bool {
        let last = self.check.before(1).at;
        self.intervals.get(key).into_iter().flatten().any(|(begin, spent)| *begin == last && spent.is_some())
    }
}

/// A key that is to be cut off.
pub(super) struct CutOff {
    pub(super) key: Arc<str>,
    pub(super) found: Judgement,
    /// What the day held at each check in a row, the newest first.
    pub(super) checks: Vec<(Millis, u64)>,
}

impl CutOff {
    /// The day of the first of the checks.
    pub(super) fn first_day(&self, last: Check) -> Millis {
        let first = self.checks.last().map_or(last.at, |(at, _)| *at);
        Bucket::Day.start(first - 1)
    }
}

/// A key that is critical at so many checks in a row and goes on. By the sums of a day alone one that has stopped would
/// stay critical until midnight, and there would be nothing left to cut off.
pub(super) fn streak(rules: &Rules, book: &Book, key: Arc<str>) -> Option<CutOff> {
    if !book.goes_on(&key) {
        return None;
    }
    let mut checks = Vec::with_capacity(rules.cut_off_after);
    let mut last = None;
    for back in 0..rules.cut_off_after {
        let check = book.check.before(back);
        let found = rules.judge(&book.days_at(&key, check)?).filter(Judgement::is_critical)?;
        checks.push((check.at, found.observed));
        last.get_or_insert(found);
    }
    last.map(|found| CutOff { key, found, checks })
}
