//! How far days stray from what is expected of them, and what that says of several days.

use super::basis::Basis;

/// Fewer whole days say nothing about how far a day may stray.
const FEWEST_DAYS: usize = 7;
/// The share of outcomes below the interval, and above it: what is between is 80 %.
const TAIL: f64 = 0.1;
/// Days are never taken to be more alike than this.
const MOST_ALIKE: f64 = 0.9;

/// How far past days strayed from what the others made expect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Actual by expected of the days, at the lower tail.
    pub low: f64,
    /// The same at the upper tail.
    pub high: f64,
    /// How alike a day is to the one before, 0 to [`MOST_ALIKE`].
    alike: f64,
    /// How many past hours of a kind there are, as their weights make it.
    past: f64,
    /// How many days in a row are expected from hours of their own.
    kinds: f64,
}

impl Spread {
    /// How far days strayed, each given as actual by expected, and expected; `None` where too few are known. `weights`
    /// are those of the past hours.
    pub(super) fn of(days: &[(f64, f64)], weights: impl Iterator<Item = f64>, basis: Basis) -> Option<Self> {
        let judged = days.len() >= FEWEST_DAYS && matches!(basis, Basis::HourOfWeek | Basis::HourOfDay);
        judged.then(|| Self {
            low: quantile(days, TAIL).min(1.0),
            high: quantile(days, 1.0 - TAIL).max(1.0),
            alike: autocorrelation(days).clamp(0.0, MOST_ALIKE),
            past: effective(weights) / basis.kinds(),
            kinds: basis.kinds() / 24.0,
        })
    }

    /// How far the sum of so many days strays, by how far one does: their own chance, which evens out as far as days
    /// are not alike, and that of the means they are expected from, which are as many as there are kinds of days.
    pub(super) fn of_days(&self, days: f64) -> f64 {
        let apart = (days * (1.0 - self.alike) / (1.0 + self.alike)).max(1.0);
        let means = days.clamp(1.0, self.kinds) * self.past;
        ((1.0 / apart + 1.0 / means) / (1.0 + 1.0 / self.past)).sqrt().min(1.0)
    }
}

/// Kish's effective sample size: how many equal weights would say as much.
fn effective(weights: impl Iterator<Item = f64>) -> f64 {
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// The value below which this share of the weight is.
fn quantile(values: &[(f64, f64)], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut before = 0.0;
    let mut last: Option<(f64, f64)> = None;
    for (value, weight) in values {
        let middle = (before + weight / 2.0) / all;
        if middle >= share {
            return last.map_or(value, |(at, lower)| {
                lower + (value - lower) * ((share - at) / (middle - at).max(f64::EPSILON)).clamp(0.0, 1.0)
            });
        }
        before += weight;
        last = Some((middle, value));
    }
    last.map_or(1.0, |(_, value)| value)
}

/// The lag-1 autocorrelation: that of each day with the one before.
fn autocorrelation(days: &[(f64, f64)]) -> f64 {
    let mean = days.iter().map(|(ratio, _)| ratio).sum::<f64>() / days.len().max(1) as f64;
    let together: f64 = days.windows(2).map(|pair| (pair[0].0 - mean) * (pair[1].0 - mean)).sum();
    let alone: f64 = days.iter().map(|(ratio, _)| (ratio - mean).powi(2)).sum();
    if alone > f64::EPSILON { together / alone } else { 0.0 }
}
