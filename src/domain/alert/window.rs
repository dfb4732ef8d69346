//! The window of a rule: the last so many minutes, hours or days.

use serde::{Deserialize, Serialize};

use crate::domain::{DAY, HOUR, MINUTE, Millis};

/// The longest window: the roll-ups of hours are kept a little longer.
const LONGEST: Millis = 31 * DAY;

/// A length from `1min` to `31d`, in whole minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlertWindow(Millis);

impl AlertWindow {
    /// Its length in milliseconds.
    pub fn millis(self) -> Millis {
        self.0
    }

    fn read(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "m" | "min" => MINUTE,
            "h" | "hour" => HOUR,
            "d" | "day" => DAY,
            _ => return None,
        };
        let length = number.parse::<Millis>().ok()?.checked_mul(unit)?;
        (MINUTE..=LONGEST).contains(&length).then_some(Self(length))
    }
}

impl TryFrom<String> for AlertWindow {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::read(&text).ok_or("must be 1min to 31d, such as 5min, 24hour or 7d")
    }
}

impl From<AlertWindow> for String {
    fn from(window: AlertWindow) -> Self {
        match window.0 {
            length if length % DAY == 0 => format!("{}d", length / DAY),
            length if length % HOUR == 0 => format!("{}hour", length / HOUR),
            length => format!("{}min", length / MINUTE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_minute_to_31_days_and_is_written_in_its_largest_unit() {
        for (text, written) in
            [("1min", "1min"), ("90m", "90min"), ("60min", "1hour"), ("24hour", "1d"), ("31d", "31d")]
        {
            assert_eq!(AlertWindow::try_from(text.to_owned()).map(String::from), Ok(written.to_owned()));
        }
        for text in ["", "0min", "32d", "1w", "5", "30s", "-1min", "1.5hour", "99999999999999999999d"] {
            assert!(AlertWindow::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
