//! Serde for times on the wire: RFC 3339 UTC with milliseconds.

use serde::{Deserialize, Deserializer, Serializer};

use crate::domain::{
    Millis,
    calendar::{format_millis, parse_millis},
};

/// Writes the time as text.
pub fn serialize<S: Serializer>(time: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_millis(*time))
}

/// Reads the time; anything that is not RFC 3339 is an error.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    parse_millis(&text).map_err(serde::de::Error::custom)
}

/// The same for a time that may be absent.
pub mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::{
        Millis,
        calendar::{format_millis, parse_millis},
    };

    /// Writes the time or null.
    pub fn serialize<S: Serializer>(time: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&format_millis(*time)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the time or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.map(|t| parse_millis(&t).map_err(serde::de::Error::custom)).transpose()
    }
}
