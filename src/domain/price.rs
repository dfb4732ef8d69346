//! What a request costs. Prices are whole femto-dollars: of a token or character, which is nine decimal places of USD
//! per million of them; of a request, image or second, fifteen decimal places of USD. A request's cost is the exact sum
//! of its parts, rounded half up to the nano-dollar once, at the end; everything after that only adds.

mod quantities;
#[cfg(test)]
mod tests;
mod timeline;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::money::shortest;

pub use quantities::{
    Excess, MAX_CHARACTERS, MAX_IMAGES, MAX_SECONDS, MAX_TOKENS, Quantities, ReportedTokens, Tokens,
};
pub use timeline::Timeline;

/// Decimal places of a price in USD per million tokens or characters.
pub const PRICE_PLACES: usize = 9;
/// Highest price of a token or character, in femto-dollars: 5,000 USD per million. The dearest model known cost 600.
pub const MAX_PRICE: u64 = 5_000_000_000_000;
/// Decimal places of a price in USD per request, image or second.
pub const EACH_PLACES: usize = 15;
/// Highest price of a request, image or second, in femto-dollars: 1,000 USD.
pub const MAX_EACH: u64 = 1_000_000_000_000_000_000;
/// Seconds are counted in thousandths, so the sum is in thousandths of a femto-dollar: so many are a nano-dollar.
const PER_NANO: u128 = 1_000_000_000;

// The largest request at the highest prices fits, so that no cost is ever cut off.
const _: () = {
    let counted = (2 * MAX_TOKENS as u128 + MAX_CHARACTERS as u128) * MAX_PRICE as u128;
    let each = (1 + MAX_IMAGES as u128 + MAX_SECONDS as u128) * MAX_EACH as u128;
    assert!((counted + each) * 1_000 / PER_NANO < u64::MAX as u128);
};

/// How many parts a price has.
const PARTS: usize = 10;

/// What a price is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A token of the prompt.
    Input,
    /// A token of the prompt that came from a cache.
    CachedInput,
    /// A token of the prompt that was written to a cache for five minutes.
    CacheWrite5m,
    /// A token of the prompt that was written to a cache for an hour.
    CacheWrite1h,
    /// A token of the answer.
    Output,
    /// A token of the answer that was spent on reasoning.
    Reasoning,
    /// The request itself.
    Request,
    /// An image.
    Image,
    /// A second of sound or film.
    Second,
    /// A character of text.
    Character,
}

impl Part {
    /// Every part, in the order in which rates hold them.
    pub const ALL: [Self; PARTS] = [
        Self::Input,
        Self::CachedInput,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::Output,
        Self::Reasoning,
        Self::Request,
        Self::Image,
        Self::Second,
        Self::Character,
    ];

    /// The name in price lists and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::Request => "per_request",
            Self::Image => "per_image",
            Self::Second => "per_second",
            Self::Character => "per_million_characters",
        }
    }

    /// Whether its price is of a million; else it is of one.
    pub fn is_per_million(self) -> bool {
        !matches!(self, Self::Request | Self::Image | Self::Second)
    }

    /// Decimal places of its price, as it is written.
    pub fn places(self) -> usize {
        if self.is_per_million() { PRICE_PLACES } else { EACH_PLACES }
    }

    /// A price in femto-dollars of one, as it is written: in US dollars of a million, or of one.
    pub fn written(self, femto: u64) -> String {
        shortest(femto, self.places())
    }

    /// Its highest price, in femto-dollars of one.
    pub fn most(self) -> u64 {
        if self.is_per_million() { MAX_PRICE } else { MAX_EACH }
    }

    /// The part whose price it has where it has none of its own; `None`: then it costs nothing.
    fn like(self) -> Option<Self> {
        match self {
            Self::CachedInput | Self::CacheWrite5m => Some(Self::Input),
            Self::CacheWrite1h => Some(Self::CacheWrite5m),
            Self::Reasoning => Some(Self::Output),
            _ => None,
        }
    }
}

/// What a provider calls the urgency of a request, where its price depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// Answered within a day.
    Batch,
    /// Answered when there is room.
    Flex,
    /// Answered before the others.
    Priority,
}

impl ServiceTier {
    /// Every service tier that may have prices of its own.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Flex, Self::Priority];

    /// The name in price lists, records and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

/// Prices as they are written: those that are left out are like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GivenRates([Option<u64>; PARTS]);

impl GivenRates {
    /// The price of a part in femto-dollars of one, where it is written.
    pub fn get(&self, part: Part) -> Option<u64> {
        self.0[part as usize]
    }

    /// Writes the price of a part, in femto-dollars of one.
    pub fn set(&mut self, part: Part, femto: u64) {
        self.0[part as usize] = Some(femto);
    }

    /// Whether no price is written.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// These where they are written, those below elsewhere. A new price of answers is also that of reasoning.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut merged = *below;
        if self.get(Part::Output).is_some() {
            merged.0[Part::Reasoning as usize] = None;
        }
        for part in Part::ALL {
            merged.0[part as usize] = self.get(part).or(merged.get(part));
        }
        merged
    }

    /// The price of every part.
    pub fn rates(&self) -> Rates {
        let price = |part: Part| {
            let mut from = Some(part);
            while let Some(like) = from.filter(|like| self.get(*like).is_none()) {
                from = like.like();
            }
            from.and_then(|part| self.get(part)).unwrap_or(0)
        };
        Rates(Part::ALL.map(price))
    }
}

/// The price of every part, in femto-dollars of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates([u64; PARTS]);

impl Rates {
    /// The price of a part, in femto-dollars of one.
    pub fn get(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    /// The same, with answers at the price of reasoning where that is dearer.
    fn with_dearest_answer(&self) -> Self {
        let mut rates = *self;
        let answer = Part::Output as usize;
        rates.0[answer] = self.get(Part::Output).max(self.get(Part::Reasoning));
        rates
    }

    /// What a request costs by these, in nano-dollars, rounded half up once.
    fn nanos(&self, used: &Quantities) -> u64 {
        let cost = |part: Part| u128::from(self.get(part)) * u128::from(used.thousandths(part));
        let sum: u128 = Part::ALL.map(cost).iter().sum();
        // Within the bounds of prices and quantities it always fits.
        u64::try_from((sum + PER_NANO / 2) / PER_NANO).unwrap_or(u64::MAX)
    }
}

/// Prices that depend on how long the prompt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// For prompts that are longer than no tier says.
    pub base: Rates,
    /// For longer prompts: the number of tokens that they are above, and the prices of the whole request; rising.
    pub tiers: Box<[(u64, Rates)]>,
}

/// Prices and those for longer prompts, as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenSchedule {
    /// For every prompt.
    pub base: GivenRates,
    /// What differs for prompts above a number of tokens; rising.
    pub tiers: Vec<(u64, GivenRates)>,
}

impl GivenSchedule {
    fn schedule(&self) -> Schedule {
        self.over(&Self::default())
    }

    /// What a service tier that is written so costs, where `standard` is written of every request: the standard's
    /// prices, then its own, then the standard's for the length of the prompt, then its own for that length.
    fn over(&self, standard: &Self) -> Schedule {
        let mut starts: Vec<u64> =
            self.tiers.iter().chain(&standard.tiers).map(|(above, _)| *above).collect();
        starts.sort_unstable();
        starts.dedup();
        let at = |above: u64| {
            let reached = |tiers: &[(u64, GivenRates)], rates: GivenRates| {
                let reached = tiers.iter().filter(|(start, _)| *start <= above);
                reached.fold(rates, |rates, (_, tier)| tier.over(&rates))
            };
            let base = self.base.over(&standard.base);
            reached(&self.tiers, reached(&standard.tiers, base)).rates()
        };
        let base = self.base.over(&standard.base).rates();
        Schedule { base, tiers: starts.into_iter().map(|above| (above, at(above))).collect() }
    }
}

impl Schedule {
    /// The prices for a prompt of so many tokens.
    fn rates(&self, prompt: u64) -> &Rates {
        let reached = self.tiers.iter().rev().find(|(above, _)| prompt > *above);
        reached.map_or(&self.base, |(_, rates)| rates)
    }
}

/// What requests to a model cost.
#[derive(Clone, PartialEq, Eq)]
pub struct Price {
    standard: Schedule,
    services: [Option<Schedule>; 3],
}

impl Price {
    /// A price of what is written: for every request, and for those of a service tier.
    pub fn new(standard: &GivenSchedule, services: &[(ServiceTier, GivenSchedule)]) -> Self {
        let service = |tier: ServiceTier| {
            let given = services.iter().find(|(of, _)| *of == tier);
            given.map(|(_, schedule)| schedule.over(standard))
        };
        Self { standard: standard.schedule(), services: ServiceTier::ALL.map(service) }
    }

    /// The prices of requests without a service tier.
    pub fn standard(&self) -> &Schedule {
        &self.standard
    }

    /// The prices of a service tier, where it has its own.
    pub fn service(&self, tier: ServiceTier) -> Option<&Schedule> {
        self.services[tier as usize].as_ref()
    }

    /// What a request costs, in nano-dollars, rounded half up once.
    pub fn nanos(&self, used: &Quantities) -> u64 {
        self.schedule(used).rates(used.tokens.prompt()).nanos(used)
    }

    /// The most that a request of an estimate can cost, in nano-dollars: all of its answer may be reasoning, where that
    /// is dearer. `either`: so many of its tokens may be of the prompt or of the answer, in any parts.
    pub fn most_nanos(&self, used: &Quantities, either: Option<u64>) -> u64 {
        let schedule = self.schedule(used);
        let Some(tokens) = either else {
            return schedule.rates(used.tokens.prompt()).with_dearest_answer().nanos(used);
        };
        let reachable = schedule.tiers.iter().filter(|(above, _)| tokens > *above).map(|(_, rates)| rates);
        let most = |rates: &Rates| {
            let rates = rates.with_dearest_answer();
            used.of_one_kind(tokens).map(|used| rates.nanos(&used)).into_iter().max().unwrap_or(0)
        };
        [&schedule.base].into_iter().chain(reachable).map(most).max().unwrap_or(0)
    }

    fn schedule(&self, used: &Quantities) -> &Schedule {
        used.service_tier.and_then(|tier| self.service(tier)).unwrap_or(&self.standard)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Price").field("standard", &self.standard.base).finish_non_exhaustive()
    }
}

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// The cost in whole nano-dollars.
    pub nanos: u64,
    /// Its model has no price; the fallback was used.
    pub fallback: bool,
}
