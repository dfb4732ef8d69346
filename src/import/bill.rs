//! A provider's bill, or its export of usage, by a map: what it names per day, model and key, summed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map as Object, Value};

use super::{
    map::{MapError, Source, check},
    table, value,
};

/// The maps that are built in, by name.
pub const NAMED_BILLS: [(&str, &str); 3] = [
    ("openai-costs", include_str!("../../config/maps/bills/openai-costs.toml")),
    ("anthropic-costs", include_str!("../../config/maps/bills/anthropic-costs.toml")),
    ("csv", include_str!("../../config/maps/bills/csv.toml")),
];

/// The fields of a line of a bill that a map may fill.
const FIELDS: [&str; 7] = ["day", "model", "key_id", "cost_usd", "tokens", "input_tokens", "output_tokens"];
/// The largest bill, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;
/// Nano-dollars in a dollar.
const NANOS: f64 = 1e9;

/// How a bill is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// As JSON: one document, or a value per line.
    #[default]
    Json,
    /// As CSV, whose first line has the names of its columns.
    Csv,
}

/// Which field of a line is where in a bill.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillMap {
    #[serde(default)]
    format: Format,
    /// Where in a document its lines are, if they are not all of it.
    #[serde(default)]
    records: Option<String>,
    /// Where in each of those its own lines are, which have its members, too.
    #[serde(default)]
    within: Option<String>,
    /// What follows these characters in the text of a model is no part of its name.
    #[serde(default)]
    model_ends_at: Option<String>,
    fields: BTreeMap<String, Source>,
}

/// What a bill says of a day, a model and a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BillPlace {
    /// The day, as `2026-03-02`.
    pub day: String,
    /// The model, where one is named.
    pub model: Option<String>,
    /// The key, where one is named.
    pub key_id: Option<String>,
}

/// The sums of a bill.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Nano-dollars and tokens of each place; `None` where none of its lines names any.
    pub lines: BTreeMap<BillPlace, (Option<u64>, Option<u64>)>,
    /// Lines without a day, or without a cost and tokens.
    pub left_out: u64,
}

impl BillMap {
    /// Reads a map.
    ///
    /// # Errors
    /// [`MapError`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MapError> {
        let map: Self = toml::from_str(text).map_err(|error| MapError::Form(error.message().to_owned()))?;
        check(&map.fields, &FIELDS, "a line of a bill")?;
        let fills = |name: &str| map.fields.contains_key(name);
        if !fills("day") {
            return Err(MapError::Lacks("day"));
        }
        if !["cost_usd", "tokens", "input_tokens", "output_tokens"].into_iter().any(fills) {
            return Err(MapError::Lacks("cost_usd or tokens"));
        }
        Ok(map)
    }

    /// The map that is built in by a name.
    pub fn named(name: &str) -> Option<Result<Self, MapError>> {
        NAMED_BILLS.iter().find(|(known, _)| *known == name).map(|(_, text)| Self::parse(text))
    }

    /// Reads a bill from a file; `-` is the standard input.
    ///
    /// # Errors
    /// It cannot be read, is larger than 256 MiB, or is not of the form that the map says.
    pub fn read(&self, path: &Path) -> io::Result<Bill> {
        let mut text = String::new();
        match path.as_os_str() == "-" {
            true => io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text)?,
            false => File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?,
        };
        if text.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "is larger than 256 MiB"));
        }
        self.sum(text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    fn sum(&self, text: &str) -> io::Result<Bill> {
        let documents = match self.format {
            Format::Csv => table::rows(text),
            Format::Json => serde_json::Deserializer::from_str(text)
                .into_iter()
                .collect::<Result<Vec<Value>, _>>()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        };
        let mut bill = Bill::default();
        for line in documents.into_iter().flat_map(|document| self.lines_of(document)) {
            match self.line(&line) {
                Some((place, nanos, tokens)) => bill.add(place, nanos, tokens),
                None => bill.left_out += 1,
            }
        }
        Ok(bill)
    }

    /// The lines of a document, each with the members of what it stands in.
    fn lines_of(&self, document: Value) -> Vec<Value> {
        let found = match &self.records {
            Some(pointer) => document.pointer(pointer).cloned().unwrap_or(Value::Null),
            None => document,
        };
        let outer = match found {
            Value::Array(lines) => lines,
            Value::Null => Vec::new(),
            line => vec![line],
        };
        let Some(within) = &self.within else { return outer };
        let inner = |line: Value| {
            let own = line.pointer(within).and_then(Value::as_array).cloned().unwrap_or_default();
            own.into_iter().map(move |own| with_members_of(&line, own))
        };
        outer.into_iter().flat_map(inner).collect()
    }

    /// What one line says; `None` where it has no day, or neither a cost nor tokens.
    fn line(&self, line: &Value) -> Option<(BillPlace, Option<u64>, Option<u64>)> {
        let at = |name: &str| self.fields.get(name)?.of(line);
        let text =
            |name: &str| at(name).and_then(|found| value::text(&found)).filter(|text| !text.is_empty());
        let number = |name: &str| at(name).as_ref().and_then(value::number).filter(|number| *number >= 0.0);
        let nanos = number("cost_usd").map(|dollars| (dollars * NANOS).round() as u64);
        let parts = [number("input_tokens"), number("output_tokens")];
        let sum = parts.iter().flatten().next().map(|_| parts.iter().flatten().sum::<f64>());
        let tokens = number("tokens").or(sum).map(|tokens| tokens.round() as u64);
        let model = text("model").map(|model| match &self.model_ends_at {
            Some(end) => model.split(end.as_str()).next().unwrap_or_default().to_owned(),
            None => model,
        });
        let place = BillPlace { day: value::day(&at("day")?)?, model, key_id: text("key_id") };
        (nanos.is_some() || tokens.is_some()).then_some((place, nanos, tokens))
    }
}

impl Bill {
    fn add(&mut self, place: BillPlace, nanos: Option<u64>, tokens: Option<u64>) {
        let plus = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        let (all_nanos, all_tokens) = self.lines.entry(place).or_default();
        plus(all_nanos, nanos);
        plus(all_tokens, tokens);
    }
}

/// A line with the members of what it stands in, but for those that it has itself.
fn with_members_of(outer: &Value, own: Value) -> Value {
    let (Value::Object(outer), Value::Object(own)) = (outer, &own) else { return own };
    let mut all = Object::new();
    let scalars = outer.iter().filter(|(_, value)| !value.is_array() && !value.is_object());
    all.extend(scalars.map(|(name, value)| (name.clone(), value.clone())));
    all.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sums(map: &str, text: &str) -> Vec<(String, Option<u64>, Option<u64>)> {
        let bill = BillMap::named(map).unwrap().unwrap().sum(text).unwrap();
        let name = |place: BillPlace| {
            [Some(place.day), place.model, place.key_id].into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        bill.lines.into_iter().map(|(place, (nanos, tokens))| (name(place), nanos, tokens)).collect()
    }

    #[test]
    fn every_map_of_a_bill_that_is_built_in_can_be_read() {
        for (name, _) in NAMED_BILLS {
            BillMap::named(name).unwrap().unwrap_or_else(|error| panic!("{name} {error}"));
        }
    }

    #[test]
    fn costs_in_buckets_are_summed_by_day_and_model() {
        let bucket = |start: u64, dollars: f64, item: &str| {
            let amount = json!({ "value": dollars, "currency": "usd" });
            json!({ "start_time": start, "results": [{ "amount": amount, "line_item": item }] })
        };
        let buckets = [
            bucket(1_772_409_600, 0.06, "gpt-4.1-2025-04-14, input"),
            bucket(1_772_409_600, 0.24, "gpt-4.1-2025-04-14, output"),
            bucket(1_772_496_000, 1.0, "gpt-4.1-mini-2025-04-14, output"),
        ];
        let page = json!({ "object": "page", "data": buckets }).to_string();
        assert_eq!(
            sums("openai-costs", &page),
            [
                ("2026-03-02 gpt-4.1-2025-04-14".to_owned(), Some(300_000_000), None),
                ("2026-03-03 gpt-4.1-mini-2025-04-14".to_owned(), Some(1_000_000_000), None),
            ]
        );
    }

    #[test]
    fn costs_in_cents_become_dollars() {
        let page = r#"{"data":[{"starting_at":"2026-03-02T00:00:00Z","results":[
            {"amount":"123.5","currency":"USD","model":"claude-sonnet-4-5"},{"amount":"1","model":null}]}]}"#;
        assert_eq!(
            sums("anthropic-costs", page),
            [
                ("2026-03-02".to_owned(), Some(10_000_000), None),
                ("2026-03-02 claude-sonnet-4-5".to_owned(), Some(1_235_000_000), None),
            ]
        );
    }

    #[test]
    fn a_table_names_its_columns_and_lines_without_a_day_or_an_amount_are_left_out() {
        let text = "day,model,key,cost_usd,input_tokens,output_tokens\n2026-03-02,\"gpt-4.1\",k1:a,0.5,10,5\n\
                    2026-03-02,gpt-4.1,k1:a,0.25,1,1\n,gpt-4.1,k1:a,9,9,9\n2026-03-03,gpt-4.1,k1:a,,,\n";
        let bill = BillMap::named("csv").unwrap().unwrap().sum(text).unwrap();
        assert_eq!(bill.left_out, 2);
        assert_eq!(sums("csv", text), [("2026-03-02 gpt-4.1 k1:a".to_owned(), Some(750_000_000), Some(17))]);
    }

    #[test]
    fn a_map_that_cannot_be_used_says_what_is_wrong() {
        for (text, expected) in [
            ("[fields]\nday = '/day'", "fills no cost_usd or tokens: each record needs one"),
            ("[fields]\ncost_usd = '/cost'", "fills no day: each record needs one"),
            ("[fields]\nday = '/day'\nprice = '/x'", "fields.price is no field of a line of a bill"),
            ("[fields]\nday = 'day'\ncost_usd = '/x'", "fields.day: \"day\" is no JSON pointer"),
        ] {
            let error = BillMap::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
