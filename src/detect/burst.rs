//! Traffic bursts and off-schedule work, against the seasonal baseline.
//!
//! Why: a runaway loop or a thief at work makes many more requests than the key ever does at this hour.
//! Trips when: a minute, five minutes or an hour hold `factor` times the baseline of this hour of the week, half as
//! much again as they ever held at it, clearly more than they ever held at all, and more than chance explains (six
//! standard deviations of a Poisson count). From a place that is new to the key less will do. Also when a key that
//! works a few hours a day is at work in an hour in which it never is.
//! Stays quiet when: the history is shorter than `min_hours`, or the count is below `min_requests` (12 at an hour at which
//! the key never works). Medium while the key is warming up. What goes on an hour later is medium.
//! Blind spots: slow growth, which the baseline follows.

use super::{
    ALREADY_REPORTED, Case, DetectorResult, Evidence, Margin, Quiet, YOUNG, knowledge,
    seasonal_baseline::{SeasonalBaseline, SpanBaseline},
    weight::{is_warming_up, is_young},
};
use crate::domain::{
    DAY, HOUR, Millis,
    finding::{AnomalyKind, Finding, Severity},
    profile::{About, Profile},
    stable_hash,
    window::{FIVE_MINUTES, ONE_HOUR, ONE_MINUTE},
    wording::{number, whole},
};

const ADVICE: &str =
    "Look for a loop in the client; if the owner does not know this traffic, rotate the key.";
/// Standard deviations of a Poisson count beyond which chance is no explanation.
const CHANCE: f64 = 6.0;
/// A burst is so many times the most that was ever seen at this hour,
const HEADROOM: f64 = 1.5;
/// and so many times the most that was ever seen at all: of a minute and five minutes,
const ABOVE_BUSIEST: f64 = 1.15;
/// of an hour (people work twice as much on some days as on others),
const ABOVE_BUSIEST_HOUR: f64 = 1.5;
/// of an hour of work from a new place (a traveller's days begin at other hours). Each grows with two days over the days
/// known: a young history has not seen much of what is usual.
const ABOVE_BUSIEST_FROM_NEW_PLACE: f64 = 1.3;
/// A key has a schedule that works in no more hours of the day than this, for at least so many days, and so many
/// requests a day: fewer are a person's.
const SCHEDULED_HOURS: usize = 6;
const SCHEDULE_DAYS: u32 = 3;
const SCHEDULED_REQUESTS: u64 = 25;
/// Also one that keeps to very few hours, since so long, and is busy in these.
const TIGHT_HOURS: usize = 3;
const TIGHT_FOR: Millis = 5 * DAY;
const TIGHT_REQUESTS_PER_HOUR: u64 = 8;
/// In its first days, one that keeps to so few hours, busy with as many requests in each as only a machine makes.
const FIRST_DAYS: Millis = 2 * DAY;
const FIRST_REQUESTS_PER_HOUR: u64 = 16;
/// At an hour at which the key never works, this many requests can be a burst.
const LEAST: u64 = 12;
/// and so many are work, for a key that is not at work at all then.
const LEAST_OFF_SCHEDULE: u64 = 16;
/// In a whole hour, it takes this many times `min_requests` for one, this many times `factor`,
const HOUR_LEAST: f64 = 2.0;
const HOUR_FACTOR: f64 = 4.0 / 3.0;
/// Work from a new place: standard deviations above the baseline,
const CHANCE_FROM_NEW_PLACE: f64 = 4.0;
/// requests,
const LEAST_FROM_NEW_PLACE: u64 = 20;
/// and days of history, as for a whole hour.
const DAYS_BEFORE_HOURS: u32 = 3;
/// What goes on is high again from so many times what was reported.
const CLEARLY_MORE: f64 = 1.5;

/// One span of time, and how much of it would be too much.
struct Span {
    unit: &'static str,
    observed: u64,
    usual: SpanBaseline,
    threshold: f64,
}

/// Holds the windows against the seasonal baseline.
pub fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.traffic_burst;
    let counts = &case.key.counts;
    let least = policy.min_requests.min(LEAST);
    let busiest = counts[FIVE_MINUTES].requests.max(counts[ONE_HOUR].requests);
    if busiest < least {
        let (busiest, least) = (busiest as f64, least as f64);
        return Err(Quiet::below("too few requests for a burst", busiest, least, "requests in 1 hour"));
    }
    let hour = case.now().div_euclid(HOUR);
    let seasonal =
        case.recent.seasonal(hour, || SeasonalBaseline::at(case.profile, case.now(), policy.min_hours));
    let seasonal = seasonal.ok_or_else(|| too_short(case.profile, hour, policy.min_hours))?;
    let mut nearest = Margin { observed: 0.0, threshold: f64::INFINITY, unit: "requests in 1 minute" };
    let mut worst: Option<(Severity, Span)> = None;
    for span in spans(case, &seasonal) {
        let margin = Margin { observed: span.observed as f64, threshold: span.threshold, unit: span.unit };
        if margin.observed < margin.threshold {
            nearest = if margin.share() >= nearest.share() { margin } else { nearest };
            continue;
        }
        let severity = severity(case, &span, &seasonal);
        if worst.as_ref().is_none_or(|(other, _)| severity >= *other) {
            worst = Some((severity, span));
        }
    }
    if let Some((severity, span)) = worst {
        return Ok(finding(case, &span, severity, &seasonal));
    }
    let usual = Quiet { why: "no more than usual around this hour", margin: Some(nearest) };
    from_new_place(case, &seasonal).or_else(|| off_schedule(case, &seasonal)).ok_or(usual)
}

fn spans(case: &Case<'_>, seasonal: &SeasonalBaseline) -> [Span; 3] {
    let policy = &case.policy.detectors.traffic_burst;
    let span = |unit, window: usize, usual: SpanBaseline| {
        let least = policy.min_requests as f64;
        let baseline = usual.baseline;
        let floor = match window {
            ONE_HOUR => least * HOUR_LEAST,
            _ if seasonal.usual_hour => least,
            _ => least.min(LEAST as f64),
        };
        let chance = baseline + CHANCE * baseline.sqrt();
        let (factor, above) = match window {
            ONE_HOUR if case.profile.days.count() < DAYS_BEFORE_HOURS => (f64::INFINITY, ABOVE_BUSIEST_HOUR),
            ONE_HOUR => (policy.factor * HOUR_FACTOR, ABOVE_BUSIEST_HOUR),
            _ => (policy.factor, ABOVE_BUSIEST),
        };
        let threshold = (baseline.max(1.0) * factor)
            .max(usual.highest * HEADROOM)
            .max(usual.busiest * headroom(case, above))
            .max(chance)
            .max(floor);
        Span { unit, observed: case.key.counts[window].requests, usual, threshold }
    };
    [
        span("requests in 1 minute", ONE_MINUTE, seasonal.minute),
        span("requests in 5 minutes", FIVE_MINUTES, seasonal.five_minutes),
        span("requests in 1 hour", ONE_HOUR, seasonal.hour),
    ]
}

/// How far above the busiest ever a count has to be: the younger the history, the farther.
fn headroom(case: &Case<'_>, settled: f64) -> f64 {
    settled * (1.0 + 2.0 / f64::from(case.profile.days.count().max(1)))
}

/// High; critical where nothing benign does the like: at an hour at which a settled key never works, and far more than
/// it does in its busiest.
fn severity(case: &Case<'_>, span: &Span, seasonal: &SeasonalBaseline) -> Severity {
    let floor = 2 * case.policy.detectors.traffic_burst.min_requests;
    let huge = span.observed as f64 >= 3.0 * span.usual.busiest && span.observed >= floor;
    if !seasonal.usual_hour && huge && !is_young(case.profile, case.now()) {
        Severity::Critical
    } else {
        Severity::High
    }
}

fn too_short(profile: &Profile, hour: i64, min_hours: u32) -> Quiet {
    let hours = profile.first_seen.map_or(0, |first| hour - first.div_euclid(HOUR));
    Quiet::below("the history is too short", hours as f64, f64::from(min_hours), "hours of history")
}

/// More than usual, and most of what is more comes from a place that the key has not been used from for a day: volume and
/// place together are evidence where neither is.
fn from_new_place(case: &Case<'_>, seasonal: &SeasonalBaseline) -> Option<Finding> {
    let place = &case.here?;
    let observed = case.key.counts[ONE_HOUR].requests;
    let usual = seasonal.hour;
    let baseline = usual.baseline;
    let chance = baseline + CHANCE_FROM_NEW_PLACE * baseline.sqrt();
    let threshold = (usual.busiest * headroom(case, ABOVE_BUSIEST_FROM_NEW_PLACE)).max(chance);
    let threshold = threshold.max(LEAST_FROM_NEW_PLACE as f64);
    let known = case.profile.days.count() >= DAYS_BEFORE_HOURS;
    if (observed as f64) < threshold || !known || !knowledge::is_fresh_place(case.profile, place, case.now())
    {
        return None;
    }
    let from_here = knowledge::hits_from(&case.key.peers, place) + 1;
    if from_here < LEAST_FROM_NEW_PLACE.min(LEAST) || (from_here as f64) < (observed as f64 - baseline) / 2.0
    {
        return None;
    }
    let unit = "requests in 1 hour, from a new place";
    Some(finding(case, &Span { unit, observed, usual, threshold }, Severity::High, seasonal))
}

/// Work of a scheduled key in an hour in which it never works.
fn off_schedule(case: &Case<'_>, seasonal: &SeasonalBaseline) -> Option<Finding> {
    let observed = case.key.counts[ONE_HOUR].requests;
    let policy = &case.policy.detectors.traffic_burst;
    let minimum = policy.min_requests.min(LEAST);
    let profile = case.profile;
    let days = profile.days.count();
    let daily = days >= SCHEDULE_DAYS
        && profile.requests >= SCHEDULED_REQUESTS * u64::from(days)
        && seasonal.active_hours <= SCHEDULED_HOURS;
    let tight = seasonal.active_hours <= TIGHT_HOURS
        && profile.first_seen.is_some_and(|first| case.now() - first >= TIGHT_FOR)
        && profile.requests >= TIGHT_REQUESTS_PER_HOUR * profile.history.hours().count() as u64;
    let first = seasonal.first_time
        && seasonal.active_hours <= TIGHT_HOURS
        && profile.first_seen.is_some_and(|first| case.now() - first >= FIRST_DAYS)
        && profile.requests >= FIRST_REQUESTS_PER_HOUR * profile.history.hours().count() as u64;
    let threshold = match () {
        () if first => (seasonal.hour.busiest / 4.0).max(minimum as f64),
        () if tight => minimum as f64,
        () => policy.min_requests.min(LEAST_OFF_SCHEDULE) as f64,
    };
    let scheduled = if seasonal.usual_hour { first } else { daily || tight };
    if !scheduled || (observed as f64) < threshold {
        return None;
    }
    let unit = "requests in 1 hour, off schedule";
    let span = Span { unit, observed, usual: seasonal.hour, threshold };
    Some(finding(case, &span, Severity::High, seasonal))
}

fn finding(case: &Case<'_>, span: &Span, severity: Severity, seasonal: &SeasonalBaseline) -> Finding {
    let Span { unit, observed, usual, threshold } = *span;
    let about = About { what: stable_hash(unit.as_bytes()) as u32, level: observed as f64 };
    let reported = || {
        case.reported(AnomalyKind::TrafficBurst, about.what)
            .is_some_and(|level| about.level < level * CLEARLY_MORE)
    };
    let (severity, because) = match severity {
        Severity::High if is_warming_up(case.profile, case.now()) => (Severity::Medium, Some(YOUNG)),
        Severity::High if reported() => (Severity::Medium, Some(ALREADY_REPORTED)),
        other => (other, None),
    };
    let summary = summary(span, seasonal);
    let evidence =
        Evidence::new(summary, observed as f64, usual.baseline, threshold, seasonal.samples as u64)
            .with("unit", unit)
            .with("baseline_scope", seasonal.scope)
            .with("usual_hour", seasonal.usual_hour)
            .number("times", observed as f64 / usual.baseline.max(1.0))
            .because(because);
    let score = 1.0 - 0.5 * threshold / observed as f64;
    Finding { about, ..case.finding(AnomalyKind::TrafficBurst, severity, score, evidence, ADVICE) }
}

fn summary(span: &Span, seasonal: &SeasonalBaseline) -> String {
    let unit = span.unit.trim_end_matches(", off schedule");
    let baseline = span.usual.baseline;
    let hour = if !seasonal.usual_hour || seasonal.first_time {
        "at which the key never works".to_owned()
    } else if baseline >= 1.0 {
        format!("that usually sees {} at most", number(baseline))
    } else {
        "that usually sees none".to_owned()
    };
    format!("{} {unit} at an hour {hour}; limit {}.", whole(span.observed), number(span.threshold))
}
