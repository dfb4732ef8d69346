//! Makes a price of an entry of the shared list.

use serde_json::value::RawValue;

use super::{
    fields::{Place, is_price, place, reason},
    json::{Object, text_of},
};
use crate::domain::{
    money::{NotAnAmount, decimal},
    price::{EACH_PLACES, GivenRates, GivenSchedule, MAX_TOKENS, Part, ServiceTier},
};

/// Providers that raise the price with the prompt that has just so many tokens; others with the next one.
const INCLUSIVE: [&str; 1] = ["xai"];
/// The list of prices by the length of the prompt.
const TIERED: &str = "tiered_pricing";

/// The price of an entry, as it is to be written.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    pub standard: GivenSchedule,
    pub services: [GivenSchedule; 3],
    /// What was left out, with the reason.
    pub left_out: Vec<String>,
}

/// Makes a price of an entry.
///
/// # Errors
/// Why there is none.
pub(super) fn read_entry(object: &Object) -> Result<Taken, String> {
    let provider = object.get("litellm_provider").and_then(text_of).unwrap_or_default();
    let reader = Reader { is_inclusive: INCLUSIVE.contains(&provider.as_str()) };
    let mut taken = Taken::default();
    for (field, value) in &object.0 {
        reader.take(&mut taken, field, value.get())?;
    }
    for price in taken.schedules() {
        price.tiers.sort_by_key(|(above, _)| *above);
    }
    taken.complete()
}

struct Reader {
    is_inclusive: bool,
}

impl Reader {
    fn take(&self, taken: &mut Taken, field: &str, value: &str) -> Result<(), String> {
        if value == "null" {
            return Ok(());
        }
        if field == TIERED {
            return self.tiered(taken, value);
        }
        if let Some(place) = place(field) {
            let place = Place { above: place.above.map(|above| self.above(above)), ..place };
            return taken.set(place, field, amount(field, value, place.part)?);
        }
        // What costs nothing is not missed.
        if is_price(field) && value.contains(|c: char| ('1'..='9').contains(&c)) {
            taken.left_out.push(format!("`{field}` {}", reason(field)));
        }
        Ok(())
    }

    /// How many tokens a prompt has at most before the price changes.
    fn above(&self, tokens: u64) -> u64 {
        tokens.saturating_sub(u64::from(self.is_inclusive))
    }

    /// Reads a list of prices with the range of tokens that each is for: above the first number.
    fn tiered(&self, taken: &mut Taken, value: &str) -> Result<(), String> {
        let tiers: Vec<Object> = serde_json::from_str(value).map_err(|_| format!("`{TIERED}` is no list"))?;
        if tiers.iter().any(|tier| tier.get("range").is_none()) {
            taken.left_out.push(format!("`{TIERED}` {}", reason(TIERED)));
            return Ok(());
        }
        for tier in &tiers {
            let range =
                tier.get("range").and_then(|range| serde_json::from_str::<[Box<RawValue>; 2]>(range).ok());
            let start = range.and_then(|[start, _]| decimal(start.get(), 0).ok());
            let Some(start) = start.filter(|start| start.exact && start.units <= MAX_TOKENS) else {
                return Err(format!("`{TIERED}` has a range that is no two numbers of tokens"));
            };
            let rates = tier_rates(taken, tier)?;
            match start.units {
                0 => taken.standard.base = rates.over(&taken.standard.base),
                above => taken.standard.tiers.push((self.above(above), rates)),
            }
        }
        Ok(())
    }
}

/// The prices of one tier. What it leaves out is as its own input.
fn tier_rates(taken: &mut Taken, tier: &Object) -> Result<GivenRates, String> {
    let mut rates = GivenRates::default();
    for (field, value) in tier.0.iter().filter(|(field, _)| field != "range") {
        match place(field) {
            Some(Place { part, above: None, service: None }) => {
                rates.set(part, amount(field, value.get(), part)?)
            }
            _ => taken.left_out.push(format!("`{TIERED}.{field}` {}", reason(field))),
        }
    }
    if let Some(input) = rates.get(Part::Input) {
        for part in [Part::CachedInput, Part::CacheWrite5m] {
            rates.set(part, rates.get(part).unwrap_or(input));
        }
    }
    Ok(rates)
}

impl Taken {
    fn schedules(&mut self) -> impl Iterator<Item = &mut GivenSchedule> {
        std::iter::once(&mut self.standard).chain(&mut self.services)
    }

    /// Puts a price in its place. Two prices of one place are taken where they are the same, or one is nothing.
    fn set(&mut self, place: Place, field: &str, femto: u64) -> Result<(), String> {
        let schedule = match place.service {
            Some(tier) => &mut self.services[tier as usize],
            None => &mut self.standard,
        };
        let rates = match place.above {
            Some(above) => tier_of(schedule, above),
            None => &mut schedule.base,
        };
        let held = rates.get(place.part).filter(|held| *held > 0);
        match held {
            Some(held) if femto != 0 && femto != held => {
                let name = place.part.name();
                Err(format!("`{field}` is a second price for what a price list calls `{name}`"))
            }
            Some(_) => Ok(()),
            None => {
                rates.set(place.part, femto);
                Ok(())
            }
        }
    }

    /// Makes the price whole, as the shared list is read: what has no price of tokens costs none, and in a batch the
    /// length of the prompt changes only what says so.
    fn complete(mut self) -> Result<Self, String> {
        let base = &mut self.standard.base;
        if base.is_empty() {
            let reason = "names no price of its own that a record can be charged";
            let others = self.left_out.iter().map(|left| format!("; {left}")).collect::<String>();
            return Err(format!("{reason}{others}"));
        }
        let has_tokens = [Part::Input, Part::Output].iter().any(|part| base.get(*part).is_some());
        let has_others = [Part::Request, Part::Image, Part::Second, Part::Character]
            .iter()
            .any(|part| base.get(*part).is_some());
        for part in [Part::Input, Part::Output] {
            if base.get(part).is_none() && (has_tokens || !has_others) {
                base.set(part, 0);
            }
        }
        let starts: Vec<u64> = self.standard.tiers.iter().map(|(above, _)| *above).collect();
        let batch = &mut self.services[ServiceTier::Batch as usize];
        if !batch.base.is_empty() {
            let base = batch.base;
            for start in starts {
                let tier = tier_of(batch, start);
                *tier = tier.over(&base);
            }
            batch.tiers.sort_by_key(|(above, _)| *above);
        }
        Ok(self)
    }
}

fn tier_of(schedule: &mut GivenSchedule, above: u64) -> &mut GivenRates {
    let place = schedule.tiers.iter().position(|(start, _)| *start == above);
    let place = place.unwrap_or_else(|| {
        schedule.tiers.push((above, GivenRates::default()));
        schedule.tiers.len() - 1
    });
    &mut schedule.tiers[place].1
}

/// A price in US dollars of one, in femto-dollars, by its digits.
fn amount(field: &str, value: &str, part: Part) -> Result<u64, String> {
    let digits = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let wrong = |why: String| Err(format!("`{field}` {why}"));
    match decimal(digits, EACH_PLACES) {
        Ok(price) if !price.exact => {
            wrong(format!("is {digits}, which is finer than {EACH_PLACES} decimal places of USD"))
        }
        Ok(price) if price.units <= part.most() => Ok(price.units),
        Ok(_) | Err(NotAnAmount::TooLarge) => wrong(format!("is {digits}, which is above the highest price")),
        Err(NotAnAmount::Negative) => wrong("is below 0".to_owned()),
        Err(NotAnAmount::Syntax) => wrong("is no number".to_owned()),
    }
}
