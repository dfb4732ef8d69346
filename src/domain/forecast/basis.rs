//! From which past hours an hour to come is expected: the finer, the more of them are known.

use crate::domain::{Millis, calendar::Zone};

/// With so many hours each hour of the week was seen twice.
const WEEKS: usize = 14 * 24;
/// With so many hours each hour of the day was seen three times.
const DAYS: usize = 3 * 24;

/// From which past hours an hour to come is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The same hour of the same weekday: two weeks or more are known.
    HourOfWeek,
    /// The same hour of any day: three days or more are known.
    HourOfDay,
    /// All: at least an hour is known.
    Flat,
    /// None is known: nothing more is expected.
    Nothing,
}

impl Basis {
    /// The name of it in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::HourOfWeek => "hour_of_week",
            Self::HourOfDay => "hour_of_day",
            Self::Flat => "flat",
            Self::Nothing => "nothing",
        }
    }

    /// The finest that so many known hours make.
    pub(super) fn of(hours: usize) -> Self {
        match hours {
            0 => Self::Nothing,
            _ if hours >= WEEKS => Self::HourOfWeek,
            _ if hours >= DAYS => Self::HourOfDay,
            _ => Self::Flat,
        }
    }

    /// How many kinds of hours there are.
    pub(super) fn kinds(self) -> f64 {
        match self {
            Self::HourOfWeek => 168.0,
            Self::HourOfDay => 24.0,
            Self::Flat | Self::Nothing => 1.0,
        }
    }

    /// Which kind an hour is of, from 0, by the clocks of a zone.
    pub(super) fn kind(self, hour: Millis, zone: &Zone) -> usize {
        let (day, of_day) = zone.weekday_and_hour(hour).unwrap_or_default();
        match self {
            Self::HourOfWeek => day * 24 + of_day,
            Self::HourOfDay => of_day,
            Self::Flat | Self::Nothing => 0,
        }
    }
}
