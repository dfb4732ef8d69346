//! Token and cost spikes of a day against the days before.
//!
//! Why: money leaks by the day: a dearer model, a loop, a thief who keeps to the limits.
//! Trips when: today's sum so far is above `z` deviations of the last 7 days, `times_mean` their mean, or
//! `times_yesterday` the day before (a day that held next to nothing counts as three quarters of the mean). One of these is
//! medium, two or more are high; cost alone, without more tokens than usual, stays medium: that is a dearer model.
//! Stays quiet when: fewer than `min_days` days are known, or today is below `min_tokens`.
//! Blind spots: growth that the last week already shows.

use super::{Case, Evidence, Margin, Quiet, Verdict};
use crate::domain::{
    DAY,
    finding::{AnomalyKind, Finding, Severity},
    policy::SpikePolicy,
    profile::DayStat,
    wording::{dollars, list, number},
};

const ADVICE: &str = "Ask what changed today (model, prompt, load); set a daily budget.";

/// The last requests are this much larger than usual (natural logarithm of 2).
const RUN_SHIFT: f64 = 0.69;

/// Today's tokens.
pub fn judge_tokens(case: &Case<'_>) -> Verdict {
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
pub fn judge_cost(case: &Case<'_>) -> Verdict {
    let unreported = Quiet::because("the record does not report its cost");
    let cost = case.record.cost_nanos.ok_or(unreported)? as f64 / 1e9;
    let today = |stat: &DayStat| stat.cost_nanos as f64 / 1e9;
    let found = judge(case, AnomalyKind::CostSpike, &case.policy.detectors.cost_spike, today, cost)?;
    let more_tokens = || judge_tokens(case).is_ok() || case.recent_shift() >= RUN_SHIFT;
    let severity = if more_tokens() { found.severity } else { found.severity.min(Severity::Medium) };
    Ok(Finding { severity, ..found })
}

/// One way in which today can be unusual.
struct Sign {
    observed: f64,
    limit: f64,
    unit: &'static str,
}

impl Sign {
    fn shows(&self) -> bool {
        self.observed > self.limit
    }
}

fn judge(
    case: &Case<'_>,
    kind: AnomalyKind,
    policy: &SpikePolicy,
    of: impl Fn(&DayStat) -> f64,
    present: f64,
) -> Verdict {
    let unit = if kind == AnomalyKind::CostSpike { "US dollars today" } else { "tokens today" };
    let day = u32::try_from(case.now().div_euclid(DAY)).unwrap_or(0);
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
    if before.len() < policy.min_days as usize {
        let (days, least) = (before.len() as f64, f64::from(policy.min_days));
        return Err(Quiet::below("too few of the last 7 days are known", days, least, "days"));
    }
    if today < policy.min_amount {
        return Err(Quiet::below("too little today for a spike", today, policy.min_amount, unit));
    }
    let count = before.len() as f64;
    let mean = before.iter().map(|(_, v)| v).sum::<f64>() / count;
    let variance = before.iter().map(|(_, v)| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let deviation = variance.sqrt().max(mean * 0.25);
    let yesterday = before.iter().find(|(index, _)| index + 1 == day).map(|(_, v)| *v);
    let times = |base: f64| today / base.max(f64::MIN_POSITIVE);
    let z = (today - mean) / deviation.max(f64::MIN_POSITIVE);
    let times_yesterday = yesterday.map_or(0.0, |y| times(y.max(mean * 0.75)));
    let signs = [
        Sign { observed: z, limit: policy.z, unit: "standard deviations above the mean" },
        Sign { observed: times(mean), limit: policy.times_mean, unit: "times the mean" },
        Sign { observed: times_yesterday, limit: policy.times_yesterday, unit: "times yesterday" },
    ];
    let count = signs.iter().filter(|sign| sign.shows()).count();
    let severity = match count {
        0 => return Err(ordinary(&signs)),
        1 => Severity::Medium,
        _ => Severity::High,
    };
    let summary = summary(kind, today, mean, &signs);
    let evidence = Evidence::new(summary, today, mean, policy.times_mean * mean, before.len() as u64)
        .with("unit", unit)
        .number("z", z)
        .number("times_mean", times(mean))
        .with("yesterday", yesterday);
    Ok(case.finding(kind, severity, 0.4 + 0.2 * count as f64, evidence, ADVICE))
}

/// No sign shows: how near the nearest was.
fn ordinary(signs: &[Sign]) -> Quiet {
    let margins = signs.iter().map(|s| Margin { observed: s.observed, threshold: s.limit, unit: s.unit });
    let nearest = margins.max_by(|a, b| a.share().total_cmp(&b.share()));
    Quiet { why: "no more today than on the days before", margin: nearest }
}

fn summary(kind: AnomalyKind, today: f64, mean: f64, signs: &[Sign]) -> String {
    let (today, usual) = match kind {
        AnomalyKind::CostSpike => (dollars(today), dollars(mean)),
        _ => (format!("{} tokens", number(today.round())), number(mean.round())),
    };
    if mean <= 0.0 {
        return format!("{today} today, none on the days before.");
    }
    let shown: Vec<String> = signs
        .iter()
        .filter(|sign| sign.shows())
        .map(|sign| format!("{} {} (limit {})", number(sign.observed), sign.unit, number(sign.limit)))
        .collect();
    format!("{today} today, usually {usual} a day: {}.", list(&shown))
}
