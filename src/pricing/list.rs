//! Which prices a name has. A name fits itself, then an alias, then patterns, the longest first; of these the first
//! that has a price at the moment counts.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use crate::domain::{
    Millis,
    model::ModelName,
    price::{Cost, Price, Timeline, Tokens},
};

/// A name with its prices.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: ModelName,
    /// Whether it is another name for a model of the list.
    pub alias: bool,
    pub prices: Arc<Timeline>,
}

impl Entry {
    /// The lower, the better a fit it is.
    fn rank(&self) -> impl Ord + '_ {
        let (text, pattern) = (self.name.text(), self.name.is_pattern());
        let length = if pattern { text.len() } else { usize::MAX };
        (Reverse(length), if pattern { text } else { "" }, self.alias)
    }
}

/// Prices of models, by name and pattern.
#[derive(Debug)]
pub struct PriceList {
    /// Names without a pattern, with all that fits them merged.
    exact: HashMap<Box<str>, Arc<Timeline>>,
    /// The others, the best first.
    patterns: Vec<Entry>,
    fallback: Price,
    /// How many models have prices of their own.
    models: usize,
}

impl PriceList {
    pub(super) fn new(mut entries: Vec<Entry>, fallback: Price) -> Self {
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let models = entries.iter().filter(|entry| !entry.alias).count();
        let exact = |entry: &&Entry| !entry.name.is_pattern();
        let exact = entries
            .iter()
            .filter(exact)
            .map(|entry| (entry.name.text().into(), merged(&entries, entry.name.text())))
            .collect();
        let patterns = entries.into_iter().filter(|entry| entry.name.is_pattern()).collect();
        Self { exact, patterns, fallback, models }
    }

    /// The prices of a model that is in the list by its name or an alias.
    pub(super) fn named(&self, model: &str) -> Option<&Timeline> {
        self.exact.get(model).map(|timeline| &**timeline)
    }

    /// The prices of a model by the patterns that it fits; empty when none does.
    pub(super) fn by_pattern(&self, model: &str) -> Arc<Timeline> {
        merged(&self.patterns, model)
    }

    /// What tokens cost at a moment by these prices, or else at the fallback.
    pub(super) fn cost_by(&self, prices: &Timeline, time: Millis, tokens: &Tokens) -> Cost {
        let price = prices.at(time);
        Cost { nanos: price.unwrap_or(&self.fallback).nanos(tokens), fallback: price.is_none() }
    }

    /// What tokens of a model cost at a moment.
    pub fn cost(&self, model: &str, time: Millis, tokens: &Tokens) -> Cost {
        match self.named(model) {
            Some(prices) => self.cost_by(prices, time, tokens),
            None => self.cost_by(&self.by_pattern(model), time, tokens),
        }
    }

    /// How many models (or patterns) have prices of their own.
    pub fn models(&self) -> usize {
        self.models
    }
}

/// The prices of every entry that fits, which are in order of their fit.
fn merged(best_first: &[Entry], model: &str) -> Arc<Timeline> {
    let fitting: Vec<&Timeline> =
        best_first.iter().filter(|e| e.name.fits(model)).map(|e| &*e.prices).collect();
    Arc::new(Timeline::merged(&fitting))
}
