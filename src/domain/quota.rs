//! Limits beyond a key's four windows: on a key, a project, or everything; for some models; in any unit; over spans
//! that slide or follow the calendar.
//!
//! A limit is counted in a *counter*: amounts with the moments at which they stop counting. For a span that slides,
//! that is when the bucket of the amount expires ([`super::window`] has the rule); for a calendar span, when the
//! period ends. A counter knows nothing else of time, so both stores and all spans share one rule.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use super::calendar::Calendar;
use super::{
    DAY, HOUR, MINUTE, Millis, SECOND,
    calendar::Zone,
    stable_hash,
    subject::Subject,
    window::{Counts, Unit, bucket_expires_at, bucket_index},
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

/// Where a limit is counted: a scope, and the limit's identity there. What a limit allows is not part of it, so that
/// raising a limit does not forget what was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counter {
    /// On whom it counts.
    pub scope: Scope,
    /// Unit, span, zone and models, hashed.
    pub id: u64,
}

impl Counter {
    /// The counter of a limit. Limits of a plan on a key and of the key itself share it: what they count is the same.
    pub fn of(scope: &Scope, limit: &Limit, zone: &Zone) -> Self {
        let zone = match limit.span {
            Span::Calendar(_) => zone.name(),
            Span::Sliding(_) => "",
        };
        let model = limit.model.as_deref().unwrap_or("");
        let text = format!("{}\n{}\n{zone}\n{model}", limit.unit.name(), limit.span);
        Self { scope: scope.clone(), id: stable_hash(text.as_bytes()) }
    }
}

/// What one request charges to one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaCharge {
    /// The counter that is charged.
    pub counter: Counter,
    /// How much, in the limit's unit.
    pub amount: u64,
    /// The most that the counter may hold with it.
    pub most: u64,
    /// When it stops counting ([`Span::counts_until`]).
    pub until: Millis,
    /// What a reservation holds there and this charge settles: amount and end.
    pub held: Option<(u64, Millis)>,
}

/// A change of a counter that no limit is asked about: an amount given back, an amount added, each with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaChange {
    /// The counter that is changed.
    pub counter: Counter,
    /// The amount that is given back, and its end.
    pub back: Option<(u64, Millis)>,
    /// The amount that is added, and its end.
    pub add: Option<(u64, Millis)>,
}

/// An estimate that is held until the request is reported, or until the lease ends: then all of it is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The name of it, which its holder settles it by.
    pub id: Arc<str>,
    /// Whose windows hold it.
    pub key: Arc<str>,
    /// When it was charged, by the store; set when it is read.
    #[serde(skip)]
    pub charged_at: Millis,
    /// What the windows hold of it.
    pub counts: Counts,
    /// What counters hold of it: scope, id, amount, end. These end by themselves.
    pub quotas: Vec<(Arc<str>, u64, u64, Millis)>,
    /// When it ends, if nobody settles it.
    pub until: Millis,
}

impl Lease {
    /// Whose windows hold it, as a subject.
    pub fn subject(&self) -> Subject {
        Subject::key(&self.key)
    }

    /// What it holds in a counter.
    pub fn held(&self, counter: &Counter) -> Option<(u64, Millis)> {
        let here = |(scope, id, _, _): &&(Arc<str>, u64, u64, Millis)| {
            **scope == *counter.scope.as_str() && *id == counter.id
        };
        self.quotas.iter().find(here).map(|(_, _, amount, until)| (*amount, *until))
    }
}

/// What a counter holds after a charge, or would without it where it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaCount {
    /// The amount that counts now.
    pub used: u64,
    /// When the oldest of it stops counting; `None` when it is empty.
    pub resets_at: Option<Millis>,
}

/// Which of the charges of a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// Its place among the charges; of several the one that keeps out longest.
    pub index: usize,
    /// When it would fit if nobody else came; `None`: it never does.
    pub retry_at: Option<Millis>,
}

/// Amounts that count until some moment, oldest first: what a store keeps of a counter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts(pub Vec<(Millis, u64)>);

impl Amounts {
    /// What counts at `now`.
    pub fn used(&self, now: Millis) -> QuotaCount {
        let counting = self.0.iter().filter(|(until, _)| *until > now);
        let used = counting.clone().fold(0_u64, |sum, (_, amount)| sum.saturating_add(*amount));
        QuotaCount { used, resets_at: counting.clone().next().map(|(until, _)| *until) }
    }

    /// When `amount` would fit below `most`; `None` when never.
    pub fn fits_at(&self, amount: u64, most: u64, now: Millis) -> Option<Millis> {
        if amount > most {
            return None;
        }
        let mut used = self.used(now).used;
        if used.saturating_add(amount) <= most {
            return Some(now);
        }
        for (until, part) in self.0.iter().filter(|(until, _)| *until > now) {
            used -= part;
            if used.saturating_add(amount) <= most {
                return Some(*until);
            }
        }
        None
    }

    /// Counts an amount, and forgets what has ended.
    pub fn add(&mut self, amount: u64, until: Millis, now: Millis) {
        self.0.retain(|(end, _)| *end > now);
        if amount == 0 || until <= now {
            return;
        }
        let at = self.0.partition_point(|(end, _)| *end < until);
        match self.0.get_mut(at) {
            Some((end, part)) if *end == until => *part = part.saturating_add(amount),
            _ => self.0.insert(at, (until, amount)),
        }
    }

    /// Gives an amount back that counted until then; nothing, if it has ended.
    pub fn give_back(&mut self, amount: u64, until: Millis) {
        if let Ok(at) = self.0.binary_search_by_key(&until, |(end, _)| *end) {
            self.0[at].1 = self.0[at].1.saturating_sub(amount);
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self, now: Millis) -> bool {
        self.0.last().is_none_or(|(end, _)| *end <= now)
    }
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

    #[test]
    fn amounts_leave_at_their_time_and_tell_when_more_fits() {
        let mut amounts = Amounts::default();
        for (amount, until) in [(5, 100), (3, 100), (4, 200)] {
            amounts.add(amount, until, 0);
        }
        assert_eq!(amounts.used(0), QuotaCount { used: 12, resets_at: Some(100) });
        assert_eq!(amounts.used(100), QuotaCount { used: 4, resets_at: Some(200) });
        let fits = |amount| amounts.fits_at(amount, 12, 0);
        assert_eq!([fits(0), fits(8), fits(9), fits(13)], [Some(0), Some(100), Some(200), None]);
        amounts.give_back(2, 100);
        assert_eq!(amounts.used(0).used, 10);
        amounts.add(1, 150, 0);
        amounts.give_back(1, 120);
        assert_eq!(amounts.0, [(100, 6), (150, 1), (200, 4)]);
        amounts.give_back(1, 150);
        amounts.add(1, 250, 100);
        assert_eq!(amounts.0, [(200, 4), (250, 1)]);
        assert_eq!((amounts.is_over(249), amounts.is_over(250)), (false, true));
    }

    #[test]
    fn raising_a_limit_forgets_nothing() {
        let limit =
            Limit { unit: Unit::CostUsd, span: Span::Calendar(Calendar::Month), most: 1, model: None };
        let raised = Limit { most: 2, ..limit.clone() };
        let scope = Scope::Subject(Subject::project("p"));
        let of = |limit: &Limit, name: &str| Counter::of(&scope, limit, &Zone::named(name).unwrap());
        assert_eq!(of(&limit, "UTC"), of(&raised, "UTC"));
        assert_ne!(of(&limit, "UTC"), of(&limit, "Asia/Tokyo"));
    }
}
