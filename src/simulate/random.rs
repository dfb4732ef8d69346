//! Repeatable randomness: the same seed gives the same bits everywhere, and the same traffic wherever the
//! mathematical functions round alike (on one platform always).
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): eight lines,
//! passes BigCrush, and splits into independent streams, so that adding one kind of key does not change the others.
//! Not for secrets.

use std::f64::consts::TAU;

use crate::domain::stable_hash;

/// The golden ratio in 64 bits: SplitMix64's increment.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for a named part of the whole; does not advance this one.
    pub fn part(&self, name: &str, index: u64) -> Self {
        let mut mixed = Self(self.0 ^ stable_hash(name.as_bytes()));
        let first = mixed.bits();
        Self(first ^ index.wrapping_mul(GAMMA))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform from `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number from 0 to `n`, `n` excluded; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// A whole number from `low` to `high`, both included.
    pub fn whole(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// True with this probability, from 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`; `None` only of none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// One of `items`, each as often as its weight says; `None` only of none.
    pub fn weighted<'a, T>(&mut self, items: &'a [(T, f64)]) -> Option<&'a T> {
        let mut left = self.unit() * items.iter().map(|(_, weight)| weight).sum::<f64>();
        for (item, weight) in items {
            left -= weight;
            if left < 0.0 {
                return Some(item);
            }
        }
        items.last().map(|(item, _)| item)
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Log-normal: `median`, and the standard deviation of its logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Exponential: the wait for the next of events that come `1 / mean` per unit.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_generator() {
        // First outputs for seed 1234567 of the reference implementation (prng.di.unimi.it/splitmix64.c).
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn distributions_have_the_shape_they_claim() {
        let mut random = Random::new(1);
        let n = 20_000;
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean((0..n).map(|_| random.normal()).collect()).abs() < 0.03);
        assert!((mean((0..n).map(|_| random.normal().powi(2)).collect()) - 1.0).abs() < 0.05);
        assert!((mean((0..n).map(|_| random.exponential(3.0)).collect()) - 3.0).abs() < 0.1);
        let mut sizes: Vec<f64> = (0..n).map(|_| random.lognormal(900.0, 0.8)).collect();
        sizes.sort_by(f64::total_cmp);
        assert!((sizes[n / 2] / 900.0 - 1.0).abs() < 0.05);
        let heavy = (0..n).filter(|_| random.weighted(&[(true, 3.0), (false, 1.0)]) == Some(&true)).count();
        assert!((heavy as f64 / n as f64 - 0.75).abs() < 0.02);
    }

    #[test]
    fn parts_differ_from_each_other_and_not_from_themselves() {
        let random = Random::new(7);
        let first = |name, index| random.part(name, index).bits();
        assert_eq!(first("a", 0), first("a", 0));
        assert_ne!(first("a", 0), first("a", 1));
        assert_ne!(first("a", 0), first("b", 0));
    }
}
