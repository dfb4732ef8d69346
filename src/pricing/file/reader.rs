//! Reads single values of a price list, and keeps what is wrong with them.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    domain::{
        Millis,
        event::parse_millis,
        model::{LONGEST_MODEL as LONGEST, ModelName},
        money::{NotAnAmount, decimal},
        price::{EACH_PLACES, MAX_EACH, MAX_PRICE, PRICE_PLACES, Part},
    },
    settings::{SettingError, SettingErrors, nearest},
};

/// Highest prices, as they are written.
const MAX_PER_MILLION: u64 = MAX_PRICE / 10_u64.pow(PRICE_PLACES as u32);
const MAX_EACH_WRITTEN: u64 = MAX_EACH / 10_u64.pow(EACH_PLACES as u32);

pub(super) type Value<'t> = Spanned<DeValue<'t>>;
pub(super) type Key<'t> = Spanned<Cow<'t, str>>;

/// The text of a list, and what is wrong with it.
pub(super) struct Reader<'t> {
    text: &'t str,
    errors: Vec<(usize, SettingError)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, errors: Vec::new() }
    }

    /// Everything that is wrong, in the order of the text.
    pub(super) fn errors(mut self) -> SettingErrors {
        self.errors.sort_by_key(|(at, _)| *at);
        let mut errors = SettingErrors::default();
        self.errors.into_iter().for_each(|(_, error)| errors.check(Err(error)));
        errors
    }

    /// Notes an error about the setting `name`. Nothing is read of it.
    pub(super) fn wrong<T>(&mut self, at: Range<usize>, name: &str, hint: impl Into<String>) -> Option<T> {
        self.place(at, SettingError::new(name, hint))
    }

    /// Notes an error with its line.
    pub(super) fn place<T>(&mut self, at: Range<usize>, mut error: SettingError) -> Option<T> {
        let before = self.text.get(..at.start).unwrap_or_default();
        error.line = Some(before.matches('\n').count() + 1);
        self.errors.push((at.start, error));
        None
    }

    /// The price of a part in femto-dollars of one, by the very digits that stand there.
    pub(super) fn amount(&mut self, value: &Value<'_>, name: &str, part: Part) -> Option<u64> {
        let digits = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => "",
        };
        let hint = match decimal(digits, part.places()) {
            Ok(price) if !price.exact => format!("must have at most {} decimal places", part.places()),
            Ok(price) if price.units <= part.most() => return Some(price.units),
            Ok(_) | Err(NotAnAmount::TooLarge) => most(part),
            Err(NotAnAmount::Negative) => "must not be below 0".to_owned(),
            Err(NotAnAmount::Syntax) if part.is_per_million() => {
                "must be a price in USD per million tokens, such as 8.00".to_owned()
            }
            Err(NotAnAmount::Syntax) => "must be a price in USD, such as 0.04".to_owned(),
        };
        self.wrong(value.span(), name, hint)
    }

    /// A whole number.
    pub(super) fn count(&mut self, value: &Value<'_>, name: &str, most: u64) -> Option<u64> {
        let digits = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => "",
        };
        let count = decimal(digits, 0).ok().map(|count| count.units).filter(|count| *count <= most);
        count.or_else(|| self.wrong(value.span(), name, format!("must be a whole number from 0 to {most}")))
    }

    /// The first moment of a day, in UTC.
    pub(super) fn day(&mut self, value: &Value<'_>, name: &str) -> Option<Millis> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        let is_day = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let parsed = if is_day { parse_millis(&format!("{text}T00:00:00Z")).ok() } else { None };
        parsed.or_else(|| self.wrong(value.span(), name, "must be a day, such as 2027-01-01"))
    }

    /// The name or pattern of a model, as it is written.
    pub(super) fn name(&mut self, value: &Value<'_>, path: &str) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            return self.wrong(value.span(), path, "must be text, in quotes");
        };
        self.parse_name(text, path, value.span()).map(|_| text.to_owned())
    }

    pub(super) fn parse_name(&mut self, text: &str, path: &str, span: Range<usize>) -> Option<ModelName> {
        if !(1..=LONGEST).contains(&text.len()) {
            return self.wrong(span, path, format!("must be 1 to {LONGEST} bytes long"));
        }
        match ModelName::parse(text) {
            Ok(name) => Some(name),
            Err(error) => self.place(span, SettingError::new(path, "is no pattern").because(error)),
        }
    }

    pub(super) fn table<'v, 'd>(&mut self, value: &'v Value<'d>, path: &str) -> Option<&'v DeTable<'d>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.wrong(value.span(), path, "must be a table"),
        }
    }

    pub(super) fn required<'v, 'd>(
        &mut self,
        table: &'v DeTable<'d>,
        path: &str,
        key: &str,
        span: Range<usize>,
    ) -> Option<&'v Value<'d>> {
        table.get(key).or_else(|| self.wrong(span, &format!("{path}.{key}"), "is required"))
    }

    /// Notes every name that a table may not have. Returns those that were probably meant.
    pub(super) fn known(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        known: &[&'static str],
    ) -> Vec<&'static str> {
        let mut meant = Vec::new();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let near = nearest(key.get_ref(), known.iter().copied());
            let name = match path {
                "" => key.get_ref().to_string(),
                _ => format!("{path}.{}", key.get_ref()),
            };
            let error = SettingError::new(name, "is no setting in a price list").suggesting(near);
            self.place::<()>(key.span(), error);
            meant.extend(near);
        }
        meant
    }
}

fn most(part: Part) -> String {
    match part {
        Part::Character => format!("must be at most {MAX_PER_MILLION} USD per million characters"),
        _ if part.is_per_million() => format!("must be at most {MAX_PER_MILLION} USD per million tokens"),
        _ => format!("must be at most {MAX_EACH_WRITTEN} USD"),
    }
}
