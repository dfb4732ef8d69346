//! Which prices a name has. A name fits itself, then an alias, then patterns, the longest first; of these the first that
//! has a price at the moment counts.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use globset::{Glob, GlobMatcher};

use crate::domain::{
    Millis,
    price::{Cost, Price, Timeline, Tokens},
};

/// What makes a name a pattern.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// A name in the list.
#[derive(Debug)]
pub(super) enum Name {
    /// One model.
    Exact,
    /// Every model that fits.
    Pattern(GlobMatcher),
}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains(SPECIAL) {
            return Ok(Self::Exact);
        }
        let glob = Glob::new(text).map_err(|error| error.kind().to_string())?;
        Ok(Self::Pattern(glob.compile_matcher()))
    }
}

/// A name with its prices.
#[derive(Debug)]
pub(super) struct Entry {
    pub text: String,
    pub name: Name,
    /// Whether it is another name for a model of the list.
    pub alias: bool,
    pub prices: Arc<Timeline>,
}

impl Entry {
    fn fits(&self, model: &str) -> bool {
        match &self.name {
            Name::Exact => self.text == model,
            Name::Pattern(glob) => glob.is_match(model),
        }
    }

    /// The lower, the better a fit it is.
    fn rank(&self) -> impl Ord + '_ {
        let length = match self.name {
            Name::Exact => usize::MAX,
            Name::Pattern(_) => self.text.len(),
        };
        (Reverse(length), if length == usize::MAX { "" } else { &self.text }, self.alias)
    }
}

/// Prices of models.
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
        let exact = |entry: &&Entry| matches!(entry.name, Name::Exact);
        let exact = entries
            .iter()
            .filter(exact)
            .map(|entry| (entry.text.as_str().into(), merged(&entries, &entry.text)))
            .collect();
        let patterns = entries.into_iter().filter(|entry| !matches!(entry.name, Name::Exact)).collect();
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
    let fitting: Vec<&Timeline> = best_first.iter().filter(|e| e.fits(model)).map(|e| &*e.prices).collect();
    Arc::new(Timeline::merged(&fitting))
}
