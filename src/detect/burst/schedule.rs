//! Whether a key keeps to a schedule: few hours of the day, and then busy as only a machine is.

use super::super::{Case, seasonal_baseline::SeasonalBaseline};
use crate::domain::{DAY, Millis};

/// Hours of the day in which a key with a schedule works at most; more are a person's.
const SCHEDULED_HOURS: usize = 6;
/// Days that show a schedule.
const SCHEDULE_DAYS: u32 = 3;
/// Requests a day of a key with a schedule; fewer are a person's.
const SCHEDULED_REQUESTS: u64 = 25;
/// Hours of the day in which a key with a tight schedule works at most.
const TIGHT_HOURS: usize = 3;
/// How long a key must have kept to a tight schedule.
const TIGHT_FOR: Millis = 5 * DAY;
/// Requests in each hour of a tight schedule; fewer are a person's.
const TIGHT_REQUESTS_PER_HOUR: u64 = 8;
/// How long a key must have kept to a tight schedule in its first days.
const FIRST_DAYS: Millis = 2 * DAY;
/// Requests in each hour of a tight schedule in the first days: so many only a machine makes.
const FIRST_REQUESTS_PER_HOUR: u64 = 16;

/// Whether the key has kept to a tight schedule for days.
pub(super) fn has_tight_schedule(case: &Case<'_>, seasonal: &SeasonalBaseline) -> bool {
    keeps_to_few_hours(case, seasonal, TIGHT_FOR, TIGHT_REQUESTS_PER_HOUR)
}

/// Whether the key has kept to a tight schedule in its first days, and is at work off it for the first time.
pub(super) fn is_off_its_first_schedule(case: &Case<'_>, seasonal: &SeasonalBaseline) -> bool {
    seasonal.first_time && keeps_to_few_hours(case, seasonal, FIRST_DAYS, FIRST_REQUESTS_PER_HOUR)
}

/// Whether the key works in few hours of each day, and then as a machine does.
pub(super) fn has_daily_schedule(case: &Case<'_>, seasonal: &SeasonalBaseline) -> bool {
    let days = case.profile.days.count();
    days >= SCHEDULE_DAYS
        && case.profile.requests >= SCHEDULED_REQUESTS * u64::from(days)
        && seasonal.active_hours <= SCHEDULED_HOURS
}

/// Whether the key has kept to very few hours of the day since so long, with so many requests in each that it worked.
fn keeps_to_few_hours(
    case: &Case<'_>,
    seasonal: &SeasonalBaseline,
    since: Millis,
    requests_per_hour: u64,
) -> bool {
    let profile = case.profile;
    seasonal.active_hours <= TIGHT_HOURS
        && profile.first_seen.is_some_and(|first| case.now() - first >= since)
        && profile.requests >= requests_per_hour * profile.history.known_hours() as u64
}
