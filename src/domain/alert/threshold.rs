//! A figure of a rule, kept as it is written and compared exactly.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::domain::money::{NANO_PLACES, decimal};

/// A figure, exactly as it is written: a whole number, or a decimal in quotes with up to 9 places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Threshold {
    text: String,
    #[serde(skip)]
    billionths: u64,
}

impl Threshold {
    /// In billionths: of a dollar, nano-dollars.
    pub fn billionths(&self) -> u64 {
        self.billionths
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(u64),
            Text(String),
        }
        let hint = "must be a whole number, or a decimal in quotes such as \"12.5\", not below 0";
        let text = match Written::deserialize(deserializer).map_err(|_| D::Error::custom(hint))? {
            Written::Whole(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let read = decimal(&text, NANO_PLACES).map_err(|_| D::Error::custom(hint))?;
        Ok(Self { text, billionths: read.units })
    }
}
