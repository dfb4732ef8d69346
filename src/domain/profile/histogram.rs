//! Request sizes in log space: heavy tails are normal there, and a quantile is as good as its bin.

use serde::{Deserialize, Serialize};

use super::{familiar::Mass, moments::Moments, rows::Rows};
use crate::domain::Millis;

/// Bins per doubling: the edges of one are a factor of 1.19 apart.
const PER_OCTAVE: f64 = 4.0;
/// Bins; the last one takes everything from 2^23.75 tokens up.
const BINS: usize = 96;

/// A histogram of the logarithm of token counts, with forgetting, and the moments of that logarithm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Masses of bins that are not empty.
    bins: Rows<u8, Mass>,
    moments: Moments,
}

/// The bin of a token count.
fn bin(tokens: u64) -> u8 {
    ((tokens.max(1) as f64).log2() * PER_OCTAVE).floor().min((BINS - 1) as f64) as u8
}

impl Histogram {
    /// Counts a request of `tokens` (1 or more) at `at`.
    pub fn add(&mut self, tokens: u64, at: Millis) {
        self.bins.get_or_insert(bin(tokens), Mass::default).add(at);
        self.moments.add(tokens, at);
    }

    /// Adds the requests that another instance counted.
    pub fn merge(&mut self, other: &Self) {
        for (bin, mass) in other.bins.iter() {
            self.bins.get_or_insert(*bin, Mass::default).merge(mass);
        }
        self.moments.merge(&other.moments);
    }

    /// Bytes that the bins take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bins.bytes()
    }

    /// Requests counted, ever, without forgetting.
    pub fn count(&self) -> u64 {
        self.moments.count()
    }

    /// The moments of the logarithm.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Mean and standard deviation of the natural logarithm of tokens; `None` when empty.
    pub fn log_moments(&self, now: Millis) -> Option<(f64, f64)> {
        self.moments.mean_and_deviation(now)
    }

    /// The share of past requests in bins above that of `tokens`.
    pub fn share_above(&self, tokens: u64, now: Millis) -> f64 {
        let total = self.moments.mass(now);
        let above: f64 =
            self.bins.iter().filter(|(at, _)| **at > bin(tokens)).map(|(_, mass)| mass.at(now)).sum();
        if total > 0.0 { above / total } else { 0.0 }
    }

    /// The upper edge, in tokens, of the bin that holds quantile `q` (0 to 1); `None` when empty.
    pub fn quantile(&self, q: f64, now: Millis) -> Option<f64> {
        let mut left = self.moments.mass(now) * q.clamp(0.0, 1.0);
        let mut edge = None;
        for (bin, mass) in self.bins.iter() {
            edge = Some(((f64::from(*bin) + 1.0) / PER_OCTAVE).exp2());
            left -= mass.at(now);
            if left <= 1e-9 {
                break;
            }
        }
        edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_quantiles_are_those_of_the_logarithm() {
        let now = 1_760_000_000_000;
        let mut sizes = Histogram::default();
        for tokens in [100, 100, 100, 100, 10_000] {
            sizes.add(tokens, now);
        }
        let (mean, deviation) = sizes.log_moments(now).unwrap();
        assert!((mean - (100_f64.ln() * 4.0 + 10_000_f64.ln()) / 5.0).abs() < 1e-9);
        assert!(deviation > 1.0);
        assert!((80.0..140.0).contains(&sizes.quantile(0.5, now).unwrap()));
        assert!(sizes.quantile(1.0, now).unwrap() >= 10_000.0);
        assert!((sizes.share_above(5_000, now) - 0.2).abs() < 1e-9);
        assert_eq!(sizes.count(), 5);
    }
}
