//! How often days are judged: so that checks never lie across an hour or a day, an interval divides the hour.

use serde::{Deserialize, Serialize};

use crate::domain::{HOUR, MINUTE, Millis};

/// The time from one check to the next: whole minutes that divide an hour. Written as `5m` or `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckInterval(Millis);

impl CheckInterval {
    /// One check an hour: the longest.
    pub const HOUR: Self = Self(HOUR);

    /// So many minutes; `None` where they do not divide an hour.
    pub fn of_minutes(minutes: i64) -> Option<Self> {
        let divides = (1..=60).contains(&minutes) && 60 % minutes == 0;
        divides.then_some(Self(minutes * MINUTE))
    }

    /// Its length in milliseconds.
    pub fn millis(self) -> Millis {
        self.0
    }

    /// Its length in minutes.
    pub fn minutes(self) -> i64 {
        self.0 / MINUTE
    }

    /// The last check at or before a moment.
    pub fn last(self, now: Millis) -> Millis {
        now.div_euclid(self.0) * self.0
    }

    fn read(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let minutes = match unit {
            "m" | "min" => 1,
            "h" | "hour" => 60,
            _ => return None,
        };
        Self::of_minutes(number.parse::<i64>().ok()?.checked_mul(minutes)?)
    }
}

impl TryFrom<String> for CheckInterval {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hint = "must be 1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m, 30m or 1h: whole minutes that divide an hour";
        Self::read(&text).ok_or(hint)
    }
}

impl From<CheckInterval> for String {
    fn from(interval: CheckInterval) -> Self {
        if interval == CheckInterval::HOUR { "1h".to_owned() } else { format!("{}m", interval.minutes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_divides_the_hour_and_is_written_as_it_is_read() {
        for (text, minutes, written) in
            [("1m", 1, "1m"), ("5min", 5, "5m"), ("60m", 60, "1h"), ("1hour", 60, "1h"), ("30m", 30, "30m")]
        {
            let interval = CheckInterval::try_from(text.to_owned()).unwrap();
            assert_eq!((interval.minutes(), String::from(interval)), (minutes, written.to_owned()));
        }
        for text in ["", "m", "0m", "7m", "90m", "2h", "5", "5s", "-5m", "5 m", "99999999999999999999m"] {
            assert!(
                CheckInterval::try_from(text.to_owned()).unwrap_err().contains("divide an hour"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_last_check_is_never_after_the_moment() {
        let five = CheckInterval::of_minutes(5).unwrap();
        assert_eq!(
            (five.last(5 * MINUTE), five.last(5 * MINUTE - 1), five.last(-1)),
            (5 * MINUTE, 0, -5 * MINUTE)
        );
    }
}
