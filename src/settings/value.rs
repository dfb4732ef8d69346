//! A TOML value as Serde reads it, with an error of our own: one that keeps what was expected as data, so that nothing
//! has to be found in an error's text.

use std::collections::BTreeMap;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::suggest::nearest;

/// How the names begin of the types with which JSON reads a value as it is written.
const RAW_JSON: &str = "$serde_json::";

/// Why a value cannot be read. Never holds the value itself, except for a name that should be one of a few.
#[derive(Debug, Default, thiserror::Error)]
#[error("{hint}")]
pub(super) struct ValueError {
    pub hint: String,
    /// The value or the name that was probably meant.
    pub suggestion: Option<&'static str>,
    /// The dotted name of the value that was being read; `None` until it is known.
    pub place: Option<String>,
    /// The member of it that is meant.
    pub member: Option<Member>,
}

/// A member of a table that is wrong by its name alone.
#[derive(Debug)]
pub(super) enum Member {
    Unknown(String),
    Missing(&'static str),
}

impl ValueError {
    fn new(hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..Self::default() }
    }

    fn at(mut self, place: &str) -> Self {
        self.place.get_or_insert_with(|| place.to_owned());
        self
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}, not {}", in_words(expected), kind(unexpected)))
    }

    fn invalid_value(_unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}", in_words(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = format!("must be one of {}, not {variant:?}", expected.join(", "));
        Self { suggestion: nearest(variant, expected.iter().copied()), ..Self::new(hint) }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let suggestion = nearest(field, expected.iter().copied());
        let hint = unknown_name(suggestion, expected.iter().copied());
        Self { suggestion, member: Some(Member::Unknown(field.to_owned())), ..Self::new(hint) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { member: Some(Member::Missing(field)), ..Self::new("is required") }
    }
}

/// The hint about a name that there is not.
pub(super) fn unknown_name<'k>(suggestion: Option<&str>, known: impl Iterator<Item = &'k str>) -> String {
    match suggestion {
        Some(_) => "is no setting here".to_owned(),
        None => format!("is no setting here; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// What Serde expects, in the words of the settings.
fn in_words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, not below 0".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "path string" | "a character" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        text if text.starts_with("enum ") => "text".to_owned(),
        _ => expected,
    }
}

fn kind(unexpected: Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "this",
    }
}

/// What is read in place of values that were found to be wrong, by their dotted names; `None`: nothing.
pub(super) type Repairs = BTreeMap<String, Option<Value>>;

/// A value that is read once.
pub(super) struct ReadValue<'r> {
    value: Value,
    place: String,
    repairs: &'r Repairs,
}

impl<'r> ReadValue<'r> {
    pub(super) fn new(value: Value, repairs: &'r Repairs) -> Self {
        Self { value, place: String::new(), repairs }
    }

    /// The value at `place` within this one, as it is to be read; `None` where it is left out.
    fn child(value: Value, place: String, repairs: &'r Repairs) -> Option<Self> {
        let value = match repairs.get(&place) {
            None => value,
            Some(repaired) => repaired.clone()?,
        };
        Some(Self { value, place, repairs })
    }

    fn items(&self, items: Vec<Value>) -> Vec<Self> {
        let child = |(n, item)| Self::child(item, format!("{}[{n}]", self.place), self.repairs);
        items.into_iter().enumerate().filter_map(child).collect()
    }

    fn members(&self, table: toml::Table) -> Vec<(String, Self)> {
        let child = |(name, value): (String, Value)| {
            Some((name.clone(), Self::child(value, join(&self.place, &name), self.repairs)?))
        };
        table.into_iter().filter_map(child).collect()
    }
}

/// The dotted name of a member.
pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

impl<'de> Deserializer<'de> for ReadValue<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        let read = match std::mem::replace(&mut self.value, Value::Boolean(false)) {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(flag) => visitor.visit_bool(flag),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(items) => {
                let mut items = Items(self.items(items).into_iter());
                visitor.visit_seq(&mut items).and_then(|read| match items.0.len() {
                    0 => Ok(read),
                    more => Err(ValueError::new(format!("has {more} more entries than it may have"))),
                })
            }
            Value::Table(table) => {
                visitor.visit_map(Members { rest: self.members(table).into_iter(), value: None })
            }
        };
        read.map_err(|error| error.at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if !name.starts_with(RAW_JSON) {
            return visitor.visit_newtype_struct(self);
        }
        let json =
            serde_json::to_value(self.value).and_then(|json| json.deserialize_newtype_struct(name, visitor));
        json.map_err(|error| ValueError::custom(error).at(&self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.value {
            Value::String(text) => {
                let text: StringDeserializer<ValueError> = text.into_deserializer();
                visitor.visit_enum(text).map_err(|error| error.at(&self.place))
            }
            value => Self { value, ..self }.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'r>(std::vec::IntoIter<ReadValue<'r>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(item) = self.0.next() else { return Ok(None) };
        let place = item.place.clone();
        seed.deserialize(item).map(Some).map_err(|error| error.at(&place))
    }
}

struct Members<'r> {
    rest: std::vec::IntoIter<(String, ReadValue<'r>)>,
    value: Option<ReadValue<'r>>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ValueError> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StringDeserializer<ValueError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        let value = self.value.take().ok_or_else(|| ValueError::new("has a name without a value"))?;
        let place = value.place.clone();
        seed.deserialize(value).map_err(|error| error.at(&place))
    }
}
