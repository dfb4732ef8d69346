//! Any value of a database, decoded without a schema: publishers disagree about layouts and types, and a
//! latitude may be a double here, a float there and a string elsewhere.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How deep maps are followed. The deepest field that matters is `city.names.en`; below that a broken or hostile
/// file could only cost time.
const DEPTH: u8 = 4;

/// A value, as far as places are concerned: lists, bytes and booleans are [`Node::Nothing`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'de> {
    Nothing,
    Text(&'de str),
    Number(f64),
    Map(Vec<(&'de str, Node<'de>)>),
}

impl<'de> Node<'de> {
    /// The value under a path of names; [`Node::Nothing`] where the path leads nowhere.
    pub(super) fn at(&self, path: &[&str]) -> &Self {
        path.iter().fold(self, |node, name| match node {
            Self::Map(entries) => {
                entries.iter().find(|(key, _)| key == name).map_or(&Self::Nothing, |(_, v)| v)
            }
            _ => &Self::Nothing,
        })
    }

    /// The value as text, unless it says in words that there is none.
    pub(super) fn text(&self) -> Option<&'de str> {
        match self {
            Self::Text(text) => Some(text.trim()).filter(|t| !matches!(*t, "" | "-" | "N/A")),
            _ => None,
        }
    }

    /// The value as a finite number, whether it is written as one or as text.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
        .filter(|n| n.is_finite())
    }
}

impl<'de> serde::Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(DEPTH).deserialize(deserializer)
    }
}

/// Decodes a value whose maps may go this much deeper.
struct Level(u8);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        if self.0 == 0 {
            // No publisher nests what we read this deep; ignoring also keeps the stack flat.
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Node::Nothing);
        }
        deserializer.deserialize_any(self)
    }
}

/// The visits that only differ in the type of a number.
macro_rules! numbers {
    ($($visit:ident: $type:ty),+) => {
        $(fn $visit<E>(self, value: $type) -> Result<Self::Value, E> { Ok(Node::Number(value as f64)) })+
    };
}

impl<'de> Visitor<'de> for Level {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a geo database")
    }

    numbers! { visit_f64: f64, visit_f32: f32, visit_u64: u64, visit_i64: i64, visit_u128: u128 }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Node::Nothing)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(value))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Node::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<&'de str>()? {
            entries.push((key, map.next_value_seed(Level(self.0 - 1))?));
        }
        Ok(Node::Map(entries))
    }
}
