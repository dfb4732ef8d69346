//! A price list as it is written: TOML, read value by value from its own text, so that a number is what it says and not
//! the nearest binary fraction, and an error has a line. Reading goes on after a mistake, so that all are told at once.
//!
//! `reader` reads single values and keeps the errors, `rates` reads the prices of an entry.

mod rates;
mod reader;

use std::{collections::BTreeMap, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::reader::{Key, Reader, Value};
use super::{PriceError, PriceList, list::Entry};
use crate::domain::{
    Millis,
    model::ModelName,
    price::{Price, Timeline},
};
use crate::settings::{SettingError, nearest};

/// Reads a price list; `list` is what errors call it.
///
/// # Errors
/// Everything that is wrong, each with its full name, its line and what it must be.
pub(super) fn read(text: &str, list: &str) -> Result<PriceList, PriceError> {
    let mut reader = Reader::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // Only the first line: the rest would be an excerpt.
        let hint = error.message().lines().next().unwrap_or_default();
        reader.wrong::<()>(error.span().unwrap_or_default(), "", hint);
    }
    let read = if errors.is_empty() { read_list(&mut reader, &table) } else { None };
    let errors = reader.errors();
    match read {
        Some(read) if errors.is_empty() => Ok(read),
        _ => Err(PriceError::Wrong { list: list.to_owned(), errors }),
    }
}

/// The models of a list, by the text of their names.
type Models = BTreeMap<Arc<str>, Arc<Timeline>>;

fn read_list(reader: &mut Reader<'_>, table: &Spanned<DeTable<'_>>) -> Option<PriceList> {
    let table = table.get_ref();
    reader.known(table, "", &["prices", "aliases", "fallback"]);
    let fallback = match table.get("fallback") {
        Some(fallback) => reader.fallback(fallback),
        None => reader.wrong(0..0, "fallback", "is required"),
    };
    let models = table.get("prices").map(|rows| read_models(reader, rows)).unwrap_or_default();
    let mut entries = Vec::new();
    if let Some(aliases) = table.get("aliases").and_then(|aliases| reader.table(aliases, "aliases")) {
        entries.extend(aliases.iter().filter_map(|(key, value)| read_alias(reader, key, value, &models)));
    }
    for (text, prices) in models {
        let name = ModelName::parse(&text).ok()?;
        entries.push(Entry { name, model: text, is_alias: false, prices });
    }
    Some(PriceList::new(entries, Arc::new(fallback?)))
}

/// One entry of `[[prices]]`.
struct Row {
    model: String,
    from: Millis,
    price: Price,
}

/// Every model of `[[prices]]` with its prices.
fn read_models(reader: &mut Reader<'_>, rows: &Value<'_>) -> Models {
    let DeValue::Array(array) = rows.get_ref() else {
        reader.wrong::<()>(rows.span(), "prices", "must be a list: each entry begins with [[prices]]");
        return Models::new();
    };
    let mut models: BTreeMap<String, BTreeMap<Millis, (usize, Arc<Price>)>> = BTreeMap::new();
    for (index, value) in array.iter().enumerate() {
        let path = format!("prices[{index}]");
        let Some(row) = read_row(reader, value, &path) else { continue };
        let of_model = models.entry(row.model.clone()).or_default();
        if let Some((earlier, _)) = of_model.insert(row.from, (index, Arc::new(row.price))) {
            let hint = format!("is for the same model and day as `prices[{earlier}]`: {}", row.model);
            reader.wrong::<()>(value.span(), &path, hint);
        }
    }
    let timeline = |rows: BTreeMap<Millis, (usize, Arc<Price>)>| {
        Arc::new(Timeline::new(rows.into_iter().map(|(from, (_, price))| (from, price)).collect()))
    };
    models.into_iter().map(|(model, rows)| (model.into(), timeline(rows))).collect()
}

fn read_row(reader: &mut Reader<'_>, value: &Value<'_>, path: &str) -> Option<Row> {
    let table = reader.table(value, path)?;
    let price = reader.price(table, path, value.span(), &["model", "from"]);
    let model = reader.required(table, path, "model", value.span());
    let model = model.and_then(|model| reader.name(model, &format!("{path}.model")));
    let from = match table.get("from") {
        Some(from) => reader.day(from, &format!("{path}.from")),
        None => Some(Millis::MIN),
    };
    Some(Row { model: model?, from: from?, price: price? })
}

fn read_alias(reader: &mut Reader<'_>, key: &Key<'_>, target: &Value<'_>, models: &Models) -> Option<Entry> {
    let text = key.get_ref().to_string();
    let path = format!("aliases.\"{text}\"");
    let name = reader.parse_name(&text, &path, key.span());
    let Some(model) = target.get_ref().as_str() else {
        return reader.wrong(target.span(), &path, "must be the name of a model, in quotes");
    };
    let Some((model, prices)) = models.get_key_value(model) else {
        let near = nearest(model, models.keys().map(|model| &**model));
        let error = SettingError::new(path, "leads to a model without an entry in [[prices]]");
        return reader.place(target.span(), error.suggesting(near));
    };
    Some(Entry { name: name?, model: model.clone(), is_alias: true, prices: prices.clone() })
}
