//! What a provider bills, held against what the ledger counted: per day, model and key, and whether the difference is
//! more than may be.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    Millis,
    money::{NANO_PLACES, Usd, decimal},
};

/// A day of UTC, a model and a key, as far as they are told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// When the day begins, in milliseconds.
    pub day: Millis,
    /// The model; `None` where none is named.
    pub model: Option<Arc<str>>,
    /// The public id of the key; `None` where none is named.
    pub key: Option<Arc<str>>,
}

/// What was used in one place, or in many together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// What it cost, in nano-dollars.
    pub nanos: u64,
    /// Tokens of prompts and answers together.
    pub tokens: u64,
}

impl Amounts {
    /// The sum of both; at most what fits.
    pub fn plus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// By what ledger and bill are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// What it cost.
    Cost,
    /// Tokens: the bill names no costs.
    Tokens,
}

/// How far ledger and bill may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// Parts of a million of the larger of both.
    Share(u64),
    /// Nano-dollars.
    Nanos(u64),
}

/// Parts of a threshold's whole.
const MILLION: u128 = 1_000_000;
/// Decimal places of a percentage in parts of a million.
const PERCENT_PLACES: usize = 4;

impl Threshold {
    /// Reads `1%` (0 to 100) or an amount in US dollars such as `0.50`; `None` of anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let share = decimal(percent.trim(), PERCENT_PLACES).ok()?.units;
                (u128::from(share) <= MILLION).then_some(Self::Share(share))
            }
            None => Some(Self::Nanos(decimal(text.trim(), NANO_PLACES).ok()?.units)),
        }
    }

    /// Whether two amounts differ by more.
    fn is_below_difference(self, of: u64, and: u64) -> bool {
        let difference = of.abs_diff(and);
        match self {
            Self::Share(share) => {
                u128::from(difference) * MILLION > u128::from(of.max(and)) * u128::from(share)
            }
            Self::Nanos(nanos) => difference > nanos,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{}%", super::money::shortest(*share, PERCENT_PLACES)),
            Self::Nanos(nanos) => write!(f, "{} USD", Usd(*nanos)),
        }
    }
}

/// Ledger and bill of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Where.
    pub place: Place,
    /// What the ledger counted; nothing where it counted nothing.
    pub ledger: Amounts,
    /// What is billed; nothing where nothing is.
    pub bill: Amounts,
    /// Whether they differ by more than the threshold.
    pub exceeds: bool,
}

impl Compared {
    /// By how much they differ.
    pub fn difference(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Cost => self.ledger.nanos.abs_diff(self.bill.nanos),
            Measure::Tokens => self.ledger.tokens.abs_diff(self.bill.tokens),
        }
    }
}

/// Ledger and bill of every place that either of them names, in the order of days, models and keys.
pub fn compare(
    ledger: &BTreeMap<Place, Amounts>,
    bill: &BTreeMap<Place, Amounts>,
    measure: Measure,
    threshold: Threshold,
) -> Vec<Compared> {
    let mut places: Vec<&Place> = ledger.keys().chain(bill.keys()).collect();
    places.sort();
    places.dedup();
    let of = |amounts: &BTreeMap<Place, Amounts>, place| amounts.get(place).copied().unwrap_or_default();
    let compared = places.into_iter().map(|place| {
        let (ledger, bill) = (of(ledger, place), of(bill, place));
        let exceeds = match measure {
            Measure::Cost => threshold.is_below_difference(ledger.nanos, bill.nanos),
            Measure::Tokens => threshold.is_below_difference(ledger.tokens, bill.tokens),
        };
        Compared { place: place.clone(), ledger, bill, exceeds }
    });
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(Millis, &str, u64)]) -> BTreeMap<Place, Amounts> {
        let line = |(day, model, nanos): &(Millis, &str, u64)| {
            let place = Place { day: *day, model: Some((*model).into()), key: None };
            (place, Amounts { nanos: *nanos, tokens: nanos / 10 })
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_threshold_is_a_percentage_or_an_amount_and_nothing_else() {
        for (text, expected) in [
            ("1%", Some(Threshold::Share(10_000))),
            (" 0.5 % ", Some(Threshold::Share(5_000))),
            ("100%", Some(Threshold::Share(1_000_000))),
            ("0.50", Some(Threshold::Nanos(500_000_000))),
            ("101%", None),
            ("-1", None),
            ("much", None),
            ("%", None),
        ] {
            assert_eq!(Threshold::parse(text), expected, "{text}");
        }
        assert_eq!(Threshold::Share(5_000).to_string(), "0.5%");
        assert_eq!(Threshold::Nanos(500_000_000).to_string(), "0.5 USD");
    }

    #[test]
    fn what_only_one_of_them_names_differs_by_all_of_it_and_what_is_within_the_threshold_does_not() {
        let ledger = of(&[(0, "a", 1_000), (0, "b", 500), (1, "a", 100)]);
        let bill = of(&[(0, "a", 1_010), (1, "a", 98), (1, "c", 7)]);
        let compared = compare(&ledger, &bill, Measure::Cost, Threshold::Share(10_000));
        let seen: Vec<_> = compared
            .iter()
            .map(|row| {
                (
                    row.place.day,
                    row.place.model.as_deref().unwrap(),
                    row.difference(Measure::Cost),
                    row.exceeds,
                )
            })
            .collect();
        assert_eq!(seen, [(0, "a", 10, false), (0, "b", 500, true), (1, "a", 2, true), (1, "c", 7, true)]);
        let by_tokens = compare(&ledger, &bill, Measure::Tokens, Threshold::Share(10_000));
        assert_eq!(by_tokens.iter().map(|row| row.exceeds).collect::<Vec<_>>(), [false, true, true, false]);
        let in_dollars = compare(&ledger, &bill, Measure::Cost, Threshold::Nanos(7));
        assert_eq!(in_dollars.iter().map(|row| row.exceeds).collect::<Vec<_>>(), [true, true, false, false]);
    }
}
