//! The facilities of syslog by number and by name (RFC 5424, table 1; names as rsyslog and syslog-ng have them).

use serde::{Deserialize, Deserializer, de::Error as _};

const NAMES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// 0 to 23. By default 10, `authpriv`: security and authorization messages, which systems keep from most eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facility(pub u8);

impl Default for Facility {
    fn default() -> Self {
        Self(10)
    }
}

impl<'de> Deserialize<'de> for Facility {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrName {
            Number(u8),
            Name(String),
        }
        let hint =
            || D::Error::custom(format!("must be a number from 0 to 23, or one of {}", NAMES.join(", ")));
        let number = match NumberOrName::deserialize(deserializer).map_err(|_| hint())? {
            NumberOrName::Number(number) => number,
            NumberOrName::Name(name) => {
                let index = NAMES.iter().position(|known| *known == name).ok_or_else(hint)?;
                u8::try_from(index).map_err(|_| hint())?
            }
        };
        if usize::from(number) < NAMES.len() { Ok(Self(number)) } else { Err(hint()) }
    }
}
