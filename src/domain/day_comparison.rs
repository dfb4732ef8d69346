//! A day held against the days before it, in the three ways that spikes and spend are judged by: standard deviations
//! above the mean of the last 7 days (z), times that mean, and times the day before.
//!
//! Each comparison is kept as a fraction, so that whole numbers are compared exactly, by multiplying out. Which numbers
//! are compared is the caller's choice: `domain/spend` takes whole ones, `detect/spike` those of the profile.

use std::ops::{Add, Sub};

/// What the comparisons need of a number, which is never below 0.
pub trait Number: Copy + PartialOrd + From<u32> + Add<Output = Self> + Sub<Output = Self> {
    /// The product; where it does not fit, the largest number.
    fn times(self, other: Self) -> Self;
}

impl Number for u128 {
    fn times(self, other: Self) -> Self {
        self.saturating_mul(other)
    }
}

/// A fraction that is not divided out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio<N> {
    /// The number that is divided.
    pub top: N,
    /// What divides it; 0 stands for a ratio beyond all bounds.
    pub bottom: N,
}

impl<N: Number> Ratio<N> {
    /// Whether it is above another fraction, for example a limit in thousandths.
    pub fn is_above(self, limit: Self) -> bool {
        self.top.times(limit.bottom) > self.bottom.times(limit.top)
    }

    fn squared(self) -> Self {
        Self { top: self.top.times(self.top), bottom: self.bottom.times(self.bottom) }
    }
}

/// How many standard deviations a day is from the mean of the days before it.
///
/// With n days of sum s and squares q the sample's variance is (n q - s²) / (n (n - 1)), and a day x is (n x - s) / n
/// from the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation<N> {
    /// Whether the day is below the mean.
    pub is_below: bool,
    /// The distance in the least deviations that count: days that are nearly equal say little about what is unusual.
    pub in_least: Ratio<N>,
    /// The square of the distance in standard deviations of the sample.
    pub in_sample_squared: Ratio<N>,
}

impl<N: Number> Deviation<N> {
    /// How far `day` is from the mean of `past`. A standard deviation counts as at least the mean divided by
    /// `mean_per_least`.
    pub fn of(day: N, past: &[N], mean_per_least: u32) -> Self {
        let n = count(past);
        let sum = sum(past);
        let squares = past.iter().fold(N::from(0), |squares, value| squares + value.times(*value));
        let scaled = n.times(day);
        let distance = apart(scaled, sum);
        let (all, least) = (n.times(squares), sum.times(sum));
        // Of fractions that are all equal the difference may come out below 0 by rounding.
        let spread = if all > least { all - least } else { N::from(0) };
        let freedom = if past.len() > 1 { n - N::from(1) } else { n };
        Self {
            is_below: scaled < sum,
            in_least: Ratio { top: distance.times(N::from(mean_per_least)), bottom: sum },
            in_sample_squared: Ratio {
                top: distance.times(distance).times(freedom),
                bottom: n.times(spread),
            },
        }
    }

    /// Whether the day is more than `limit` deviations above the mean.
    pub fn is_above(self, limit: Ratio<N>) -> bool {
        !self.is_below && self.in_least.is_above(limit) && self.in_sample_squared.is_above(limit.squared())
    }
}

/// How many times the mean of `past` a day is.
pub fn times_mean<N: Number>(day: N, past: &[N]) -> Ratio<N> {
    Ratio { top: count(past).times(day), bottom: sum(past) }
}

/// How many times the day before a day is. `least` is what the day before counts as at least.
pub fn times_yesterday<N: Number>(day: N, yesterday: N, least: Ratio<N>) -> Ratio<N> {
    if yesterday.times(least.bottom) >= least.top {
        Ratio { top: day, bottom: yesterday }
    } else {
        Ratio { top: day.times(least.bottom), bottom: least.top }
    }
}

/// The sum of all days.
pub fn sum<N: Number>(past: &[N]) -> N {
    past.iter().fold(N::from(0), |sum, value| sum + *value)
}

fn count<N: Number>(past: &[N]) -> N {
    past.iter().fold(N::from(0), |count, _| count + N::from(1))
}

fn apart<N: Number>(a: N, b: N) -> N {
    if a > b { a - b } else { b - a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAST: [u128; 4] = [90, 110, 100, 100];
    const THOUSANDTHS: u128 = 1_000;

    fn limit(thousandths: u128) -> Ratio<u128> {
        Ratio { top: thousandths, bottom: THOUSANDTHS }
    }

    #[test]
    fn what_is_exactly_at_a_limit_is_not_above_it() {
        let times = times_mean(300, &PAST);
        assert!(times.is_above(limit(2_999)) && !times.is_above(limit(3_000)));
        let times = times_yesterday(500, 100, Ratio { top: 0, bottom: 1 });
        assert!(times.is_above(limit(4_999)) && !times.is_above(limit(5_000)));
        // The least deviation, a quarter of the mean, is more than that of the sample.
        let deviation = Deviation::of(150, &PAST, 4);
        assert!(deviation.is_above(limit(1_999)) && !deviation.is_above(limit(2_000)));
    }

    #[test]
    fn the_larger_of_the_least_deviation_and_the_samples_counts() {
        // The sample's variance is 200 / 3.
        let deviation = Deviation::of(180, &PAST, 1_000_000);
        assert_eq!(deviation.in_sample_squared, Ratio { top: 320 * 320 * 3, bottom: 4 * 800 });
        assert!(deviation.is_above(limit(9_797)) && !deviation.is_above(limit(9_798)));
        assert!(!Deviation::of(20, &PAST, 1_000_000).is_above(limit(0)), "below the mean");
    }

    #[test]
    fn a_silent_day_before_counts_as_its_least() {
        let least = Ratio { top: 300, bottom: 4 };
        assert_eq!(times_yesterday(150, 0, least), Ratio { top: 600, bottom: 300 });
        assert_eq!(times_yesterday(150, 75, least), Ratio { top: 150, bottom: 75 });
    }
}
