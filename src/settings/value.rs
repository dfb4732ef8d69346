//! A TOML value as Serde reads it, with an error of our own: one that keeps what was expected as data, so that nothing
//! has to be found in an error's text.

use serde::{
    Deserializer,
    de::{
        IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::suggest::nearest;

/// Why a value cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{hint}")]
pub(super) struct ValueError {
    pub hint: String,
    /// The value or the name that was probably meant.
    pub suggestion: Option<&'static str>,
}

impl ValueError {
    fn new(hint: String) -> Self {
        Self { hint, suggestion: None }
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = format!("must be one of {}, not {variant:?}", expected.join(", "));
        Self { hint, suggestion: nearest(variant, expected.iter().copied()) }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = format!("has no member {field:?}; it may have {}", expected.join(", "));
        Self { hint, suggestion: nearest(field, expected.iter().copied()) }
    }
}

/// A value that is read once.
pub(super) struct ReadValue(pub Value);

impl<'de> IntoDeserializer<'de, ValueError> for ReadValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for ReadValue {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(flag) => visitor.visit_bool(flag),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(ReadValue));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Table(table) => {
                let mut members = MapDeserializer::new(table.into_iter().map(|(k, v)| (k, ReadValue(v))));
                let read = visitor.visit_map(&mut members)?;
                members.end().map(|()| read)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            Value::String(text) => {
                let text: serde::de::value::StringDeserializer<ValueError> = text.into_deserializer();
                visitor.visit_enum(text)
            }
            other => Self(other).deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
