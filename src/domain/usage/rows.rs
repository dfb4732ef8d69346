//! The rows of an answer, and the roll-ups that each is made of.
//!
//! A row is a roll-up, the whole span that is asked for, or a day or month of a time zone. The last two are made of the
//! longest roll-ups that fit, and at their ends of shorter ones. Where those are no longer kept, a roll-up that an end
//! falls into counts in the row that it begins in: no usage is in two rows, and none is in none.

use super::rollup::{Bucket, Keep};
use crate::domain::{
    Millis,
    calendar::{Calendar, Zone},
};

/// What each row of an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Each roll-up of this length, in UTC.
    Each(Bucket),
    /// The whole span: one row, which has the start of the span.
    Whole,
    /// Each hour, day, week or month of this time zone that begins in the span.
    Calendar(Calendar, Zone),
}

/// Roll-ups of one length that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How long each is.
    pub bucket: Bucket,
    /// When the first of them starts, in milliseconds.
    pub first: Millis,
    /// When the last of them starts.
    pub last: Millis,
    /// The start of the row that they are summed in; `None`: each is a row of its own.
    row: Option<Millis>,
}

impl Run {
    /// When each of its roll-ups starts.
    pub fn starts(&self) -> impl Iterator<Item = Millis> + use<> {
        let step = usize::try_from(self.bucket.millis()).unwrap_or(1);
        (self.first..=self.last).step_by(step)
    }

    /// The start of the row that a roll-up of it is in.
    pub fn row(&self, start: Millis) -> Millis {
        self.row.unwrap_or(start)
    }
}

impl Rows {
    /// When something began that is surely whole: what is asked for before is no longer kept.
    pub(super) fn kept_from(self, keep: Keep, now: Millis) -> Millis {
        match self {
            Self::Each(bucket) => keep.first(bucket, now),
            Self::Whole | Self::Calendar(..) => keep.first(Bucket::Day, now),
        }
    }

    /// The roll-ups between two moments that are still kept and have begun at `now`.
    pub(super) fn runs(self, (from, to): (Millis, Millis), keep: Keep, now: Millis) -> Vec<Run> {
        let parts = Parts { keep, now };
        match self {
            Self::Each(bucket) => {
                let first = bucket.start(from).max(keep.first(bucket, now));
                // Nothing is counted in buckets to come.
                let last = bucket.start(to.saturating_sub(1)).min(bucket.start(now));
                let run = Run { bucket, first, last, row: None };
                if first <= last { vec![run] } else { Vec::new() }
            }
            Self::Whole => parts.of((from, to), from),
            Self::Calendar(period, zone) => {
                let mut runs = Vec::new();
                let mut next = period.period(from.max(parts.first()), &zone);
                while next.0 < to && next.0 <= now {
                    runs.extend(parts.of(next, next.0));
                    next = period.period(next.1, &zone);
                }
                runs
            }
        }
    }
}

/// Puts a span together of the longest roll-ups that are still kept and fit into it.
struct Parts {
    keep: Keep,
    now: Millis,
}

impl Parts {
    /// Since when anything is kept.
    fn first(&self) -> Millis {
        let firsts = Bucket::ALL.map(|bucket| self.keep.first(bucket, self.now));
        firsts.into_iter().min().unwrap_or(self.now)
    }

    /// The runs that make up a span, in order.
    fn of(&self, span: (Millis, Millis), row: Millis) -> Vec<Run> {
        let mut runs = Vec::new();
        let from = span.0.max(self.first());
        self.cover(Bucket::Day, span, (from, span.1), &mut |bucket, start| {
            push(&mut runs, bucket, start, row)
        });
        runs
    }

    /// Takes each roll-up of this length that overlaps a part of the span: whole, in shorter ones, or by its start.
    fn cover(
        &self,
        bucket: Bucket,
        span: (Millis, Millis),
        part: (Millis, Millis),
        take: &mut impl FnMut(Bucket, Millis),
    ) {
        let mut start = bucket.start(part.0);
        while start < part.1 && start <= self.now {
            let end = start.saturating_add(bucket.millis());
            let is_kept = self.keep.left(bucket, start, self.now) > 0;
            let is_inside = span.0 <= start && end <= span.1;
            let shorter = shorter(bucket).filter(|shorter| self.keep.left(*shorter, start, self.now) > 0);
            match shorter {
                _ if is_inside && is_kept => take(bucket, start),
                Some(shorter) => self.cover(shorter, span, (start.max(span.0), end.min(span.1)), take),
                None if is_kept && (span.0..span.1).contains(&start) => take(bucket, start),
                None => {}
            }
            start = end;
        }
    }
}

fn shorter(bucket: Bucket) -> Option<Bucket> {
    match bucket {
        Bucket::Day => Some(Bucket::Hour),
        Bucket::Hour => Some(Bucket::Minute),
        Bucket::Minute => None,
    }
}

fn push(runs: &mut Vec<Run>, bucket: Bucket, start: Millis, row: Millis) {
    match runs.last_mut() {
        Some(run) if run.bucket == bucket && run.last + bucket.millis() == start => run.last = start,
        _ => runs.push(Run { bucket, first: start, last: start, row: Some(row) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{DAY, HOUR, MINUTE};

    const KEEP: Keep = Keep { minute_days: 2, hour_days: 35, day_days: 400 };
    /// 2026-03-31T12:00:00Z.
    const NOW: Millis = 1_774_958_400_000;

    fn runs(rows: Rows, from: Millis, to: Millis) -> Vec<(Bucket, Millis, usize, Millis)> {
        let runs = rows.runs((from, to), KEEP, NOW);
        runs.iter().map(|run| (run.bucket, run.first, run.starts().count(), run.row(run.first))).collect()
    }

    fn midnight(day: i64) -> Millis {
        NOW - 12 * HOUR + day * DAY
    }

    #[test]
    fn a_day_of_a_zone_is_made_of_hours_and_its_month_of_whole_days_and_hours_at_its_ends() {
        let tokyo = Zone::named("Asia/Tokyo").unwrap();
        let yesterday = midnight(-1) - 9 * HOUR;
        let day = runs(Rows::Calendar(Calendar::Day, tokyo), yesterday, yesterday + 1);
        assert_eq!(day, [(Bucket::Hour, yesterday, 24, yesterday)]);
        let month = runs(Rows::Calendar(Calendar::Month, tokyo), NOW, NOW + 1);
        let begin = midnight(-30) - 9 * HOUR;
        let expected = [
            (Bucket::Hour, begin, 9, begin),
            (Bucket::Day, midnight(-30), 30, begin),
            // The present day ends in the next month there, so it is read by its hours.
            (Bucket::Hour, midnight(0), 13, begin),
        ];
        assert_eq!(month, expected);
    }

    #[test]
    fn a_day_on_which_clocks_are_put_forward_has_23_hours() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-03-29, from 23:00 UTC on the day before until 22:00.
        let begin = midnight(-2) - HOUR;
        let day = runs(Rows::Calendar(Calendar::Day, berlin), begin, begin + 1);
        assert_eq!(day, [(Bucket::Hour, begin, 23, begin)]);
    }

    #[test]
    fn half_an_hour_is_cut_by_minutes_while_they_are_kept_and_then_by_the_start_of_hours() {
        let kolkata = Zone::named("Asia/Kolkata").unwrap();
        let begin = midnight(0) - 5 * HOUR - 30 * MINUTE;
        let day = runs(Rows::Calendar(Calendar::Day, kolkata), begin, begin + 1);
        let hours = begin + 30 * MINUTE;
        assert_eq!(day, [(Bucket::Minute, begin, 30, begin), (Bucket::Hour, hours, 18, begin)]);
        let old = begin - 10 * DAY;
        let day = runs(Rows::Calendar(Calendar::Day, kolkata), old, old + 1);
        assert_eq!(day, [(Bucket::Hour, old + 30 * MINUTE, 24, old)]);
    }

    fn zones() -> impl Strategy<Value = Zone> {
        let names = vec!["Asia/Tokyo", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "UTC"];
        proptest::sample::select(names).prop_map(|name| Zone::named(name).unwrap())
    }

    proptest! {
        #[test]
        fn every_roll_up_is_in_one_row_and_no_moment_is_in_two(
            zone in zones(), month in any::<bool>(), begin in 0..500_i64, length in 1..80_i64,
        ) {
            let (from, to) = (NOW - begin * DAY, NOW - (begin - length) * DAY);
            let period = if month { Calendar::Month } else { Calendar::Day };
            let all = Rows::Calendar(period, zone).runs((from, to), KEEP, NOW);
            let mut end = None;
            for run in all {
                // One begins where the last one ends.
                prop_assert!(end.is_none_or(|end| end == run.first), "{:?}", run);
                end = Some(run.last + run.bucket.millis());
            }
            let is_over = to <= NOW - DAY && begin < 300;
            prop_assert!(!is_over || end.is_some_and(|end| end >= to - DAY), "it goes on to the end");
        }
    }
}
