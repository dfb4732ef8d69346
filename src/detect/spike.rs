//! Spikes of tokens and of cost, by the day (UTC).
//!
//! Why: money leaks by the day: a dearer model, a loop, a thief who keeps to the limits.
//!
//! Trips when: one of three signs shows in today's sum so far.
//! - The sum is more than `z` standard deviations above the mean of the last 7 days.
//! - The sum is more than `times_mean` times that mean.
//! - The sum is more than `times_yesterday` times the day before.
//!
//! One sign is medium. It is high with evidence of another kind: a dozen requests from a place that is new to the
//! key, or a dozen in a row that are larger than chance explains. Two signs are high with one of these as well.
//! - Today's requests are twice as large, or dear, on average.
//! - The sum is more than any day before held, and `times_mean` twice.
//! - The present hour holds four times what any hour held.
//!
//! Cost is high only where the last requests are twice as large, too: dearer tokens alone are another model.
//!
//! Stays quiet when: fewer than `min_days` of the last 7 days are known, or today's sum is below `min_amount`. What
//! goes on an hour later is medium, unless it is 1.5 times what was reported.
//!
//! Blind spots: growth that the last week already shows.

mod days;

use days::{Days, LARGER, Measure, Sign};

use super::{ALREADY_REPORTED, Case, DetectorResult, Evidence, Margin, NEW_PLACE, Quiet, size};
use crate::domain::{
    HOUR,
    finding::{AnomalyKind, Finding, Severity},
    policy::SpikePolicy,
    profile::About,
    wording::{dollars, list, number},
};

const ADVICE: &str = "Ask what changed today (model, prompt, load); set a daily budget.";

/// Multiples of `times_mean` from where on more requests alone are high.
const HUGE: f64 = 2.0;
/// Times the most that any hour held, from where on the present hour alone is no busy day.
const HOUR_TIMES: f64 = 4.0;
/// What goes on is high again from so many times what was reported.
const CLEARLY_MORE: f64 = 1.5;
/// The score of a finding without a sign, and what each sign adds. With all three it is 1.
const SCORE: (f64, f64) = (0.4, 0.2);

/// Today's tokens, prompt and completion together.
pub(super) fn judge_tokens(case: &Case<'_>) -> DetectorResult {
    let measure = Measure {
        kind: AnomalyKind::TokenUsageSpike,
        unit: "tokens today",
        of_day: |stat| stat.tokens as f64,
        of_hour: |stat| stat.tokens as f64,
        present: case.record.tokens as f64,
    };
    judge(case, &measure, &case.policy.detectors.token_usage_spike)
}

/// Today's cost, in US dollars; only of records whose cost is known.
pub(super) fn judge_cost(case: &Case<'_>) -> DetectorResult {
    let unreported = Quiet::because("the record does not report its cost");
    let measure = Measure {
        kind: AnomalyKind::CostSpike,
        unit: "US dollars today",
        of_day: |stat| stat.cost_nanos as f64 / 1e9,
        of_hour: |stat| stat.cost_nanos as f64 / 1e9,
        present: case.record.cost_nanos.ok_or(unreported)? as f64 / 1e9,
    };
    judge(case, &measure, &case.policy.detectors.cost_spike)
}

fn judge(case: &Case<'_>, measure: &Measure, policy: &SpikePolicy) -> DetectorResult {
    let days = Days::of(case, measure);
    if days.before.len() < policy.min_days as usize {
        let (known, least) = (days.before.len() as f64, f64::from(policy.min_days));
        return Err(Quiet::below("too few of the last 7 days are known", known, least, "days"));
    }
    if days.today < policy.min_amount {
        let (today, least) = (days.today, policy.min_amount);
        return Err(Quiet::below("too little today for a spike", today, least, measure.unit));
    }
    let signs = days.signs(policy);
    let count = signs.iter().filter(|sign| sign.shows).count();
    if count == 0 {
        return Err(ordinary(&signs));
    }
    let [z, times_mean, _] = signs.each_ref().map(|sign| sign.observed);
    let (severity, because) = severity(case, measure, &days, count, times_mean >= HUGE * policy.times_mean);
    let reported = || case.reported(measure.kind, 0).is_some_and(|level| times_mean < level * CLEARLY_MORE);
    let (severity, because) = match severity {
        Severity::High if reported() => (Severity::Medium, Some(ALREADY_REPORTED)),
        severity => (severity, because),
    };
    let (today, mean, samples) = (days.today, days.mean(), days.before.len() as u64);
    let summary = summary(measure.kind, today, mean, &signs);
    let evidence = Evidence::new(summary, today, mean, policy.times_mean * mean, samples)
        .with("unit", measure.unit)
        .number("z", z)
        .number("times_mean", times_mean)
        .with("yesterday", days.yesterday)
        .because(because);
    let score = SCORE.0 + SCORE.1 * count as f64;
    let finding = case.finding(measure.kind, severity, score, evidence, ADVICE);
    Ok(Finding { about: About { what: 0, level: times_mean }, ..finding })
}

/// How bad a day with so many signs is, and why. `huge`: whether the sum is many times the mean.
fn severity(
    case: &Case<'_>,
    measure: &Measure,
    days: &Days,
    signs: usize,
    huge: bool,
) -> (Severity, Option<&'static str>) {
    let (severity, because) = match signs {
        // What the last requests show is evidence of another kind.
        _ if case.is_settling_in() => (Severity::High, Some(NEW_PLACE)),
        _ if size::is_sustained(case) => (Severity::High, Some("a dozen requests in a row were large, too")),
        1 => (Severity::Medium, None),
        _ if days.are_larger() => {
            (Severity::High, Some("the requests are also twice as large, or dear, on average"))
        }
        _ if huge && days.before.iter().all(|before| days.today > *before) => {
            (Severity::High, Some("no day before came near"))
        }
        _ if is_in_one_hour(case, measure) => {
            (Severity::High, Some("no hour before held a quarter of this one"))
        }
        _ => (Severity::Medium, Some("the requests are as large as ever, there are only more of them")),
    };
    match severity {
        // Dearer alone is another model; dearer and larger is a leak.
        Severity::High if measure.kind == AnomalyKind::CostSpike && case.recent_shift() < LARGER.ln() => {
            (Severity::Medium, Some("the last requests are dearer, and no larger"))
        }
        severity => (severity, because),
    }
}

/// Whether the present hour holds far more than any hour before.
fn is_in_one_hour(case: &Case<'_>, measure: &Measure) -> bool {
    let hour = u32::try_from(case.now().div_euclid(HOUR)).unwrap_or(0);
    let (mut now, mut most) = (measure.present, 0.0_f64);
    for (index, stat) in case.profile.history.hours() {
        if index == hour {
            now += (measure.of_hour)(&stat);
        } else {
            most = most.max((measure.of_hour)(&stat));
        }
    }
    now > HOUR_TIMES * most
}

/// Why no sign shows, with the one that is nearest to its limit.
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
        .filter(|sign| sign.shows)
        .map(|sign| format!("{} {} (limit {})", number(sign.observed), sign.unit, number(sign.limit)))
        .collect();
    format!("{today} today, usually {usual} a day: {}.", list(&shown))
}
