//! A price list as it is written: TOML, read value by value from its own text, so that a number is what it says and not
//! the nearest binary fraction, and an error has a line.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{PriceError, PriceList, list::Entry};
use crate::domain::{
    Millis,
    event::parse_millis,
    model::{LONGEST_MODEL as LONGEST, ModelName},
    money::{NotAnAmount, decimal},
    price::{MAX_PRICE, PRICE_PLACES, Price, Timeline},
};
use crate::settings::{SettingError, nearest};

/// Highest price, as it is written.
const MAX_WRITTEN: u64 = MAX_PRICE / 1_000_000;

type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a price list; `list` is what errors call it.
///
/// # Errors
/// The first thing that is wrong, with its full name, its line and what it must be.
pub(super) fn read(text: &str, list: &str) -> Result<PriceList, PriceError> {
    let reader = Reader { text, list };
    let table = DeTable::parse(text).map_err(|error| {
        // Only the first line: the rest would be an excerpt.
        let hint = error.message().lines().next().unwrap_or_default();
        reader.wrong(error.span().unwrap_or_default(), "", hint)
    })?;
    reader.list(table.get_ref())
}

struct Reader<'t> {
    text: &'t str,
    list: &'t str,
}

/// One entry of `[[prices]]`.
struct Row<'t> {
    model: &'t str,
    from: Millis,
    price: Price,
}

impl Reader<'_> {
    fn wrong(&self, at: Range<usize>, name: &str, hint: impl Into<String>) -> PriceError {
        self.place(at, SettingError::new(name, hint))
    }

    /// The error with its line.
    fn place(&self, at: Range<usize>, mut error: SettingError) -> PriceError {
        let before = self.text.get(..at.start).unwrap_or_default();
        error.line = Some(before.matches('\n').count() + 1);
        PriceError::Wrong { list: self.list.to_owned(), error: Box::new(error) }
    }

    fn list(&self, table: &DeTable<'_>) -> Result<PriceList, PriceError> {
        self.known(table, "", &["prices", "aliases", "fallback"])?;
        let fallback = table.get("fallback").ok_or_else(|| self.wrong(0..0, "fallback", "is required"))?;
        let fallback = self.price(self.table(fallback, "fallback")?, "fallback", fallback.span(), &[])?;
        let models = match table.get("prices") {
            Some(rows) => self.models(rows)?,
            None => BTreeMap::new(),
        };
        let mut entries = Vec::new();
        if let Some(aliases) = table.get("aliases") {
            for (key, value) in self.table(aliases, "aliases")? {
                entries.push(self.alias(key, value, &models)?);
            }
        }
        for (text, prices) in models {
            let name = ModelName::parse(&text).map_err(|hint| self.wrong(0..0, "", hint))?;
            entries.push(Entry { name, alias: false, prices });
        }
        Ok(PriceList::new(entries, fallback))
    }

    /// Every model of `[[prices]]` with its prices.
    fn models(&self, rows: &Value<'_>) -> Result<BTreeMap<String, Arc<Timeline>>, PriceError> {
        let DeValue::Array(array) = rows.get_ref() else {
            return Err(self.wrong(
                rows.span(),
                "prices",
                "must be a list: each entry begins with [[prices]]",
            ));
        };
        let mut models: BTreeMap<&str, BTreeMap<Millis, (usize, Price)>> = BTreeMap::new();
        for (index, value) in array.iter().enumerate() {
            let row = self.row(value, &format!("prices[{index}]"))?;
            let earlier = models.entry(row.model).or_default().insert(row.from, (index, row.price));
            if let Some((earlier, _)) = earlier {
                let hint = format!("is for the same model and day as `prices[{earlier}]`: {}", row.model);
                return Err(self.wrong(value.span(), &format!("prices[{index}]"), hint));
            }
        }
        let timeline =
            |rows: BTreeMap<Millis, (usize, Price)>| rows.into_iter().map(|(from, (_, price))| (from, price));
        let timelines = models.into_iter();
        Ok(timelines
            .map(|(m, rows)| (m.to_owned(), Arc::new(Timeline::new(timeline(rows).collect()))))
            .collect())
    }

    fn row<'v>(&self, value: &'v Value<'_>, path: &str) -> Result<Row<'v>, PriceError> {
        let table = self.table(value, path)?;
        let price = self.price(table, path, value.span(), &["model", "from"])?;
        let model = self.required(table, path, "model", value.span())?;
        let name = format!("{path}.model");
        let text = self.name(model, &name)?;
        let from = match table.get("from") {
            Some(from) => self.day(from, &format!("{path}.from"))?,
            None => Millis::MIN,
        };
        Ok(Row { model: text, from, price })
    }

    /// The three prices of a table, which may have only these fields and `others`.
    fn price(
        &self,
        table: &DeTable<'_>,
        path: &str,
        span: Range<usize>,
        others: &[&'static str],
    ) -> Result<Price, PriceError> {
        self.known(table, path, &[&["input", "cached_input", "output"], others].concat())?;
        let amount =
            |key| self.amount(self.required(table, path, key, span.clone())?, &format!("{path}.{key}"));
        let (input, output) = (amount("input")?, amount("output")?);
        let cached_input = if table.contains_key("cached_input") { amount("cached_input")? } else { input };
        Ok(Price { input, cached_input, output })
    }

    /// A price in pico-dollars per token, by the very digits that stand there.
    fn amount(&self, value: &Value<'_>, name: &str) -> Result<u64, PriceError> {
        let digits = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => "",
        };
        let hint = match decimal(digits, PRICE_PLACES) {
            Ok(price) if !price.exact => format!("must have at most {PRICE_PLACES} decimal places"),
            Ok(price) if price.units <= MAX_PRICE => return Ok(price.units),
            Ok(_) | Err(NotAnAmount::TooLarge) => {
                format!("must be at most {MAX_WRITTEN} USD per million tokens")
            }
            Err(NotAnAmount::Negative) => "must not be below 0".to_owned(),
            Err(NotAnAmount::Syntax) => "must be a price in USD per million tokens, such as 8.00".to_owned(),
        };
        Err(self.wrong(value.span(), name, hint))
    }

    /// The first moment of a day, in UTC.
    fn day(&self, value: &Value<'_>, name: &str) -> Result<Millis, PriceError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        let is_day = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let parsed = if is_day { parse_millis(&format!("{text}T00:00:00Z")).ok() } else { None };
        parsed.ok_or_else(|| self.wrong(value.span(), name, "must be a day, such as 2027-01-01"))
    }

    fn alias(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        target: &Value<'_>,
        models: &BTreeMap<String, Arc<Timeline>>,
    ) -> Result<Entry, PriceError> {
        let text = key.get_ref().to_string();
        let path = format!("aliases.\"{text}\"");
        let name = self.parse_name(&text, &path, key.span())?;
        let Some(model) = target.get_ref().as_str() else {
            return Err(self.wrong(target.span(), &path, "must be the name of a model, in quotes"));
        };
        let Some(prices) = models.get(model) else {
            let near = nearest(model, models.keys().map(String::as_str));
            let error = SettingError::new(path, "leads to a model without an entry in [[prices]]");
            return Err(self.place(target.span(), error.suggesting(near)));
        };
        Ok(Entry { name, alias: true, prices: prices.clone() })
    }

    fn name<'v>(&self, value: &'v Value<'_>, path: &str) -> Result<&'v str, PriceError> {
        let text = value.get_ref().as_str();
        let text = text.ok_or_else(|| self.wrong(value.span(), path, "must be text, in quotes"))?;
        self.parse_name(text, path, value.span())?;
        Ok(text)
    }

    fn parse_name(&self, text: &str, path: &str, span: Range<usize>) -> Result<ModelName, PriceError> {
        if !(1..=LONGEST).contains(&text.len()) {
            return Err(self.wrong(span, path, format!("must be 1 to {LONGEST} bytes long")));
        }
        ModelName::parse(text)
            .map_err(|error| self.place(span, SettingError::new(path, "is no pattern").because(error)))
    }

    fn table<'v, 'd>(&self, value: &'v Value<'d>, path: &str) -> Result<&'v DeTable<'d>, PriceError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong(value.span(), path, "must be a table")),
        }
    }

    fn required<'v>(
        &self,
        table: &'v DeTable<'_>,
        path: &str,
        key: &str,
        span: Range<usize>,
    ) -> Result<&'v Value<'v>, PriceError> {
        table.get(key).ok_or_else(|| self.wrong(span, &format!("{path}.{key}"), "is required"))
    }

    fn known(&self, table: &DeTable<'_>, path: &str, known: &[&'static str]) -> Result<(), PriceError> {
        let stranger = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(key) = stranger else { return Ok(()) };
        let near = nearest(key.get_ref(), known.iter().copied());
        let name =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        let error = SettingError::new(name, "is no setting in a price list").suggesting(near);
        Err(self.place(key.span(), error))
    }
}
