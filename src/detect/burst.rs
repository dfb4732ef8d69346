//! Traffic bursts and off-schedule work, against the learned rhythm of the week.
//!
//! Why: a runaway loop or a thief at work makes many more requests than the key ever does at this hour.
//! Trips when: one minute or five minutes hold `factor` times the baseline of this hour of the week, and more than
//! chance explains (six standard deviations of a Poisson count). High at hours at which the key usually works,
//! critical at others. Also when a key that works a few hours a day is at work in an hour in which it never is.
//! Stays quiet when: the history is shorter than `min_hours`, or the count is below `min_requests` (below what the key
//! does in its busy hours, and 12, where it never works).
//! Blind spots: slow growth, which the baseline follows.
//!
//! Baseline: the median peak of the exact hour of the week over up to four weeks and the upper quartile of the peaks of
//! the hours of the day around it on the same kind of day (working day or weekend) over two weeks, whichever is larger;
//! with fewer than three such hours, the upper quartile of all hours.

use super::{Case, Evidence, Margin, Quiet, Verdict};
use crate::domain::{
    HOUR, Millis,
    finding::{AnomalyKind, Finding, Severity},
    profile::{HourStat, Profile},
    window::{FIVE_MINUTES, ONE_HOUR, ONE_MINUTE},
    wording::{number, whole},
};

const ADVICE: &str =
    "Look for a loop in the client; if the owner does not know this traffic, rotate the key.";
/// Standard deviations of a Poisson count beyond which chance is no explanation.
const CHANCE: f64 = 6.0;
/// A key that works in no more hours of the day than this has a schedule.
const SCHEDULED_HOURS: usize = 6;
/// Days of history before a schedule is one,
const SCHEDULE_DAYS: u32 = 3;
/// and requests a day: fewer are a person's.
const SCHEDULED_REQUESTS: u64 = 40;

/// At an hour at which the key never works, this many requests can be a burst.
const LEAST: u64 = 12;

/// What is usual in one span (a minute, five minutes) around this hour.
#[derive(Debug, Clone, Copy)]
struct Usual {
    /// Requests that the span holds at this hour of the week.
    baseline: f64,
    /// The most that it ever held.
    busiest: f64,
}

impl Usual {
    fn of(hours: &[HourStat], exact: &[HourStat], worked: &[HourStat], peak: fn(&HourStat) -> u64) -> Self {
        Self {
            baseline: quantile(hours, 0.75, peak).max(quantile(exact, 0.5, peak)),
            busiest: worked.iter().map(peak).max().unwrap_or(0) as f64,
        }
    }

    /// The least that is a burst at an hour at which the key never works: more than it does in its busy hours, though
    /// never more than `most`.
    fn least(&self, most: u64) -> f64 {
        self.busiest.max(LEAST as f64).min(most as f64)
    }
}

/// The rhythm of the key around this hour. It follows from the hours before, so it holds for the whole hour.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    minute: Usual,
    five_minutes: Usual,
    /// Hours that were compared.
    samples: usize,
    scope: &'static str,
    /// Whether the key was ever active at this hour of the day, or the ones beside it.
    usual_hour: bool,
    /// Hours of the day at which it was ever active.
    active_hours: usize,
}

impl Rhythm {
    /// At an hour at which the key never works a burst is critical, unless it is so small that a person may be it.
    fn severity(&self, observed: u64, min_requests: u64) -> Severity {
        if self.usual_hour || observed < min_requests { Severity::High } else { Severity::Critical }
    }
}

/// Holds the windows against the rhythm.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.policy.detectors.traffic_burst;
    let counts = &case.key.counts;
    let least = policy.min_requests.min(LEAST);
    let busiest = counts[FIVE_MINUTES].requests.max(counts[ONE_HOUR].requests);
    if busiest < least {
        let (busiest, least) = (busiest as f64, least as f64);
        return Err(Quiet::below("too few requests for a burst", busiest, least, "requests in 1 hour"));
    }
    let hour = case.now().div_euclid(HOUR);
    let rhythm = case.recent.rhythm(hour, || rhythm(case.profile, case.now(), policy.min_hours));
    let rhythm = rhythm.ok_or_else(|| too_short(case.profile, hour, policy.min_hours))?;
    let spans = [
        ("requests in 1 minute", counts[ONE_MINUTE].requests, rhythm.minute),
        ("requests in 5 minutes", counts[FIVE_MINUTES].requests, rhythm.five_minutes),
    ];
    let mut worst: Option<Finding> = None;
    let mut nearest = Margin { observed: 0.0, threshold: f64::INFINITY, unit: "requests in 1 minute" };
    for (unit, observed, usual) in spans {
        let baseline = usual.baseline;
        let chance = baseline + CHANCE * baseline.sqrt();
        let most = policy.min_requests;
        let least = if rhythm.usual_hour { most as f64 } else { usual.least(most) };
        let threshold = (baseline * policy.factor).max(chance).max(least);
        let severity = rhythm.severity(observed, most);
        let margin = Margin { observed: observed as f64, threshold, unit };
        if margin.observed < threshold {
            nearest = if margin.share() >= nearest.share() { margin } else { nearest };
        } else if worst.as_ref().is_none_or(|found| severity >= found.severity) {
            worst = Some(finding(case, severity, unit, observed, baseline, threshold, &rhythm));
        }
    }
    let usual = Quiet { why: "no more than usual around this hour", margin: Some(nearest) };
    worst.or_else(|| off_schedule(case, &rhythm)).ok_or(usual)
}

fn too_short(profile: &Profile, hour: i64, min_hours: u32) -> Quiet {
    let hours = profile.first_seen.map_or(0, |first| hour - first.div_euclid(HOUR));
    Quiet::below("the history is too short", hours as f64, f64::from(min_hours), "hours of history")
}

/// Work of a scheduled key in an hour in which it never works.
fn off_schedule(case: &Case<'_>, rhythm: &Rhythm) -> Option<Finding> {
    let observed = case.key.counts[ONE_HOUR].requests;
    let most = case.policy.detectors.traffic_burst.min_requests;
    let minimum = most.min(LEAST);
    let profile = case.profile;
    let busy = profile.requests >= SCHEDULED_REQUESTS * u64::from(profile.days.count());
    let scheduled = profile.days.count() >= SCHEDULE_DAYS && busy && rhythm.active_hours <= SCHEDULED_HOURS;
    if rhythm.usual_hour || observed < minimum || !scheduled {
        return None;
    }
    let severity = rhythm.severity(observed, most);
    Some(finding(case, severity, "requests in 1 hour, off schedule", observed, 0.0, minimum as f64, rhythm))
}

fn finding(
    case: &Case<'_>,
    severity: Severity,
    unit: &str,
    observed: u64,
    baseline: f64,
    threshold: f64,
    rhythm: &Rhythm,
) -> Finding {
    let times = observed as f64 / baseline.max(1.0);
    let summary = summary(unit, observed, baseline, threshold, rhythm);
    let evidence = Evidence::new(summary, observed as f64, baseline, threshold, rhythm.samples as u64)
        .with("unit", unit)
        .with("baseline_scope", rhythm.scope)
        .with("usual_hour", rhythm.usual_hour)
        .number("times", times);
    case.finding(
        AnomalyKind::TrafficBurst,
        severity,
        1.0 - 0.5 * threshold / observed as f64,
        evidence,
        ADVICE,
    )
}

fn summary(unit: &str, observed: u64, baseline: f64, threshold: f64, rhythm: &Rhythm) -> String {
    let unit = unit.trim_end_matches(", off schedule");
    let hour = if !rhythm.usual_hour {
        "at which the key never works".to_owned()
    } else if baseline >= 1.0 {
        format!("that usually sees {} at most", number(baseline))
    } else {
        "that usually sees none".to_owned()
    };
    format!("{} {unit} at an hour {hour}; limit {}.", whole(observed), number(threshold))
}

/// The rhythm at `now`; `None` while the history is shorter than `min_hours`.
fn rhythm(profile: &Profile, now: Millis, min_hours: u32) -> Option<Rhythm> {
    let hour = now.div_euclid(HOUR);
    let first = profile.first_seen?.div_euclid(HOUR);
    if hour - first < i64::from(min_hours) {
        return None;
    }
    let known = |h: i64| {
        let inside = h >= first && h < hour;
        inside
            .then(|| u32::try_from(h).ok().and_then(|h| profile.history.hour(h)).copied().unwrap_or_default())
    };
    let exact: Vec<HourStat> = (1..=4).filter_map(|week| known(hour - week * 168)).collect();
    let around = |same_kind: bool| -> Vec<HourStat> {
        (1..=14)
            .filter(|day| !same_kind || is_weekend(hour - day * 24) == is_weekend(hour))
            .flat_map(|day| [-1, 0, 1].map(|d| hour - day * 24 + d))
            .filter_map(known)
            .collect()
    };
    // Before three days have shown what is usual at this hour, nothing about it is unusual.
    let days = around(false);
    let usual_hour = days.len() < 9 || days.iter().chain(&exact).any(|h| h.requests > 0);
    let same_kind = around(true);
    let (hours, scope) = if same_kind.len() >= 6 {
        (same_kind, "hour_of_day")
    } else if days.len() >= 3 {
        (days, "hour_of_any_day")
    } else {
        (
            profile.history.hours().filter(|(h, _)| i64::from(*h) < hour).map(|(_, s)| *s).collect(),
            "all_hours",
        )
    };
    let scope = if exact.is_empty() { scope } else { "hour_of_week" };
    let worked: Vec<HourStat> =
        profile.history.hours().filter(|(h, _)| i64::from(*h) < hour).map(|(_, s)| *s).collect();
    Some(Rhythm {
        minute: Usual::of(&hours, &exact, &worked, |h| h.one_minute_peak),
        five_minutes: Usual::of(&hours, &exact, &worked, |h| h.five_minute_peak),
        samples: hours.len(),
        scope,
        usual_hour,
        active_hours: active_hours(profile, now),
    })
}

/// Whether an hour since the epoch is on a Saturday or Sunday (UTC). Day 0 was a Thursday.
fn is_weekend(hour: i64) -> bool {
    matches!((hour.div_euclid(24) + 4).rem_euclid(7), 0 | 6)
}

fn active_hours(profile: &Profile, now: Millis) -> usize {
    let hour = now.div_euclid(HOUR);
    let mut of_day = [false; 24];
    for (h, _) in profile.history.hours().filter(|(h, _)| i64::from(*h) < hour - 2) {
        of_day[h as usize % 24] = true;
    }
    of_day.iter().filter(|active| **active).count()
}

/// The quantile `q` of a peak over hours; 0 for none.
fn quantile(hours: &[HourStat], q: f64, peak: impl Fn(&HourStat) -> u64) -> f64 {
    let mut peaks: Vec<u64> = hours.iter().map(peak).collect();
    peaks.sort_unstable();
    let at = (peaks.len() as f64 * q) as usize;
    peaks.get(at.min(peaks.len().saturating_sub(1))).map_or(0.0, |p| *p as f64)
}
