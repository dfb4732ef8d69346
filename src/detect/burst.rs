//! Traffic bursts against the learned hour-of-week baseline.
//!
//! Why: a runaway loop or a thief at work makes many more requests than the key ever does at this hour.
//! Trips when: the 5-minute window holds `factor` times the baseline of this hour of the week. High at hours at which
//! the key usually works, critical at others.
//! Stays quiet when: the history is shorter than `min_hours`, or the count is below `min_requests`.
//! Blind spots: slow growth, which the baseline follows.
//!
//! The baseline is the larger of the mean rate and the median 5-minute peak of the hours compared: those at the same
//! hour of the week (and its neighbours) where there are three or more, else the same hour of the day over two weeks,
//! else all hours.

use super::{Case, Evidence};
use crate::domain::{
    HOUR, Millis,
    finding::{AnomalyKind, Finding, Severity},
    profile::{HourStat, Profile},
    window::FIVE_MINUTES,
};

const ADVICE: &str =
    "Look for a loop in the client; if the owner does not know this traffic, rotate the key.";
const WEEK_HOURS: u32 = 168;
/// 5-minute spans in an hour.
const SPANS: f64 = 12.0;

/// What 5 minutes usually hold at this hour.
struct Baseline {
    requests: f64,
    hours: usize,
    scope: &'static str,
    /// Whether the key was ever active at this hour of the day.
    usual_hour: bool,
}

/// Holds the 5-minute window against the baseline.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let policy = &case.policy.detectors.traffic_burst;
    let observed = case.key.counts[FIVE_MINUTES].requests;
    if observed < policy.min_requests {
        return None;
    }
    let baseline = baseline(case.profile, case.now(), policy.min_hours)?;
    let threshold = (baseline.requests * policy.factor).max(policy.min_requests as f64);
    if (observed as f64) < threshold {
        return None;
    }
    let severity = if baseline.usual_hour { Severity::High } else { Severity::Critical };
    let times = observed as f64 / baseline.requests.max(1.0);
    let evidence = Evidence::new(observed as f64, baseline.requests, threshold, baseline.hours as u64)
        .with("unit", "requests in 5 minutes")
        .with("baseline_scope", baseline.scope)
        .with("usual_hour", baseline.usual_hour)
        .number("times", times);
    Some(case.finding(
        AnomalyKind::TrafficBurst,
        severity,
        1.0 - 0.5 * policy.factor / times.max(policy.factor),
        evidence,
        ADVICE,
    ))
}

/// The baseline at `now`; `None` while the history is shorter than `min_hours`.
fn baseline(profile: &Profile, now: Millis, min_hours: u32) -> Option<Baseline> {
    let hour = u32::try_from(now.div_euclid(HOUR)).ok()?;
    let first = u32::try_from(profile.first_seen?.div_euclid(HOUR)).ok()?;
    if hour.saturating_sub(first) < min_hours {
        return None;
    }
    let known =
        |h: u32| (h >= first && h < hour).then(|| profile.history.hour(h).copied().unwrap_or_default());
    let week: Vec<HourStat> = (1..=4)
        .flat_map(|w| [-1_i64, 0, 1].map(|d| i64::from(hour) - i64::from(w * WEEK_HOURS) + d))
        .filter_map(|h| known(u32::try_from(h).ok()?))
        .collect();
    let day: Vec<HourStat> = (1..=14).filter_map(|d| known(hour.checked_sub(d * 24)?)).collect();
    let usual_hour = week.iter().chain(&day).any(|h| h.requests > 0);
    let (hours, scope) = if week.len() >= 3 {
        (week, "hour_of_week")
    } else if day.len() >= 3 {
        (day, "hour_of_day")
    } else {
        (profile.history.hours().filter(|(h, _)| *h < hour).map(|(_, s)| *s).collect(), "all_hours")
    };
    let mean = hours.iter().map(|h| h.requests as f64).sum::<f64>() / hours.len().max(1) as f64 / SPANS;
    Some(Baseline { requests: mean.max(median_peak(&hours)), hours: hours.len(), scope, usual_hour })
}

fn median_peak(hours: &[HourStat]) -> f64 {
    let mut peaks: Vec<u64> = hours.iter().map(|h| h.five_minute_peak).collect();
    peaks.sort_unstable();
    peaks.get(peaks.len() / 2).map_or(0.0, |p| *p as f64)
}
