//! Token and cost spikes of a day against the days before.
//!
//! Why: money leaks by the day: a dearer model, a loop, a thief who keeps to the limits.
//! Trips when: today's sum so far is above `z` deviations of the last 7 days, `times_mean` their mean, or
//! `times_yesterday` the day before (a day that held next to nothing counts as three quarters of the mean). One of these is
//! medium, two or more are high; cost alone, without more tokens than usual, stays medium: that is a dearer model.
//! Stays quiet when: fewer than `min_days` days are known, or today is below `min_tokens`.
//! Blind spots: growth that the last week already shows.

use super::{Case, Evidence};
use crate::domain::{
    DAY,
    finding::{AnomalyKind, Finding, Severity},
    policy::SpikePolicy,
    profile::DayStat,
};

const ADVICE: &str = "Ask what changed today (model, prompt, load); set a daily budget.";

/// The last requests are this much larger than usual (natural logarithm of 2).
const RUN_SHIFT: f64 = 0.69;

/// Today's tokens.
pub fn judge_tokens(case: &Case<'_>) -> Option<Finding> {
    let today = |stat: &DayStat| stat.tokens as f64;
    judge(
        case,
        AnomalyKind::TokenUsageSpike,
        &case.policy.detectors.token_usage_spike,
        today,
        case.record.tokens as f64,
    )
}

/// Today's cost, in US dollars; only of records that report theirs.
pub fn judge_cost(case: &Case<'_>) -> Option<Finding> {
    let cost = case.record.cost_nanos? as f64 / 1e9;
    let today = |stat: &DayStat| stat.cost_nanos as f64 / 1e9;
    let found = judge(case, AnomalyKind::CostSpike, &case.policy.detectors.cost_spike, today, cost)?;
    let more_tokens = || judge_tokens(case).is_some() || case.recent_shift() >= RUN_SHIFT;
    let severity = if more_tokens() { found.severity } else { found.severity.min(Severity::Medium) };
    Some(Finding { severity, ..found })
}

fn judge(
    case: &Case<'_>,
    kind: AnomalyKind,
    policy: &SpikePolicy,
    of: impl Fn(&DayStat) -> f64,
    present: f64,
) -> Option<Finding> {
    let day = u32::try_from(case.now().div_euclid(DAY)).ok()?;
    let mut before = Vec::with_capacity(7);
    let mut today = present;
    for (index, stat) in case.profile.history.days().rev() {
        if index == day {
            today += of(stat);
        } else if index < day && index + 7 >= day {
            before.push((index, of(stat)));
        }
    }
    // What was flagged is no part of what is usual, and was spent all the same.
    today += case.profile.later.flagged.day(day).map_or(0.0, &of);
    if before.len() < policy.min_days as usize || today < policy.min_amount {
        return None;
    }
    let count = before.len() as f64;
    let mean = before.iter().map(|(_, v)| v).sum::<f64>() / count;
    let variance = before.iter().map(|(_, v)| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let deviation = variance.sqrt().max(mean * 0.25);
    let yesterday = before.iter().find(|(index, _)| index + 1 == day).map(|(_, v)| *v);
    let z = (today - mean) / deviation.max(f64::MIN_POSITIVE);
    let signs = [
        z > policy.z,
        today > policy.times_mean * mean,
        yesterday.is_some_and(|y| today > policy.times_yesterday * y.max(mean * 0.75)),
    ];
    let count = signs.iter().filter(|s| **s).count();
    let severity = match count {
        0 => return None,
        1 => Severity::Medium,
        _ => Severity::High,
    };
    let evidence = Evidence::new(today, mean, policy.times_mean * mean, before.len() as u64)
        .with("unit", if kind == AnomalyKind::CostSpike { "US dollars today" } else { "tokens today" })
        .number("z", z)
        .number("times_mean", today / mean.max(f64::MIN_POSITIVE))
        .with("yesterday", yesterday);
    Some(case.finding(kind, severity, 0.4 + 0.2 * count as f64, evidence, ADVICE))
}
