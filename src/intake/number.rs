//! Numbers of records: whole ones, also where they are written with a point, and seconds.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};
use serde_json::value::RawValue;

use crate::domain::{
    money::decimal,
    price::{MAX_SECONDS, ServiceTier},
};

/// Decimal places of seconds that are kept.
const MILLI_PLACES: usize = 3;

/// Reads a whole number, not negative: `1000`, `1000.0` or `1e3`; null is none.
///
/// # Errors
/// Any other value.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Whole)
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, not negative")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let whole = u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
        Ok(Some(whole))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        // Beyond all bounds of records it is the largest number, which is refused with the bound.
        let is_whole = number >= 0.0 && number.fract() == 0.0;
        if is_whole {
            Ok(Some(number as u64))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

/// Seconds of sound or film, to the millisecond; what is finer is rounded half up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireSeconds {
    millis: u64,
}

impl WireSeconds {
    /// The length in milliseconds.
    pub fn millis(self) -> u64 {
        self.millis
    }
}

impl<'de> Deserialize<'de> for WireSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let millis = decimal(raw.get(), MILLI_PLACES).ok().map(|seconds| seconds.units);
        let bounded = millis.filter(|millis| *millis <= MAX_SECONDS * 1_000);
        let millis =
            bounded.ok_or_else(|| D::Error::custom(format!("expected a number from 0 to {MAX_SECONDS}")))?;
        Ok(Self { millis })
    }
}

impl Serialize for WireSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seconds, millis) = (self.millis / 1_000, self.millis % 1_000);
        let raw =
            RawValue::from_string(format!("{seconds}.{millis:03}")).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The service tier as providers name it in their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireServiceTier {
    /// Answered within a day.
    Batch,
    /// Answered when there is room.
    Flex,
    /// Answered before the others.
    Priority,
    /// The ordinary one, as OpenAI names it.
    Default,
    /// The ordinary one, as Anthropic names it.
    Standard,
}

impl WireServiceTier {
    /// The tier that may have prices of its own.
    pub fn priced(self) -> Option<ServiceTier> {
        match self {
            Self::Batch => Some(ServiceTier::Batch),
            Self::Flex => Some(ServiceTier::Flex),
            Self::Priority => Some(ServiceTier::Priority),
            Self::Default | Self::Standard => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Read {
        #[serde(default, deserialize_with = "whole")]
        count: Option<u64>,
        seconds: Option<WireSeconds>,
    }

    fn count(json: &str) -> Option<Option<u64>> {
        serde_json::from_str::<Read>(&format!(r#"{{"count":{json}}}"#)).ok().map(|read| read.count)
    }

    fn millis(json: &str) -> Option<u64> {
        let read = serde_json::from_str::<Read>(&format!(r#"{{"seconds":{json}}}"#)).ok()?;
        read.seconds.map(WireSeconds::millis)
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (json, expected) in [("0", 0), ("1000", 1000), ("1000.0", 1000), ("1e3", 1000), ("-0.0", 0)] {
            assert_eq!(count(json), Some(Some(expected)), "{json}");
        }
        assert_eq!(count("null"), Some(None));
        assert_eq!(count("1e30"), Some(Some(u64::MAX)), "left to the bound");
        for json in ["0.5", "-1", "-1.0", "\"1\"", "true", "[]", "{}"] {
            assert_eq!(count(json), None, "{json}");
        }
    }

    #[test]
    fn seconds_are_kept_to_the_millisecond() {
        for (json, expected) in
            [("0", 0), ("12.5", 12_500), ("0.0005", 1), ("1e6", 1_000_000_000), ("7.4304", 7_430)]
        {
            assert_eq!(millis(json), Some(expected), "{json}");
        }
        for json in ["-1", "1000000.001", "\"1\"", "true"] {
            assert_eq!(millis(json), None, "{json}");
        }
        let seconds = serde_json::from_str::<WireSeconds>("12.5").unwrap();
        assert_eq!(serde_json::to_string(&seconds).unwrap(), "12.500");
    }
}
