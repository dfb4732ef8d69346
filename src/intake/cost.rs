//! The cost that a caller names: a JSON number, or the same in quotes, read digit by digit. JSON knows no binary
//! fractions, and neither does an invoice.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

use crate::domain::money::{NANO_PLACES, NANOS_PER_DOLLAR, Usd, decimal};

/// Highest cost of one record, in USD.
const MAX_USD: u64 = 1_000_000;

/// US dollars, to the nano-dollar; what is finer is rounded half up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WireCost(Usd);

impl WireCost {
    /// What costs nothing, as the caller knows.
    pub const NOTHING: Self = Self(Usd(0));

    /// The cost in nano-dollars.
    pub fn nanos(self) -> u64 {
        self.0.0
    }
}

impl<'de> Deserialize<'de> for WireCost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let nanos = decimal(digits, NANO_PLACES).ok().map(|cost| cost.units);
        let bounded = nanos.filter(|nanos| *nanos <= MAX_USD * NANOS_PER_DOLLAR);
        let cost = bounded.ok_or_else(|| Error::custom(format!("expected a number from 0 to {MAX_USD}")))?;
        Ok(Self(Usd(cost)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<u64> {
        serde_json::from_str::<WireCost>(json).ok().map(WireCost::nanos)
    }

    #[test]
    fn numbers_and_texts_are_read_by_their_digits() {
        for (json, nanos) in [
            ("0.0075", 7_500_000),
            ("\"0.0075\"", 7_500_000),
            ("7.5e-3", 7_500_000),
            ("1000000", 1_000_000_000_000_000),
            ("0.1234567885", 123_456_789),
            // As binary fractions these two would be the same.
            ("999999.000000001", 999_999_000_000_001),
            ("999999.0000000010000000000000001", 999_999_000_000_001),
        ] {
            assert_eq!(read(json), Some(nanos), "{json}");
            let value = serde_json::from_str::<serde_json::Value>(json).unwrap();
            assert!(serde_json::from_value::<WireCost>(value).is_ok(), "{json} within a value");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for json in
            ["-0.01", "1000000.000000001", "1e400", "true", "[]", "{}", "\"\"", "\"a\"", "\"1\\u0030\""]
        {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let cost = serde_json::from_str::<WireCost>("7.4560e-3").unwrap();
        assert_eq!(serde_json::to_string(&cost).unwrap(), "\"0.007456\"");
    }
}
