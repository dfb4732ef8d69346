//! Where a route leads: the name of an upstream, or a table with its weight and the model that it is asked for.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Where requests of a route may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The upstream, by its name.
    pub name: String,
    /// Its share of keys beside the others of the list, from 0 to 10000.
    pub weight: u32,
    /// The model that is asked for there; none: the one that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The weight of a target that names none.
const WEIGHT: u32 = 100;

fn weight() -> u32 {
    WEIGHT
}

/// A target as it is written in a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default = "weight")]
    weight: u32,
    #[serde(default)]
    model: Option<String>,
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an upstream, or a table with name, weight and model")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Target, E> {
        Ok(Target { name: name.to_owned(), weight: WEIGHT, model: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
        let Written { name, weight, model } = Written::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Target { name, weight, model })
    }
}
