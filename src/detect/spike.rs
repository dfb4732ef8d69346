//! Token and cost spikes of a day against the days before.
//!
//! Why: money leaks by the day: a dearer model, a loop, a thief who keeps to the limits.
//! Trips when: today's sum so far is above `z` deviations of the last 7 days, `times_mean` their mean, or
//! `times_yesterday` the day before (a day that held next to nothing counts as three quarters of the mean): medium. High
//! when two of these hold and the requests are also twice as large (or dear) on average as on the days before, or when
//! the sum is twice `times_mean` the mean and more than any of the days; also when one hour holds four times what any
//! hour held. High for one of them when the last requests are unusually large as well (`request_size_anomaly`), or come
//! from a place that is new to the key. Twice as many requests are a launch, and a medium remark.
//! Stays quiet when: fewer than `min_days` days are known, or today is below `min_amount`. What goes on an hour
//! later is medium.
//! Blind spots: growth that the last week already shows.

use super::{ALREADY_REPORTED, Case, DetectorResult, Evidence, Margin, NEW_PLACE, Quiet, size};
use crate::domain::{
    DAY, HOUR,
    finding::{AnomalyKind, Finding, Severity},
    policy::SpikePolicy,
    profile::{About, DayStat, HourStat},
    wording::{dollars, list, number},
};

const ADVICE: &str = "Ask what changed today (model, prompt, load); set a daily budget.";

/// Today's requests are this many times larger on average: it is not their number alone.
const LARGER: f64 = 2.0;
/// So many requests make an average.
const AVERAGE_OF: u64 = 5;
/// One hour holds so many times what any hour held.
const HOUR_TIMES: f64 = 4.0;
/// What goes on is high again from so many times what was reported.
const CLEARLY_MORE: f64 = 1.5;

/// What is summed up.
struct Amount {
    kind: AnomalyKind,
    unit: &'static str,
    of_day: fn(&DayStat) -> f64,
    of_hour: fn(&HourStat) -> f64,
    present: f64,
}

/// Today's tokens.
pub fn judge_tokens(case: &Case<'_>) -> DetectorResult {
    let amount = Amount {
        kind: AnomalyKind::TokenUsageSpike,
        unit: "tokens today",
        of_day: |stat| stat.tokens as f64,
        of_hour: |stat| stat.tokens as f64,
        present: case.record.tokens as f64,
    };
    judge(case, &amount, &case.policy.detectors.token_usage_spike)
}

/// Today's cost, in US dollars; only of records that report theirs.
pub fn judge_cost(case: &Case<'_>) -> DetectorResult {
    let unreported = Quiet::because("the record does not report its cost");
    let amount = Amount {
        kind: AnomalyKind::CostSpike,
        unit: "US dollars today",
        of_day: |stat| stat.cost_nanos as f64 / 1e9,
        of_hour: |stat| stat.cost_nanos as f64 / 1e9,
        present: case.record.cost_nanos.ok_or(unreported)? as f64 / 1e9,
    };
    judge(case, &amount, &case.policy.detectors.cost_spike)
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

fn judge(case: &Case<'_>, amount: &Amount, policy: &SpikePolicy) -> DetectorResult {
    let Amount { kind, unit, of_day, of_hour, present } = *amount;
    let day = u32::try_from(case.now().div_euclid(DAY)).unwrap_or(0);
    let mut before = Vec::with_capacity(7);
    let (mut today, mut requests, mut requests_before) = (present, 1, 0);
    // What was flagged is no part of what is usual, and was spent all the same.
    let flagged = case.profile.later.flagged.day(day).map(|stat| (day, stat));
    for (index, stat) in case.profile.history.days().rev().chain(flagged) {
        if index == day {
            today += of_day(stat);
            requests += stat.requests;
        } else if index < day && index + 7 >= day {
            before.push((index, of_day(stat)));
            requests_before += stat.requests;
        }
    }
    if before.len() < policy.min_days as usize {
        let (days, least) = (before.len() as f64, f64::from(policy.min_days));
        return Err(Quiet::below("too few of the last 7 days are known", days, least, "days"));
    }
    if today < policy.min_amount {
        return Err(Quiet::below("too little today for a spike", today, policy.min_amount, unit));
    }
    let count = before.len() as f64;
    let sum = before.iter().map(|(_, v)| v).sum::<f64>();
    let mean = sum / count;
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
    let average = |sum: f64, requests: u64| sum / requests.max(1) as f64;
    let larger = requests >= AVERAGE_OF && average(today, requests) >= LARGER * average(sum, requests_before);
    let huge = times(mean) >= 2.0 * policy.times_mean && before.iter().all(|(_, v)| today > *v);
    let (severity, because) = match count {
        0 => return Err(ordinary(&signs)),
        // What the last requests say is evidence of another kind.
        _ if case.is_settling_in() => (Severity::High, Some(NEW_PLACE)),
        _ if size::is_sustained(case) => (Severity::High, Some("a dozen requests in a row were large, too")),
        1 => (Severity::Medium, None),
        _ if larger => (Severity::High, Some("the requests are also twice as large, or dear, on average")),
        _ if huge => (Severity::High, Some("no day before came near")),
        _ if in_one_hour(case, of_hour, present) => {
            (Severity::High, Some("no hour before held a quarter of this one"))
        }
        _ => (Severity::Medium, Some("the requests are as large as ever, there are only more of them")),
    };
    let (severity, because) = match severity {
        // Dearer alone is another model; dearer and larger is a leak.
        Severity::High if kind == AnomalyKind::CostSpike && case.recent_shift() < LARGER.ln() => {
            (Severity::Medium, Some("the last requests are dearer, and no larger"))
        }
        severity => (severity, because),
    };
    let reported = || case.reported(kind, 0).is_some_and(|level| times(mean) < level * CLEARLY_MORE);
    let (severity, because) = if severity == Severity::High && reported() {
        (Severity::Medium, Some(ALREADY_REPORTED))
    } else {
        (severity, because)
    };
    let summary = summary(kind, today, mean, &signs);
    let evidence = Evidence::new(summary, today, mean, policy.times_mean * mean, before.len() as u64)
        .with("unit", unit)
        .number("z", z)
        .number("times_mean", times(mean))
        .with("yesterday", yesterday)
        .because(because);
    let finding = case.finding(kind, severity, 0.4 + 0.2 * count as f64, evidence, ADVICE);
    Ok(Finding { about: About { what: 0, level: times(mean) }, ..finding })
}

/// Whether the present hour holds far more than any hour before.
fn in_one_hour(case: &Case<'_>, of: fn(&HourStat) -> f64, present: f64) -> bool {
    let hour = u32::try_from(case.now().div_euclid(HOUR)).unwrap_or(0);
    let (mut now, mut most) = (present, 0.0_f64);
    for (index, stat) in case.profile.history.hours() {
        if index == hour {
            now += of(stat);
        } else {
            most = most.max(of(stat));
        }
    }
    now > HOUR_TIMES * most
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
