//! Limits: at most so much of a unit over a span, on a key, a project, or everything. Spans slide, or follow the
//! calendar.
//!
//! What a limit has used is kept in a counter ([`super::counter`]); the four windows of every key have their own
//! ([`super::window`]).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use super::calendar::Calendar;
use super::{
    DAY, HOUR, MINUTE, Millis, SECOND,
    calendar::Zone,
    subject::Subject,
    window::{Unit, bucket_expires_at, bucket_index},
};

/// The shortest span that slides.
pub const SHORTEST: Millis = SECOND;
/// The longest span that slides.
pub const LONGEST: Millis = 30 * DAY;

/// Over what a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// The last so many milliseconds, `SHORTEST` to `LONGEST`.
    Sliding(Millis),
    /// The calendar period that the moment is in.
    Calendar(Calendar),
}

impl Span {
    /// How long it is, or at most is, in milliseconds.
    pub fn length(self) -> Millis {
        match self {
            Self::Sliding(length) => length,
            Self::Calendar(Calendar::Hour) => HOUR,
            Self::Calendar(Calendar::Day) => DAY,
            Self::Calendar(Calendar::Week) => 7 * DAY,
            Self::Calendar(Calendar::Month) => 31 * DAY,
        }
    }

    /// When what is counted at `now` stops counting.
    pub fn counts_until(self, now: Millis, zone: &Zone) -> Millis {
        match self {
            Self::Sliding(length) => bucket_expires_at(length, bucket_index(length, now)),
            Self::Calendar(calendar) => calendar.period(now, zone).1,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calendar(calendar) => {
                let named = Calendar::ALL.iter().find(|(c, _)| c == calendar);
                f.write_str(named.map_or("", |(_, name)| name))
            }
            Self::Sliding(length) => {
                // The names that the four windows of every key have.
                let (unit, name) = match *length {
                    DAY => return f.write_str("24hour"),
                    l if l % DAY == 0 => (DAY, "d"),
                    l if l % HOUR == 0 => (HOUR, "hour"),
                    l if l % MINUTE == 0 => (MINUTE, "min"),
                    _ => (SECOND, "s"),
                };
                write!(f, "{}{name}", length / unit)
            }
        }
    }
}

/// A text that is no span.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be hour, day, week or month, or 1s to 30d such as 10s, 1min, 24hour, 7d")]
pub struct NoSpan;

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        if let Some((calendar, _)) = Calendar::ALL.iter().find(|(_, name)| *name == text) {
            return Ok(Self::Calendar(*calendar));
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(NoSpan)?;
        let (count, unit) = text.split_at(digits);
        let unit = match unit {
            "s" | "sec" => SECOND,
            "m" | "min" => MINUTE,
            "h" | "hour" => HOUR,
            "d" | "day" => DAY,
            _ => return Err(NoSpan),
        };
        let length = count.parse::<Millis>().ok().and_then(|count| count.checked_mul(unit)).ok_or(NoSpan)?;
        if (SHORTEST..=LONGEST).contains(&length) { Ok(Self::Sliding(length)) } else { Err(NoSpan) }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Whether a limit refuses what does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitMode {
    /// What does not fit is refused.
    #[default]
    Enforce,
    /// It is counted and shown, and what it would have refused is told; nothing is refused or delayed by it.
    Shadow,
}

impl LimitMode {
    /// Whether it only tells what it would have refused.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub fn is_shadow(&self) -> bool {
        *self == Self::Shadow
    }

    /// Whether it refuses what does not fit.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub fn enforces(&self) -> bool {
        *self == Self::Enforce
    }
}

/// One limit on whom it was set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What is counted: requests, tokens, or nano-dollars.
    pub unit: Unit,
    /// Over which span it is counted.
    pub span: Span,
    /// Most of it: requests, tokens, or nano-dollars.
    pub most: u64,
    /// Only requests to models of this name or pattern (`claude-*`); all together are one count.
    pub model: Option<Arc<str>>,
    /// Whether it refuses what does not fit.
    pub mode: LimitMode,
    /// At how much of it, in per cent, its use is told, ascending; `None`: as is usual for what it counts.
    pub alert_at: Option<Arc<[u8]>>,
    /// For how long everything that it applies to is refused once it is exceeded, in milliseconds.
    pub block: Option<Millis>,
}

/// The longest block, in seconds.
pub const LONGEST_BLOCK: u64 = 86_400;

/// The whole of a limit, in per cent.
pub const WHOLE_PERCENT: u8 = 100;
/// Most marks of one limit.
pub const MAX_MARKS: usize = 10;
/// The marks of a budget where none are set, in per cent.
const BUDGET_MARKS: [u8; 3] = [50, 80, WHOLE_PERCENT];

impl Limit {
    /// A limit of this most, on requests to any model, that refuses what does not fit.
    pub fn new(unit: Unit, span: Span, most: u64) -> Self {
        Self { unit, span, most, model: None, mode: LimitMode::Enforce, alert_at: None, block: None }
    }

    /// Whether it is a budget: a limit on dollars of a calendar period.
    pub fn is_budget(&self) -> bool {
        self.unit == Unit::CostUsd && matches!(self.span, Span::Calendar(_))
    }

    /// At how much of it, in per cent, its use is told, ascending.
    pub fn marks(&self) -> &[u8] {
        match &self.alert_at {
            Some(marks) => marks,
            None if self.is_budget() => &BUDGET_MARKS,
            // A stop is used up from the first.
            None if self.most == 0 => &[WHOLE_PERCENT],
            None => &[],
        }
    }
}

/// On whom a limit is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A key or a project.
    Subject(Subject),
    /// All requests together, whoever made them.
    Everything,
}

impl Scope {
    /// Reads what [`Scope::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            EVERYTHING => Some(Self::Everything),
            subject => Subject::stored(subject).ok().map(Self::Subject),
        }
    }

    /// The key or project that it is; `None` of everything.
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Subject(subject) => Some(subject),
            Self::Everything => None,
        }
    }

    /// As it is written: `key:…`, `project:…` or `everything`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Subject(subject) => subject.as_str(),
            Self::Everything => EVERYTHING,
        }
    }
}

/// The scope of all requests, as it is written.
const EVERYTHING: &str = "everything";

/// How soon a request is refused as a limit fills up.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Refused first, at the smallest share of a limit.
    Low,
    /// Refused after those of low priority.
    #[default]
    Medium,
    /// Only when the limit is full.
    High,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, written) in [
            ("1min", "1min"),
            ("60s", "1min"),
            ("90s", "90s"),
            ("24hour", "24hour"),
            ("1d", "24hour"),
            ("7d", "7d"),
            ("36h", "36hour"),
            ("month", "month"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), written, "{text}");
        }
        for text in ["", "1", "0s", "31d", "999999999999999999d", "-1s", "min", "fortnight", "1.5h"] {
            assert_eq!(text.parse::<Span>(), Err(NoSpan), "{text}");
        }
    }

    #[test]
    fn what_is_counted_stays_for_the_whole_span_and_a_sixtieth_at_most() {
        for length in [SHORTEST, 10 * SECOND, MINUTE, HOUR, DAY, LONGEST] {
            for now in [0, 1, 999, 123_456_789, 1_772_442_802_123] {
                let late = Span::Sliding(length).counts_until(now, &Zone::UTC) - now - length;
                assert!(late > 0 && late <= length / 60 + 1, "{length} {now} {late}");
            }
        }
    }
}
