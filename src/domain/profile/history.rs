//! Hourly and daily counts of the last weeks: raw, additive, bounded. Baselines are derived from these.

use serde::{Deserialize, Serialize};

use super::{
    hours::{HourStat, Hours},
    rows::Rows,
};
use crate::domain::{DAY, HOUR, Millis};

/// Days that are kept: five weeks.
pub(super) const DAYS_KEPT: u32 = 35;

/// What happened in one day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DayStat {
    /// Requests that were admitted and learned.
    pub requests: u64,
    /// Tokens, prompt and completion together.
    pub tokens: u64,
    /// The sum of costs, in nano-dollars.
    pub cost_nanos: u64,
}

/// Counts by hour and by day. An hour without requests has no row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    hours: Hours,
    days: Days,
}

/// Counts by day (UTC). A day without requests has no row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(Rows<u32, DayStat>);

impl Days {
    /// Counts one request at `at`.
    pub fn add(&mut self, at: Millis, tokens: u64, cost_nanos: u64) {
        self.add_to(day_of(at), &DayStat { requests: 1, tokens, cost_nanos });
        self.trim();
    }

    /// Adds the counts of others.
    pub fn merge(&mut self, other: &Self) {
        for (index, row) in other.0.iter() {
            self.add_to(*index, row);
        }
        self.trim();
    }

    fn add_to(&mut self, index: u32, more: &DayStat) {
        let day = self.0.get_or_insert(index, DayStat::default);
        day.requests += more.requests;
        day.tokens = day.tokens.saturating_add(more.tokens);
        day.cost_nanos = day.cost_nanos.saturating_add(more.cost_nanos);
    }

    fn trim(&mut self) {
        if let Some((&last, _)) = self.0.last() {
            let old = self.0.iter().take_while(|(day, _)| **day + DAYS_KEPT <= last).count();
            self.0.remove_first(old);
        }
    }

    /// The row of a day since the epoch.
    pub fn day(&self, index: u32) -> Option<&DayStat> {
        self.0.get(&index)
    }

    /// Rows of days, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &DayStat)> {
        self.0.iter().map(|(day, row)| (*day, row))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The hour (since the epoch) of a time.
pub(super) fn hour_of(at: Millis) -> u32 {
    u32::try_from(at.div_euclid(HOUR)).unwrap_or(0)
}

/// The day (since the epoch, UTC) of a time.
pub(super) fn day_of(at: Millis) -> u32 {
    u32::try_from(at.div_euclid(DAY)).unwrap_or(0)
}

/// Counts add up, peaks take the higher.
fn add(hour: &mut HourStat, more: &HourStat) {
    hour.requests += more.requests;
    hour.tokens = hour.tokens.saturating_add(more.tokens);
    hour.cost_nanos = hour.cost_nanos.saturating_add(more.cost_nanos);
    hour.one_minute_peak = hour.one_minute_peak.max(more.one_minute_peak);
    hour.five_minute_peak = hour.five_minute_peak.max(more.five_minute_peak);
}

impl History {
    /// A history of these hours, in ascending order, and days.
    pub(super) fn of(hours: impl Iterator<Item = (u32, HourStat)>, days: Days) -> Self {
        Self { hours: hours.collect(), days }
    }

    /// Counts one request at `at`. `peaks`: requests in the 1-minute and in the 5-minute window, this one included.
    pub fn add(&mut self, at: Millis, tokens: u64, cost_nanos: u64, peaks: (u64, u64)) {
        let (one_minute_peak, five_minute_peak) = peaks;
        let more = HourStat { requests: 1, tokens, cost_nanos, five_minute_peak, one_minute_peak };
        self.hours.change(hour_of(at), |hour| add(hour, &more));
        self.days.add(at, tokens, cost_nanos);
    }

    /// Adds what a request used that was counted before.
    pub fn add_usage(&mut self, at: Millis, tokens: u64, cost_nanos: u64) {
        let more = HourStat { tokens, cost_nanos, ..HourStat::default() };
        self.hours.change(hour_of(at), |hour| add(hour, &more));
        self.days.add_to(day_of(at), &DayStat { requests: 0, tokens, cost_nanos });
    }

    /// Adds another history: counts add up, peaks take the higher.
    pub fn merge(&mut self, other: &Self) {
        self.hours.merge(&other.hours, add);
        self.days.merge(&other.days);
    }

    /// Bytes that hours and days take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.hours.bytes() + self.days.0.bytes()
    }

    /// The row of an hour since the epoch.
    pub fn hour(&self, hour: u32) -> Option<HourStat> {
        self.hours.get(hour)
    }

    /// How many hours have a row.
    pub fn known_hours(&self) -> usize {
        self.hours.len()
    }

    /// Hours that have a row, oldest first: quicker than the rows.
    pub fn worked_hours(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.hours.hours()
    }

    /// Rows of hours, oldest first.
    pub fn hours(&self) -> impl DoubleEndedIterator<Item = (u32, HourStat)> + '_ {
        self.hours.iter()
    }

    /// Rows of days, oldest first.
    pub fn days(&self) -> impl DoubleEndedIterator<Item = (u32, &DayStat)> {
        self.days.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::hours::HOURS_KEPT, *};

    #[test]
    fn four_weeks_of_hours_are_kept() {
        let mut history = History::default();
        for hour in 0..2_000 {
            history.add(1_760_000_000_000 + hour * HOUR, 10, 1, (1, 1));
        }
        assert_eq!(history.hours().count(), HOURS_KEPT as usize);
        assert_eq!(history.days().count(), DAYS_KEPT as usize);
    }
}
