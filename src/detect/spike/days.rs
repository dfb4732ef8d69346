//! Today's sum and those of the days before, and the three signs of a spike.

use super::super::Case;
use crate::domain::{
    DAY,
    day_comparison::{Deviation, Number, Ratio, times_mean, times_yesterday},
    finding::AnomalyKind,
    policy::SpikePolicy,
    profile::{DayStat, HourStat},
};

/// Days before today that are compared.
const WEEK: u32 = 7;
/// A standard deviation counts as at least the mean divided by this: a week of equal days says little.
const MEAN_PER_LEAST_DEVIATION: u32 = 4;
/// The day before counts as at least so many quarters of the mean: after a quiet Sunday every Monday is large.
const LEAST_QUARTERS_OF_MEAN: f64 = 3.0;
/// Requests of today that make an average; fewer may be large by chance.
const AVERAGE_OF: u64 = 5;
/// Times the average size of the days before, from where on it is not the number of requests alone.
pub(super) const LARGER: f64 = 2.0;

impl Number for f64 {
    fn times(self, other: Self) -> Self {
        self * other
    }
}

/// What is summed up by the day and by the hour.
pub(super) struct Measure {
    pub kind: AnomalyKind,
    pub unit: &'static str,
    pub of_day: fn(&DayStat) -> f64,
    pub of_hour: fn(&HourStat) -> f64,
    pub present: f64,
}

/// Today's sum and those of the days before.
pub(super) struct Days {
    pub today: f64,
    pub requests: u64,
    /// Days that are known, newest first.
    pub before: Vec<f64>,
    pub requests_before: u64,
    pub yesterday: Option<f64>,
}

impl Days {
    pub(super) fn of(case: &Case<'_>, measure: &Measure) -> Self {
        let day = u32::try_from(case.now().div_euclid(DAY)).unwrap_or(0);
        let before = Vec::with_capacity(WEEK as usize);
        let mut days =
            Self { today: measure.present, requests: 1, before, requests_before: 0, yesterday: None };
        // What was flagged is no part of what is usual, and was spent all the same.
        let flagged = case.profile.later.flagged.day(day).map(|stat| (day, stat));
        for (index, stat) in case.profile.history.days().rev().chain(flagged) {
            let amount = (measure.of_day)(stat);
            if index == day {
                days.today += amount;
                days.requests += stat.requests;
            } else if index < day && index + WEEK >= day {
                days.before.push(amount);
                days.requests_before += stat.requests;
                days.yesterday = days.yesterday.or((index + 1 == day).then_some(amount));
            }
        }
        days
    }

    fn sum(&self) -> f64 {
        self.before.iter().sum()
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum() / self.before.len() as f64
    }

    pub(super) fn signs(&self, policy: &SpikePolicy) -> [Sign; 3] {
        let limit = |limit: f64| Ratio { top: limit, bottom: 1.0 };
        let deviation = Deviation::of(self.today, &self.before, MEAN_PER_LEAST_DEVIATION);
        let mean = times_mean(self.today, &self.before);
        let least =
            Ratio { top: LEAST_QUARTERS_OF_MEAN * self.sum(), bottom: 4.0 * self.before.len() as f64 };
        let yesterday = self.yesterday.map(|yesterday| times_yesterday(self.today, yesterday, least));
        [
            Sign {
                observed: deviations(&deviation),
                limit: policy.z,
                unit: "standard deviations above the mean",
                shows: deviation.is_above(limit(policy.z)),
            },
            Sign {
                observed: quotient(mean),
                limit: policy.times_mean,
                unit: "times the mean",
                shows: mean.is_above(limit(policy.times_mean)),
            },
            Sign {
                observed: yesterday.map_or(0.0, quotient),
                limit: policy.times_yesterday,
                unit: "times yesterday",
                shows: yesterday.is_some_and(|times| times.is_above(limit(policy.times_yesterday))),
            },
        ]
    }

    /// Whether today's requests are larger than those before, and not only more.
    pub(super) fn are_larger(&self) -> bool {
        let average = |sum: f64, requests: u64| sum / requests.max(1) as f64;
        let usual = average(self.sum(), self.requests_before);
        self.requests >= AVERAGE_OF && average(self.today, self.requests) >= LARGER * usual
    }
}

/// One way in which today can be unusual.
pub(super) struct Sign {
    pub observed: f64,
    pub limit: f64,
    pub unit: &'static str,
    pub shows: bool,
}

fn quotient(ratio: Ratio<f64>) -> f64 {
    ratio.top / ratio.bottom.max(f64::MIN_POSITIVE)
}

/// Standard deviations above the mean; negative below it.
fn deviations(deviation: &Deviation<f64>) -> f64 {
    let distance = quotient(deviation.in_least).min(quotient(deviation.in_sample_squared).sqrt());
    if deviation.is_below { -distance } else { distance }
}
