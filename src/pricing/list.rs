//! Which prices a name has, and why.
//!
//! A name fits itself, then an alias; then patterns that are about its prefix or date; then listed names of the same
//! model, those nearest to it first; then the other patterns, the longest first. Of these the first that has a price at
//! the moment counts.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::domain::{
    Millis,
    model::{ModelIdentity, ModelName, bare, forms, rank, unprefixed},
    price::{Cost, Price, Quantities, Timeline},
};

/// A name with its prices.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub name: ModelName,
    /// The model whose prices these are, as the list has it: the same name, but for an alias.
    pub model: Arc<str>,
    /// Whether it is another name for a model of the list.
    pub is_alias: bool,
    pub prices: Arc<Timeline>,
}

impl Entry {
    /// The lower, the better a fit a pattern is.
    fn pattern_rank(&self) -> impl Ord + '_ {
        (Reverse(self.name.text().len()), self.name.text(), self.is_alias)
    }
}

/// Why a name has a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// The list has the name.
    Name,
    /// The list has it as an alias.
    Alias,
    /// The list has it with another prefix of a provider, or without one.
    ProviderPrefix,
    /// It is a snapshot of a model in the list (or its undated name), with the same prefix or not.
    Snapshot {
        /// The model in the list.
        of: Arc<str>,
        /// The prefix of a provider differs, too.
        prefix_differs: bool,
    },
    /// It fits a pattern of the list.
    Pattern(Arc<str>),
    /// Nothing in the list fits.
    Fallback,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name"),
            Self::Alias => f.write_str("alias"),
            Self::ProviderPrefix => f.write_str("provider prefix"),
            Self::Snapshot { of, prefix_differs: false } => write!(f, "snapshot of {of}"),
            Self::Snapshot { of, prefix_differs: true } => write!(f, "provider prefix, snapshot of {of}"),
            Self::Pattern(pattern) => write!(f, "pattern {pattern}"),
            Self::Fallback => f.write_str("fallback"),
        }
    }
}

/// The price of a name at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The model whose price it is, as the list has it; `None`: the fallback.
    pub priced_as: Option<Arc<str>>,
    /// The model that limits and usage count it as; `None`: nothing in the list fits.
    pub identity: Option<Arc<ModelIdentity>>,
    /// Why this price and no other.
    pub because: Because,
    /// Since when it holds; `Millis::MIN`: always.
    pub from: Millis,
    /// The price itself.
    pub price: Arc<Price>,
}

/// What is remembered of a name that was asked about.
#[derive(Debug)]
pub struct PricedModel {
    prices: Timeline,
    fallback: Arc<Price>,
    identity: Option<Arc<ModelIdentity>>,
    is_known_to_cost_the_fallback: AtomicBool,
}

impl PricedModel {
    /// Whether nobody was told yet that it has no price.
    pub(super) fn is_news(&self) -> bool {
        let is_known = &self.is_known_to_cost_the_fallback;
        !is_known.load(Ordering::Relaxed) && !is_known.swap(true, Ordering::Relaxed)
    }

    /// The model that limits and usage count it as; `None`: nothing in the list fits.
    pub fn identity(&self) -> Option<&Arc<ModelIdentity>> {
        self.identity.as_ref()
    }

    /// What a request to it costs at a moment.
    pub fn cost(&self, time: Millis, used: &Quantities) -> Cost {
        let price = self.prices.at(time);
        Cost { nanos: price.unwrap_or(&self.fallback).nanos(used), fallback: price.is_none() }
    }

    /// The most that a request of an estimate can cost at a moment ([`Price::most_nanos`]).
    pub fn most_cost(&self, time: Millis, used: &Quantities, either: Option<u64>) -> Cost {
        let price = self.prices.at(time);
        Cost { nanos: price.unwrap_or(&self.fallback).most_nanos(used, either), fallback: price.is_none() }
    }
}

/// Prices of models, by name and pattern.
#[derive(Debug)]
pub struct PriceList {
    /// Entries of each name without a pattern: the model's own, then an alias.
    exact: HashMap<Box<str>, Vec<Entry>>,
    /// The listed name that stands for each bare one.
    by_bare: HashMap<Box<str>, Box<str>>,
    /// Aliases of each model, by its bare name.
    aliases: HashMap<Box<str>, Vec<Box<str>>>,
    /// The others, the best first.
    patterns: Vec<Entry>,
    fallback: Arc<Price>,
    /// How many models (or patterns) have prices of their own.
    models: usize,
}

impl PriceList {
    pub(super) fn new(entries: Vec<Entry>, fallback: Arc<Price>) -> Self {
        let models = entries.iter().filter(|entry| !entry.is_alias).count();
        let (mut patterns, exact): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.name.is_pattern());
        patterns.sort_by(|a, b| a.pattern_rank().cmp(&b.pattern_rank()));
        let (by_bare, aliases) = (stand_for(&exact), aliases(&exact));
        let mut by_name: HashMap<Box<str>, Vec<Entry>> = HashMap::with_capacity(exact.len());
        for entry in exact {
            let of_name = by_name.entry(entry.name.text().into()).or_default();
            of_name.push(entry);
            of_name.sort_by_key(|entry| entry.is_alias);
        }
        Self { exact: by_name, by_bare, aliases, patterns, fallback, models }
    }

    /// Everything that a name fits, the best first.
    fn fits(&self, model: &str) -> Vec<&Entry> {
        let entries = |name: &str| self.exact.get(name).map(Vec::as_slice).unwrap_or_default();
        let forms = forms(model);
        let plainest = forms.last().copied().unwrap_or(model);
        let relative = self.by_bare.get(plainest).filter(|name| !forms.contains(&&***name));
        let plainer = forms.iter().skip(1).copied().chain(relative.map(|name| &**name));
        let related: Vec<&Entry> = plainer.flat_map(entries).collect();
        let about_this = |pattern: &&Entry| {
            let is_broader = |entry: &&Entry| pattern.name.fits(entry.name.text());
            pattern.name.fits(model) && !related.first().is_none_or(is_broader)
        };
        let broad = forms.iter().flat_map(|form| self.patterns.iter().filter(move |p| p.name.fits(form)));
        let mut fits: Vec<&Entry> = entries(model).iter().collect();
        fits.extend(self.patterns.iter().filter(about_this));
        fits.extend(&related);
        fits.extend(broad);
        fits
    }

    /// What the list knows about a name, to be remembered.
    pub(super) fn find(&self, model: &str) -> PricedModel {
        let fits = self.fits(model);
        let timelines: Vec<&Timeline> = fits.iter().map(|entry| &*entry.prices).collect();
        PricedModel {
            prices: Timeline::merged(&timelines),
            fallback: self.fallback.clone(),
            identity: fits.first().map(|entry| self.identity(entry, model)),
            is_known_to_cost_the_fallback: AtomicBool::new(false),
        }
    }

    /// The price of a name at a moment, and why.
    pub fn choose(&self, model: &str, time: Millis) -> Chosen {
        let fits = self.fits(model);
        let identity = fits.first().map(|entry| self.identity(entry, model));
        let chosen = fits.iter().find_map(|entry| Some((entry, entry.prices.since(time)?)));
        let (priced_as, because, (from, price)) = match chosen {
            Some((entry, since)) => (Some(entry.model.clone()), entry.because(model), since),
            None => (None, Because::Fallback, (Millis::MIN, &self.fallback)),
        };
        Chosen { priced_as, identity, because, from, price: price.clone() }
    }

    fn identity(&self, entry: &Entry, model: &str) -> Arc<ModelIdentity> {
        let name = if entry.leads_to_one() { bare(&entry.model) } else { bare(model) };
        let aliases = self.aliases.get(name).map(Vec::as_slice).unwrap_or_default();
        Arc::new(ModelIdentity { name: name.into(), aliases: aliases.into() })
    }

    /// What a request to a model costs at a moment.
    pub fn cost(&self, model: &str, time: Millis, used: &Quantities) -> Cost {
        self.find(model).cost(time, used)
    }

    /// How many models (or patterns) have prices of their own.
    pub fn models(&self) -> usize {
        self.models
    }
}

impl Entry {
    /// Whether whatever fits it is the same one model.
    fn leads_to_one(&self) -> bool {
        let is_pattern = self.name.is_pattern() && *self.model == *self.name.text();
        !is_pattern && ModelName::parse(&self.model).is_ok_and(|model| !model.is_pattern())
    }

    /// Why a name that fits it has its price.
    fn because(&self, model: &str) -> Because {
        let Self { name, model: listed, is_alias, .. } = self;
        if name.is_pattern() {
            return Because::Pattern(name.text().into());
        }
        if name.text() == model {
            return if *is_alias { Because::Alias } else { Because::Name };
        }
        let (ours, theirs) = (unprefixed(model), unprefixed(name.text()));
        if ours == theirs {
            return Because::ProviderPrefix;
        }
        let prefix_differs = model.strip_suffix(ours) != name.text().strip_suffix(theirs);
        Because::Snapshot { of: listed.clone(), prefix_differs }
    }
}

/// For each bare name, the listed name that stands for it.
fn stand_for(exact: &[Entry]) -> HashMap<Box<str>, Box<str>> {
    let mut best: HashMap<Box<str>, &str> = HashMap::new();
    for name in exact.iter().map(|entry| entry.name.text()) {
        let held = best.entry(bare(name).into()).or_insert(name);
        if rank(name) < rank(held) {
            *held = name;
        }
    }
    best.into_iter().map(|(bare, name)| (bare, name.into())).collect()
}

/// For each bare name, the aliases that lead to a model of it.
fn aliases(exact: &[Entry]) -> HashMap<Box<str>, Vec<Box<str>>> {
    let mut aliases: HashMap<Box<str>, Vec<Box<str>>> = HashMap::new();
    for entry in exact.iter().filter(|entry| entry.is_alias) {
        aliases.entry(bare(&entry.model).into()).or_default().push(entry.name.text().into());
    }
    aliases
}
