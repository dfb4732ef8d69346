//! The seasonal baseline of a key: what is usual around an hour, from the hours before it.
//!
//! Each of the last [`DAYS`] days gives the highest peak of the hour and the ones beside it, so that a job may begin a
//! little early. The baseline is the upper quartile of the days, or the median of the same hour of the week over up to
//! four weeks, whichever is larger. On a weekend (UTC) that was silent at this hour a week ago only weekends count.

use crate::domain::{
    HOUR, Millis,
    profile::{HourStat, Profile},
};

/// Days that are compared: two of each weekday.
const DAYS: i64 = 14;
/// Days that show what is usual at an hour; fewer cannot.
const LEAST_DAYS: usize = 3;
/// Weeks of which the same hour is compared: as many as hours are kept.
const WEEKS: i64 = 4;
/// The quantile of the days that is their baseline: the upper quartile, so that one busy day in four does not raise it.
const OF_DAYS: f64 = 0.75;
/// The quantile of the weeks that is their baseline: the median, as there are few.
const OF_WEEKS: f64 = 0.5;
/// Hours that work may go on beyond the usual ones and still be the same work: a long evening.
const OVERTIME: i64 = 8;

/// What is usual in one span (a minute, five minutes, an hour) around an hour.
#[derive(Debug, Clone, Copy)]
pub struct SpanBaseline {
    /// Requests that the span holds at this hour.
    pub baseline: f64,
    /// The most that it held at this hour.
    pub highest: f64,
    /// The most that it ever held.
    pub busiest: f64,
}

/// The seasonal baseline around an hour. It follows from the hours before, so it holds for the whole hour.
#[derive(Debug, Clone, Copy)]
pub struct SeasonalBaseline {
    /// Peaks of one minute.
    pub minute: SpanBaseline,
    /// Peaks of five minutes.
    pub five_minutes: SpanBaseline,
    /// Sums of an hour.
    pub hour: SpanBaseline,
    /// Days (or hours, in a young history) that were compared.
    pub samples: usize,
    /// Which of these were compared: `all_hours`, `hour_of_day` or `hour_of_week`, as evidence has it.
    pub scope: &'static str,
    /// Whether the key works at this hour of the day or the ones beside it, or has been at work since one of those.
    pub usual_hour: bool,
    /// Hours of the day at which it was ever active.
    pub active_hours: usize,
    /// In a history of too few days to say what is usual: whether the key was never at work around this hour, nor in
    /// the one before it.
    pub first_time: bool,
}

impl SeasonalBaseline {
    /// The baseline at `now`; `None` while the history is shorter than `min_hours`.
    pub fn at(profile: &Profile, now: Millis, min_hours: u32) -> Option<Self> {
        let hour = now.div_euclid(HOUR);
        let history = Hours { profile, first: profile.first_seen?.div_euclid(HOUR), now: hour };
        if hour - history.first < i64::from(min_hours) {
            return None;
        }
        // Work that goes on without a break since a usual hour has the baseline of that hour.
        let unbroken = (1..=OVERTIME).take_while(|back| history.worked_at(hour - back));
        let anchor = || unbroken.map(|back| hour - back).find(|earlier| history.is_usual(*earlier));
        let around = if history.is_usual(hour) { hour } else { anchor().unwrap_or(hour) };
        Some(history.baseline(around))
    }
}

/// The hours before the present one.
struct Hours<'a> {
    profile: &'a Profile,
    first: i64,
    now: i64,
}

impl Hours<'_> {
    fn worked_at(&self, hour: i64) -> bool {
        u32::try_from(hour).ok().is_some_and(|h| self.profile.history.hour(h).is_some())
    }

    /// The peaks of an hour before the present one and of those beside it; `None` when none of them is known.
    fn around(&self, hour: i64) -> Option<HourStat> {
        let known = (hour - 1..=hour + 1).filter(|h| *h >= self.first && *h < self.now);
        let stats = known
            .map(|h| u32::try_from(h).ok().and_then(|h| self.profile.history.hour(h)).unwrap_or_default());
        stats.reduce(|a, b| HourStat {
            requests: a.requests.max(b.requests),
            tokens: a.tokens.max(b.tokens),
            cost_nanos: a.cost_nanos.max(b.cost_nanos),
            five_minute_peak: a.five_minute_peak.max(b.five_minute_peak),
            one_minute_peak: a.one_minute_peak.max(b.one_minute_peak),
        })
    }

    fn same_hour_of_week(&self, hour: i64) -> Vec<HourStat> {
        (1..=WEEKS).filter_map(|week| self.around(hour - week * 168)).collect()
    }

    fn same_hour_of_day(&self, hour: i64, weeks: &[HourStat]) -> Vec<HourStat> {
        let silent = !weeks.is_empty() && weeks.iter().all(|stat| stat.requests == 0);
        let days: Vec<i64> = (1..=DAYS).map(|day| hour - day * 24).collect();
        let stats =
            |hours: &[i64]| -> Vec<HourStat> { hours.iter().filter_map(|h| self.around(*h)).collect() };
        if is_weekend(hour) && silent {
            let free: Vec<i64> = days.iter().copied().filter(|h| is_weekend(*h)).collect();
            let free = stats(&free);
            if free.len() >= LEAST_DAYS {
                return free;
            }
        }
        stats(&days)
    }

    /// Whether the key works at this hour. Before some days have shown it, every hour is usual.
    fn is_usual(&self, hour: i64) -> bool {
        let weeks = self.same_hour_of_week(hour);
        let days = self.same_hour_of_day(hour, &weeks);
        days.len() < LEAST_DAYS || days.iter().chain(&weeks).any(|stat| stat.requests > 0)
    }

    fn baseline(&self, hour: i64) -> SeasonalBaseline {
        let weeks = self.same_hour_of_week(hour);
        let days = self.same_hour_of_day(hour, &weeks);
        let before = self.profile.history.hours().filter(|(h, _)| i64::from(*h) < self.now);
        let worked: Vec<HourStat> = before.map(|(_, stat)| stat).collect();
        let few = days.len() < LEAST_DAYS;
        let usual_hour = few || days.iter().chain(&weeks).any(|stat| stat.requests > 0);
        let compared = if few { &worked } else { &days };
        let usual = |peak: fn(&HourStat) -> u64| SpanBaseline {
            baseline: quantile(compared, OF_DAYS, peak).max(quantile(&weeks, OF_WEEKS, peak)),
            highest: compared.iter().chain(&weeks).map(peak).max().unwrap_or(0) as f64,
            busiest: worked.iter().map(peak).max().unwrap_or(0) as f64,
        };
        SeasonalBaseline {
            minute: usual(|stat| stat.one_minute_peak),
            five_minutes: usual(|stat| stat.five_minute_peak),
            hour: usual(|stat| stat.requests),
            samples: compared.len(),
            scope: if few {
                "all_hours"
            } else if weeks.is_empty() {
                "hour_of_day"
            } else {
                "hour_of_week"
            },
            usual_hour,
            active_hours: self.of_day().iter().filter(|active| **active).count(),
            first_time: few && !self.worked_at(self.now - 1) && {
                let of_day = self.of_day();
                (hour - 1..=hour + 1).all(|h| !of_day[h.rem_euclid(24) as usize])
            },
        }
    }

    /// The hours of the day at which the key was ever at work, but for the last two hours.
    fn of_day(&self) -> [bool; 24] {
        let mut of_day = [false; 24];
        for hour in self.profile.history.worked_hours().filter(|h| i64::from(*h) < self.now - 2) {
            of_day[hour as usize % 24] = true;
        }
        of_day
    }
}

/// Whether an hour since the epoch is on a Saturday or Sunday (UTC). Day 0 was a Thursday.
fn is_weekend(hour: i64) -> bool {
    matches!((hour.div_euclid(24) + 4).rem_euclid(7), 0 | 6)
}

/// The quantile `q` of a peak; 0 for none.
fn quantile(stats: &[HourStat], q: f64, peak: impl Fn(&HourStat) -> u64) -> f64 {
    let mut peaks: Vec<u64> = stats.iter().map(peak).collect();
    peaks.sort_unstable();
    let at = (peaks.len() as f64 * q) as usize;
    peaks.get(at.min(peaks.len().saturating_sub(1))).map_or(0.0, |p| *p as f64)
}
