//! Dates, times of day and time zones: the one file that knows the library for them.
//!
//! Times are milliseconds since the Unix epoch. They have dates in the years 0000 to 9999, as RFC 3339 writes them. The
//! time zones are built in, as of the IANA database that the library carries; it knows clock changes up to the year
//! 2099, and afterwards a zone keeps the offset that it has then.

use std::{fmt::Write as _, str::FromStr as _};

use chrono::{
    DateTime, Datelike as _, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset as _,
    SecondsFormat, TimeZone as _, Timelike as _, Utc,
};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

use super::{DAY, HOUR, Millis, SECOND};

/// 0000-01-01T00:00:00Z: earlier times have no date.
const FIRST: Millis = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z: later times have no date.
const LAST: Millis = 253_402_300_799_999;
/// How many bytes of an RFC 3339 time its date has.
const DATE: usize = 10;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is not written as RFC 3339 wants it.
    #[error("must be an RFC 3339 time such as 2027-01-01T00:00:00Z")]
    Form(#[source] chrono::ParseError),
    /// In UTC, it is before the year 0000 or after the year 9999.
    #[error("must be in the years 0000 to 9999 of UTC")]
    Range,
}

fn utc(time: Millis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(time).filter(|_| (FIRST..=LAST).contains(&time))
}

/// Formats a time as RFC 3339 UTC with milliseconds. Times outside the years 0000 to 9999 show as the epoch.
pub fn format_millis(time: Millis) -> String {
    utc(time).unwrap_or(DateTime::UNIX_EPOCH).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time as [`format_millis`] has it, to the minute and without its zone: `2026-03-02 09:13`.
pub fn to_minute(time: &str) -> String {
    time.chars().take(16).collect::<String>().replace('T', " ")
}

/// Reads an RFC 3339 time; also one that leaves out its seconds, or the minutes of its offset or the colon before them,
/// as ISO 8601 may. What is finer than a millisecond is cut off, and a leap second is the second before it.
///
/// # Errors
/// When `text` is no such time, or is outside the years 0000 to 9999.
pub fn parse_millis(text: &str) -> Result<Millis, TimeError> {
    let read = DateTime::parse_from_rfc3339(text);
    let completed = |error| {
        let text = completed(text).ok_or(error)?;
        DateTime::parse_from_rfc3339(&text).map_err(|_| error)
    };
    let read = read.or_else(completed).map_err(TimeError::Form)?;
    let leap = if read.timestamp_subsec_millis() >= 1_000 { 1_000 } else { 0 };
    let time = read.timestamp_millis() - leap;
    if (FIRST..=LAST).contains(&time) { Ok(time) } else { Err(TimeError::Range) }
}

/// The time with what RFC 3339 wants and ISO 8601 does not.
fn completed(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(DATE)?;
    let (time, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let seconds = if time.len() == "T00:00".len() { ":00" } else { "" };
    let (hours, minutes) = offset.split_at_checked("+00".len()).unwrap_or((offset, ""));
    let minutes = match minutes.len() {
        0 if hours.len() > 1 => ":00".to_owned(),
        2 => format!(":{minutes}"),
        _ => minutes.to_owned(),
    };
    Some(format!("{date}{time}{seconds}{hours}{minutes}"))
}

/// Reads a date of HTTP or mail, such as `Fri, 31 Dec 1999 23:59:59 GMT` (RFC 9110, RFC 2822).
pub fn parse_http_date(text: &str) -> Option<Millis> {
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.timestamp_millis())
}

/// A time in UTC by a pattern of `strftime`; `None` for times outside the years 0000 to 9999, or a wrong pattern.
pub fn strftime(time: Millis, pattern: &'static str) -> Option<String> {
    let mut text = String::new();
    write!(text, "{}", utc(time)?.format(pattern)).ok()?;
    Some(text)
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Without summer time, nought hours from Greenwich: the zone of whoever names none.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone of this name, whatever the case of its letters. An alias remains what it is.
    pub fn named(name: &str) -> Option<Self> {
        let in_any_case = || TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)).copied();
        Tz::from_str(name).ok().or_else(in_any_case).map(Self)
    }

    /// The name of it, in the case that the database has: `Asia/Tokyo`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The day of the week (0 is Monday) and the hour of the day (0 to 23) that clocks show there.
    pub fn weekday_and_hour(self, time: Millis) -> Option<(usize, usize)> {
        let local = self.local(time)?;
        let hour = usize::try_from(local.hour()).ok()?;
        Some((usize::try_from(local.weekday().num_days_from_monday()).ok()?, hour))
    }

    /// The first moment of a day there that is written as `2026-03-01`; `None` for any other text.
    pub fn begin_of_day(self, date: &str) -> Option<Millis> {
        let is_written_in_full = date.len() == DATE && date.starts_with(|c: char| c.is_ascii_digit());
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().filter(|_| is_written_in_full)?;
        self.midnight(day).filter(|time| (FIRST..=LAST).contains(time))
    }

    fn local(self, time: Millis) -> Option<NaiveDateTime> {
        utc(time).map(|time| time.with_timezone(&self.0).naive_local())
    }

    /// How far its clocks are ahead of UTC.
    fn offset(self, time: Millis) -> Millis {
        let clock = |local: NaiveDateTime| local.and_utc().timestamp_millis() - time;
        self.local(time).map_or(0, clock)
    }

    /// The first moment of a day. Where clocks are put forward over midnight that is when they are; where midnight
    /// comes twice, it is the first.
    fn midnight(self, day: NaiveDate) -> Option<Millis> {
        let midnight = day.and_time(NaiveTime::MIN);
        let first = match self.0.from_local_datetime(&midnight) {
            MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => time,
            MappedLocalTime::None => {
                let (local, offset) = GapInfo::new(&midnight, &self.0)?.begin?;
                return Some(
                    (local.and_utc().timestamp() - Millis::from(offset.fix().local_minus_utc())) * SECOND,
                );
            }
        };
        Some(first.timestamp_millis())
    }

    /// From one full hour of its clocks to the next. Zones are off by quarters of an hour, and an hour that is repeated
    /// is two, so the offset decides; where clocks are changed within an hour, its two parts are two.
    fn hour(self, now: Millis) -> (Millis, Millis) {
        let offset = self.offset(now);
        let begin = (now + offset).div_euclid(HOUR) * HOUR - offset;
        let end = begin + HOUR;
        let is_same = |time| self.offset(time) == offset;
        (
            if is_same(begin) { begin } else { self.change(begin, now) },
            if is_same(end - 1) { end } else { self.change(now, end - 1) },
        )
    }

    /// When clocks are changed between two moments that have different offsets.
    fn change(self, mut before: Millis, mut after: Millis) -> Millis {
        let offset = self.offset(after);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            *(if self.offset(middle) == offset { &mut after } else { &mut before }) = middle;
        }
        after
    }
}

/// A period of the calendar, in the time zone of whom the limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// From the full hour.
    Hour,
    /// From midnight to midnight, 23 to 25 hours as a rule.
    Day,
    /// From midnight of one Monday to the next.
    Week,
    /// From the first of the month, midnight.
    Month,
}

impl Calendar {
    /// Every period with the name that settings and answers have for it, the shortest first.
    pub(super) const ALL: [(Self, &'static str); 4] =
        [(Self::Hour, "hour"), (Self::Day, "day"), (Self::Week, "week"), (Self::Month, "month")];

    /// The beginning of the period that `now` is in and of the next one: periods follow each other without a gap. Times
    /// that have no date are in a day of their own.
    pub fn period(self, now: Millis, zone: &Zone) -> (Millis, Millis) {
        let known = zone.local(now).and_then(|local| match self {
            Self::Hour => Some(zone.hour(now)),
            _ => self.around(local.date(), now, zone),
        });
        let begin = now.div_euclid(DAY) * DAY;
        known.unwrap_or_else(|| (begin, begin.saturating_add(DAY)))
    }

    /// The days, weeks or months around a moment whose date is `day`.
    fn around(self, day: NaiveDate, now: Millis, zone: &Zone) -> Option<(Millis, Millis)> {
        let first = match self {
            Self::Week => day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into()))?,
            Self::Month => day.with_day(1)?,
            _ => day,
        };
        let next = self.after(first)?;
        let end = zone.midnight(next)?;
        // Clocks that are put back over midnight show the day before again; but the new one has begun.
        if end <= now {
            Some((end, zone.midnight(self.after(next)?)?))
        } else {
            Some((zone.midnight(first)?, end))
        }
    }

    /// The first day of the period after the one that begins with `first`.
    fn after(self, first: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
            _ => first.succ_opt(),
        }
    }
}

#[cfg(test)]
mod tests;
