//! Traffic bursts and work off schedule, against the seasonal baseline.
//!
//! Why: a runaway loop or a thief at work makes many more requests than the key ever does at this hour.
//!
//! Trips when: a minute, five minutes or an hour hold all of the following. Each is in the constant below that has its
//! name.
//! - `factor` times the baseline of this hour (`HOUR_FACTOR` of that in an hour).
//! - `HEADROOM` times the most that the span held around this hour.
//! - `ABOVE_BUSIEST` times the most that it ever held; in an hour `ABOVE_BUSIEST_HOUR` times. A young history has not
//!   seen much of what is usual, so each grows by two days over the days that are known.
//! - More than chance explains: `CHANCE` standard deviations of a Poisson count above the baseline.
//! - `min_requests`, in an hour `HOUR_LEAST` times that.
//!
//! This is high. It is critical at an hour at which a key of a week or more never works, from three times the most that
//! the span ever held and twice `min_requests`. Without another actor (`Case::held_to_its_actor`) it stays high.
//!
//! Also when: most of what is above the baseline of an hour comes from a place that is new since a day. High.
//! Also when: a key that works a few hours of the day is at work in an hour in which it never is. High.
//!
//! Stays quiet when: the history is shorter than `min_hours`. The count is below `min_requests` (`LEAST` at an hour
//! at which the key never works). A key that is warming up is medium at most. What goes on an hour later is medium,
//! unless it is `CLEARLY_MORE` times what was reported.
//!
//! Blind spots: slow growth, which the baseline follows. A loop that stays below the key's own busiest minutes.

mod schedule;

use schedule::{has_daily_schedule, has_tight_schedule, is_off_its_first_schedule};

use super::{
    ALREADY_REPORTED, Case, DetectorResult, Evidence, Margin, Quiet, YOUNG, knowledge,
    seasonal_baseline::{SeasonalBaseline, SpanBaseline},
    weight::{is_warming_up, is_young},
};
use crate::domain::{
    HOUR,
    finding::{AnomalyKind, Finding, Severity},
    profile::{About, Profile},
    stable_hash,
    window::{FIVE_MINUTES, ONE_HOUR, ONE_MINUTE},
    wording::{number, whole},
};

const ADVICE: &str =
    "Look for a loop in the client; if the owner does not know this traffic, rotate the key.";

/// Standard deviations of a Poisson count above the baseline, from where on chance is no explanation.
const CHANCE: f64 = 6.0;
/// Times the most that the span held around this hour: a busy day holds half as much again.
const HEADROOM: f64 = 1.5;
/// Times the most that a minute or five minutes ever held: these peaks vary little.
const ABOVE_BUSIEST: f64 = 1.15;
/// Times the most that an hour ever held: people work twice as much on some days as on others.
const ABOVE_BUSIEST_HOUR: f64 = 1.5;
/// The same for an hour of work from a new place. It is less, as the place is evidence of its own, and more than 1,
/// as a traveller's days begin at other hours.
const ABOVE_BUSIEST_FROM_NEW_PLACE: f64 = 1.3;
/// Times the most that the span ever held, from where on nothing benign does the like.
const HUGE: f64 = 3.0;
/// Times `min_requests` that an hour must hold: an hour gathers more than five minutes do.
const HOUR_LEAST: f64 = 2.0;
/// Times `factor` that an hour must hold: hours vary more from day to day than their busiest minutes.
const HOUR_FACTOR: f64 = 4.0 / 3.0;
/// Days of history before a whole hour, or work from a new place, is judged: fewer do not show how hours vary.
const DAYS_BEFORE_HOURS: u32 = 3;
/// Requests that can be a burst at an hour at which the key never works, where none are usual.
const LEAST: u64 = 12;

/// Standard deviations above the baseline for work from a new place: the place is evidence of its own.
const CHANCE_FROM_NEW_PLACE: f64 = 4.0;
/// Requests in an hour that can be a burst from a new place.
const LEAST_FROM_NEW_PLACE: u64 = 20;

/// Requests in an hour that are work off schedule; fewer may be somebody who looks something up.
const LEAST_OFF_SCHEDULE: u64 = 16;
/// The part of the busiest hour that is work off schedule in the first days.
const FIRST_PART_OF_BUSIEST: f64 = 0.25;

/// What goes on is high again from so many times what was reported.
const CLEARLY_MORE: f64 = 1.5;

/// What a span of time holds, and from how many requests on it is a burst.
struct Span {
    unit: &'static str,
    observed: u64,
    usual: SpanBaseline,
    threshold: f64,
}

/// Holds a minute, five minutes and an hour against the seasonal baseline.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.traffic_burst;
    let counts = &case.key.counts;
    let least = policy.min_requests.min(LEAST);
    let busiest = counts[FIVE_MINUTES].requests.max(counts[ONE_HOUR].requests);
    if busiest < least {
        let (busiest, least) = (busiest as f64, least as f64);
        return Err(Quiet::below("too few requests for a burst", busiest, least, "requests in 1 hour"));
    }
    let hour = case.now().div_euclid(HOUR);
    let work_out = || SeasonalBaseline::at(case.profile, case.now(), policy.min_hours);
    let seasonal = case.recent.seasonal(hour, work_out);
    let seasonal = seasonal.ok_or_else(|| too_short(case.profile, hour, policy.min_hours))?;
    let spans = spans(case, &seasonal);
    if let Some((severity, span)) = worst(case, &spans, &seasonal) {
        return Ok(finding(case, span, severity, &seasonal));
    }
    let quiet = || Quiet { why: "no more than usual around this hour", margin: Some(nearest(&spans)) };
    from_new_place(case, &seasonal).or_else(|| off_schedule(case, &seasonal)).ok_or_else(quiet)
}

/// The span that is a burst, the one of the highest severity and then the longest.
fn worst<'a>(
    case: &Case<'_>,
    spans: &'a [Span; 3],
    seasonal: &SeasonalBaseline,
) -> Option<(Severity, &'a Span)> {
    let bursts = spans.iter().filter(|span| span.observed as f64 >= span.threshold);
    bursts.map(|span| (severity(case, span, seasonal), span)).max_by_key(|(severity, _)| *severity)
}

/// How near the nearest span is to a burst.
fn nearest(spans: &[Span; 3]) -> Margin {
    let none = Margin { observed: 0.0, threshold: f64::INFINITY, unit: "requests in 1 minute" };
    let margins = spans.iter().map(|span| Margin {
        observed: span.observed as f64,
        threshold: span.threshold,
        unit: span.unit,
    });
    margins.fold(none, |nearest, margin| if margin.share() >= nearest.share() { margin } else { nearest })
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

/// Times the busiest ever that a count has to be: the younger the history, the more.
fn headroom(case: &Case<'_>, settled: f64) -> f64 {
    settled * (1.0 + 2.0 / f64::from(case.profile.days.count().max(1)))
}

/// How bad a burst is. It is high, and critical where nothing benign does the like: at an hour at which a key of a
/// week or more never works, with far more than it does in its busiest.
fn severity(case: &Case<'_>, span: &Span, seasonal: &SeasonalBaseline) -> Severity {
    let floor = 2 * case.policy.detectors.traffic_burst.min_requests;
    let huge = span.observed as f64 >= HUGE * span.usual.busiest && span.observed >= floor;
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

/// A burst of which at least half of what is above the baseline comes from a place that is new since a day. Volume and
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

/// Work of a key with a schedule in an hour in which it never works.
fn off_schedule(case: &Case<'_>, seasonal: &SeasonalBaseline) -> Option<Finding> {
    let observed = case.key.counts[ONE_HOUR].requests;
    let min_requests = case.policy.detectors.traffic_burst.min_requests;
    let tight = has_tight_schedule(case, seasonal);
    let first = is_off_its_first_schedule(case, seasonal);
    let least = min_requests.min(LEAST) as f64;
    let threshold = match () {
        () if first => (seasonal.hour.busiest * FIRST_PART_OF_BUSIEST).max(least),
        () if tight => least,
        () => min_requests.min(LEAST_OFF_SCHEDULE) as f64,
    };
    let scheduled = if seasonal.usual_hour { first } else { tight || has_daily_schedule(case, seasonal) };
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
