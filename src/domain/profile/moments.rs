//! Mean and spread of request sizes, in log space, with forgetting: overall and per context.
//!
//! One key may carry several uses (a chat and a nightly job): their sizes have little to do with each other. A context
//! is a client on an endpoint, with or without the model.

use serde::{Deserialize, Serialize};

use super::{client::NO_CLIENT, familiar::Mass, rows::Rows};
use crate::domain::{Millis, stable_hash};

/// Contexts that one profile keeps.
const CONTEXTS: usize = 48;
/// Contexts above `CONTEXTS` that are tolerated, so that a full table is not sorted with each new one.
const SLACK: usize = 16;

/// How much the size of one request says about the next for the same use: sums for the lag-1 autocorrelation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lag {
    products: Mass,
    squares: Mass,
}

/// The largest autocorrelation that counts: with more, no run would ever say anything.
const MOST_CORRELATED: f64 = 0.97;
/// What the sum of squares counts for at least, so that the first pairs say little.
const FIRST_PAIRS: f64 = 20.0;

impl Lag {
    /// Counts a pair: the product of both deviations, and the square of the one before.
    pub fn add(&mut self, (product, square): (f64, f64), at: Millis) {
        let weight = Mass::weight(at);
        self.products.add_weighted(product * weight);
        self.squares.add_weighted(square * weight);
    }

    /// Adds the pairs that another instance counted.
    pub fn merge(&mut self, other: &Self) {
        self.products.merge(&other.products);
        self.squares.merge(&other.squares);
    }

    /// The lag-1 autocorrelation, 0 to `MOST_CORRELATED`.
    pub fn correlation(&self, now: Millis) -> f64 {
        let squares = self.squares.at(now) + FIRST_PAIRS;
        (self.products.at(now) / squares).clamp(0.0, MOST_CORRELATED)
    }
}

/// The first two moments of the logarithm of token counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Requests counted, ever, without forgetting.
    count: u64,
    total: Mass,
    sum: Mass,
    squares: Mass,
}

impl Moments {
    /// Counts a request of `tokens` (1 or more) at `at`.
    pub fn add(&mut self, tokens: u64, at: Millis) {
        let log = (tokens.max(1) as f64).ln();
        let weight = Mass::weight(at);
        self.count += 1;
        self.total.add_weighted(weight);
        self.sum.add_weighted(log * weight);
        self.squares.add_weighted(log * log * weight);
    }

    /// Adds the requests that another instance counted.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total.merge(&other.total);
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// Requests counted, ever, without forgetting.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many requests are counted, as they weigh at `now`.
    pub fn mass(&self, now: Millis) -> f64 {
        self.total.at(now)
    }

    /// Mean and standard deviation of the natural logarithm of tokens; `None` when empty.
    pub fn mean_and_deviation(&self, now: Millis) -> Option<(f64, f64)> {
        let total = self.mass(now);
        if total <= 0.0 {
            return None;
        }
        let mean = self.sum.at(now) / total;
        let variance = (self.squares.at(now) / total - mean * mean).max(0.0);
        Some((mean, variance.sqrt()))
    }
}

/// What a request is for, as far as its size goes: twice hashed, with its model and without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Client, endpoint and model.
    pub full: u32,
    /// A hash of client and endpoint.
    pub any_model: u32,
}

impl Context {
    /// The context of a request.
    pub fn of(client: &str, endpoint: &str, model: Option<&str>) -> Self {
        // Stored profiles have the contexts of requests that name no client under an empty name.
        let client = if client == NO_CLIENT { "" } else { client };
        let use_of = stable_hash(client.as_bytes()) ^ stable_hash(endpoint.as_bytes()).rotate_left(17);
        let with_model = use_of ^ model.map_or(0, |name| stable_hash(name.as_bytes()).rotate_left(31));
        let fold = |hash: u64, kind: u32| (hash ^ (hash >> 32)) as u32 & !1 | kind;
        Self { full: fold(with_model, 1), any_model: fold(use_of, 0) }
    }
}

/// Moments per context: bounded, the lightest out first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Contexts(Rows<u32, Moments>);

impl Contexts {
    /// Counts a request of `tokens`, with its model and without.
    pub fn add(&mut self, context: Context, tokens: u64, at: Millis) {
        self.0.get_or_insert(context.full, Moments::default).add(tokens, at);
        self.0.get_or_insert(context.any_model, Moments::default).add(tokens, at);
        self.trim();
    }

    /// Adds the requests that another instance counted.
    pub fn merge(&mut self, other: &Self) {
        for (context, moments) in other.0.iter() {
            self.0.get_or_insert(*context, Moments::default).merge(moments);
        }
        self.trim();
    }

    fn trim(&mut self) {
        if self.0.len() <= CONTEXTS + SLACK {
            return;
        }
        let mut masses: Vec<(Mass, u32)> = self.0.iter().map(|(key, row)| (row.total, *key)).collect();
        masses.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        masses.truncate(self.0.len() - CONTEXTS);
        self.0.retain(|key, _| masses.iter().all(|(_, light)| light != key));
    }

    /// The moments of the narrowest context of which at least `samples` requests are known.
    pub fn narrowest(&self, context: Context, samples: u64) -> Option<&Moments> {
        let known = |key: u32| self.0.get(&key).filter(|row| row.count() >= samples);
        known(context.full).or_else(|| known(context.any_model))
    }

    /// Bytes that they take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_760_000_000_000;

    #[test]
    fn a_context_that_is_not_known_well_enough_is_looked_up_without_its_model() {
        let mut contexts = Contexts::default();
        let of = |model| Context::of("curl", "/v1/chat", Some(model));
        for _ in 0..10 {
            contexts.add(of("small"), 100, NOW);
        }
        contexts.add(of("large"), 9_000, NOW);
        let mean = |model| {
            let moments = contexts.narrowest(of(model), 10).unwrap();
            moments.mean_and_deviation(NOW).unwrap().0.exp().round() as u64
        };
        assert_eq!(mean("small"), 100);
        assert_eq!(mean("large"), 151, "the geometric mean of ten times 100 and once 9,000");
        assert!(contexts.narrowest(Context::of(NO_CLIENT, "/v1/chat", Some("small")), 10).is_none());
    }

    #[test]
    fn contexts_stay_few_and_the_heavy_ones_stay() {
        let mut contexts = Contexts::default();
        let heavy = Context::of("curl", "/v1/chat", Some("small"));
        for round in 0..5 {
            contexts.add(heavy, 100, NOW + round);
        }
        for n in 0..1_000 {
            contexts.add(Context::of(&format!("client-{n}"), "/v1/chat", None), 100, NOW);
        }
        assert!(contexts.len() <= CONTEXTS + SLACK + 1);
        assert_eq!(contexts.narrowest(heavy, 5).unwrap().count(), 5);
    }
}
