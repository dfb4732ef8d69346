//! What tokens cost. Prices are whole pico-dollars per token, which are micro-dollars per million tokens: a price of
//! 0.000001 USD per million is the smallest. A request's cost is the exact sum of its parts in pico-dollars, rounded
//! half up to the nano-dollar once, at the end; everything after that only adds.

use serde::{Deserialize, Serialize};

use super::Millis;

/// Decimal places of a price in USD per million tokens.
pub const PRICE_PLACES: usize = 6;
/// Highest price, in pico-dollars per token: 5,000 USD per million. The dearest model known cost 600.
pub const MAX_PRICE: u64 = 5_000_000_000;
/// Most tokens in any one field of a record.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// Pico-dollars in a nano-dollar.
const PICO: u128 = 1_000;

// Prompt and completion together at the highest price fit, so that no cost is ever cut off.
const _: () = assert!(2 * MAX_TOKENS as u128 * MAX_PRICE as u128 / PICO < u64::MAX as u128);

/// What one token costs, in pico-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// A token of the prompt.
    pub input: u64,
    /// A token of the prompt that came from a cache.
    pub cached_input: u64,
    /// A token of the answer.
    pub output: u64,
}

/// The tokens of a request by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Prompt, without what came from a cache.
    pub input: u64,
    /// Prompt that came from a cache.
    pub cached_input: u64,
    /// Tokens of the answer.
    pub output: u64,
}

/// What a record says about its tokens. Each is at most [`MAX_TOKENS`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Tokens of prompt and answer together.
    pub used: Option<u64>,
    /// Tokens of the prompt, those from a cache included.
    pub prompt: Option<u64>,
    /// Tokens of the answer.
    pub completion: Option<u64>,
    /// Prompt from a cache.
    pub cached: Option<u64>,
}

impl Tokens {
    /// Tells prompt and answer apart. What `used` has beyond the two is answer where the prompt is known (reasoning,
    /// or simply all that is left), and prompt where it is not. `None`: more came from the cache than was asked.
    pub fn of(told: Told) -> Option<Self> {
        let (prompt, output) = (told.prompt.unwrap_or(0), told.completion.unwrap_or(0));
        let rest = told.used.unwrap_or(0).saturating_sub(prompt.saturating_add(output));
        let (prompt, output) = match told.prompt {
            Some(prompt) => (prompt, output.saturating_add(rest)),
            None => (rest, output),
        };
        let cached_input = told.cached.unwrap_or(0);
        Some(Self { input: prompt.checked_sub(cached_input)?, cached_input, output })
    }
}

impl Price {
    /// The same price for every token.
    pub fn flat(pico: u64) -> Self {
        Self { input: pico, cached_input: pico, output: pico }
    }

    /// The cost in nano-dollars, rounded half up once.
    pub fn nanos(&self, tokens: &Tokens) -> u64 {
        let part = |price: u64, tokens: u64| u128::from(price) * u128::from(tokens);
        let pico = part(self.input, tokens.input)
            + part(self.cached_input, tokens.cached_input)
            + part(self.output, tokens.output);
        // Within the bounds of prices and tokens it always fits.
        u64::try_from((pico + PICO / 2) / PICO).unwrap_or(u64::MAX)
    }
}

/// The prices of a model over time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline(Vec<(Millis, Price)>);

impl Timeline {
    /// Prices with the moment from which each holds, until the next; in any order.
    pub fn new(mut prices: Vec<(Millis, Price)>) -> Self {
        prices.sort_by_key(|(from, _)| *from);
        Self(prices)
    }

    /// The price at a moment; `None` before the first.
    pub fn at(&self, time: Millis) -> Option<&Price> {
        let begun = self.0.partition_point(|(from, _)| *from <= time);
        self.0.get(begun.checked_sub(1)?).map(|(_, price)| price)
    }

    /// Several as one, the best first: at any moment, the price of the first that has one then.
    pub fn merged(best_first: &[&Self]) -> Self {
        let mut starts: Vec<Millis> =
            best_first.iter().flat_map(|t| t.0.iter().map(|(from, _)| *from)).collect();
        starts.sort_unstable();
        starts.dedup();
        let at = |time| best_first.iter().find_map(|timeline| timeline.at(time));
        Self(starts.into_iter().filter_map(|from| Some((from, *at(from)?))).collect())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(
        used: impl Into<Option<u64>>,
        split: (Option<u64>, Option<u64>),
        cached: Option<u64>,
    ) -> Option<Tokens> {
        Tokens::of(Told { used: used.into(), prompt: split.0, completion: split.1, cached })
    }

    fn tokens(input: u64, cached_input: u64, output: u64) -> Option<Tokens> {
        Some(Tokens { input, cached_input, output })
    }

    #[test]
    fn tokens_are_told_apart_as_far_as_the_record_does() {
        assert_eq!(told(None, (Some(812), Some(120)), None), tokens(812, 0, 120));
        assert_eq!(told(932, (Some(812), Some(120)), Some(800)), tokens(12, 800, 120));
        assert_eq!(told(932, (None, None), None), tokens(932, 0, 0));
        assert_eq!(told(932, (None, None), Some(32)), tokens(900, 32, 0));
        assert_eq!(told(932, (Some(812), None), None), tokens(812, 0, 120), "the rest is the answer");
        assert_eq!(told(932, (None, Some(120)), None), tokens(812, 0, 120), "the rest is the prompt");
        assert_eq!(told(1000, (Some(812), Some(120)), None), tokens(812, 0, 188), "reasoning is answer");
        assert_eq!(told(5, (Some(812), Some(120)), None), tokens(812, 0, 120), "the parts count");
        assert_eq!(told(None, (None, None), None), tokens(0, 0, 0));
        assert_eq!(told(None, (Some(812), None), Some(813)), None);
        assert_eq!(told(None, (None, None), Some(1)), None);
    }

    #[test]
    fn a_cost_is_rounded_half_up_once() {
        let price = Price { input: 8_000_000, cached_input: 2_000_000, output: 1 };
        assert_eq!(price.nanos(&tokens(812, 0, 0).unwrap()), 812 * 8_000);
        assert_eq!(price.nanos(&tokens(812, 100, 0).unwrap()), 812 * 8_000 + 100 * 2_000);
        assert_eq!(price.nanos(&tokens(0, 0, 499).unwrap()), 0);
        assert_eq!(price.nanos(&tokens(0, 0, 500).unwrap()), 1);
        let tiny = Price { input: 300, cached_input: 300, output: 300 };
        assert_eq!(tiny.nanos(&tokens(1, 1, 1).unwrap()), 1, "0.9 of a nano-dollar, not three times 0.3");
        let most = told(MAX_TOKENS, (Some(MAX_TOKENS), Some(MAX_TOKENS)), None).unwrap();
        assert_eq!(Price::flat(MAX_PRICE).nanos(&most), 10_000_000_000 * 1_000_000_000);
    }

    #[test]
    fn a_price_holds_from_its_moment_until_the_next() {
        let timeline = Timeline::new(vec![(200, Price::flat(2)), (100, Price::flat(1))]);
        assert_eq!(timeline.at(99), None);
        assert_eq!(timeline.at(100), Some(&Price::flat(1)));
        assert_eq!(timeline.at(199), Some(&Price::flat(1)));
        assert_eq!(timeline.at(Millis::MAX), Some(&Price::flat(2)));
        assert_eq!(Timeline::default().at(0), None);
    }

    #[test]
    fn of_several_timelines_the_best_that_has_begun_counts() {
        let best = Timeline::new(vec![(200, Price::flat(1))]);
        let next = Timeline::new(vec![(100, Price::flat(2)), (300, Price::flat(3))]);
        let merged = Timeline::merged(&[&best, &next]);
        let prices = [99, 100, 199, 200, 300].map(|time| merged.at(time).map(|p| p.input));
        assert_eq!(prices, [None, Some(2), Some(2), Some(1), Some(1)]);
    }

    /// The same by long division of decimals, digit by digit, without a word of the code above.
    fn oracle(price: &Price, tokens: &Tokens) -> u64 {
        let mut pico = 0_u128;
        for (price, tokens) in [
            (price.input, tokens.input),
            (price.cached_input, tokens.cached_input),
            (price.output, tokens.output),
        ] {
            // Russian peasants' multiplication.
            let (mut double, mut left) = (u128::from(price), tokens);
            while left > 0 {
                pico += if left & 1 == 1 { double } else { 0 };
                (double, left) = (double * 2, left / 2);
            }
        }
        let (whole, rest) = (pico / 1000, pico % 1000);
        u64::try_from(if rest >= 500 { whole + 1 } else { whole }).unwrap()
    }

    fn any_price() -> impl Strategy<Value = Price> {
        let pico = || prop_oneof![0..=2_000_u64, 0..=MAX_PRICE];
        (pico(), pico(), pico()).prop_map(|(input, cached_input, output)| Price {
            input,
            cached_input,
            output,
        })
    }

    fn any_told() -> impl Strategy<Value = Told> {
        let count = || prop::option::of(prop_oneof![0..=5_000_u64, 0..=MAX_TOKENS]);
        (count(), count(), count(), count()).prop_map(|(used, prompt, completion, cached)| Told {
            used,
            prompt,
            completion,
            cached,
        })
    }

    proptest! {
        #[test]
        fn two_ways_to_a_cost_agree_and_none_is_cut_off(price in any_price(), told in any_told()) {
            if let Some(tokens) = Tokens::of(told) {
                prop_assert_eq!(price.nanos(&tokens), oracle(&price, &tokens));
                prop_assert!(price.nanos(&tokens) < u64::MAX);
            }
        }

        #[test]
        fn no_token_is_lost_and_none_made(told in any_told()) {
            if let Some(tokens) = Tokens::of(told) {
                let parts = told.prompt.unwrap_or(0) + told.completion.unwrap_or(0);
                let all = tokens.input + tokens.cached_input + tokens.output;
                prop_assert_eq!(all, told.used.unwrap_or(0).max(parts));
            }
        }

        #[test]
        fn a_merged_timeline_is_the_first_that_answers(
            starts in prop::collection::vec(prop::collection::vec(0..50_i64, 0..4), 0..4), time in -1..51_i64,
        ) {
            let price = |n: usize, from: &Millis| (*from, Price::flat(1_000 * n as u64 + *from as u64));
            let unique = |starts: &Vec<Millis>| starts.iter().copied().collect::<std::collections::BTreeSet<_>>();
            let all: Vec<Timeline> = starts.iter().enumerate()
                .map(|(n, starts)| Timeline::new(unique(starts).iter().map(|from| price(n, from)).collect()))
                .collect();
            let all: Vec<&Timeline> = all.iter().collect();
            let merged = Timeline::merged(&all);
            prop_assert_eq!(merged.at(time), all.iter().find_map(|t| t.at(time)));
        }
    }
}
