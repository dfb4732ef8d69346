//! Alert rules: what is spent or fails in a minute, an hour, a day or a sliding window, over all requests or those of
//! each project, key or model, against a figure or against what the weeks before held.

mod state;
#[cfg(test)]
mod tests;
mod threshold;
mod window;

use serde::{Deserialize, Serialize};

pub use state::{Alert, AlertBook, AlertName, AlertState, CLEARED_AFTER, Firing};
pub use threshold::Threshold;
pub use window::AlertWindow;

use super::{
    finding::Severity,
    usage::{Bucket, Totals},
};

/// One, in the units that values and thresholds are compared in.
const ONE: u128 = 1_000_000_000;
/// Weeks before that make a baseline.
pub const WEEKS: i64 = 4;
/// Of them, those that must be known: with fewer a rule stays quiet.
const FEWEST_WEEKS: u64 = 2;
/// Fewer requests than this make no share, unless the rule says otherwise: one failure of one request is no alert.
const FEWEST_REQUESTS: u64 = 20;

/// The longest name of a rule, in bytes.
const LONGEST_NAME: usize = 64;

/// What is watched. Minutes, hours and days that the name of a metric says are those of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// US dollars in a minute.
    CostPerMinute,
    /// US dollars in an hour.
    CostPerHour,
    /// US dollars in a day.
    CostPerDay,
    /// Requests in a minute.
    RequestCount,
    /// Requests in an hour.
    RequestsPerHour,
    /// Requests in a day.
    RequestsPerDay,
    /// Tokens in a minute.
    TokensPerMinute,
    /// Tokens in an hour.
    TokensPerHour,
    /// Tokens in a day.
    TokensPerDay,
    /// The share of requests that failed (4xx, 5xx) in an hour, or in the rule's window, 0 to 1.
    FailureRate,
    /// The share of requests that Keyward refused in an hour, or in the rule's window, 0 to 1.
    RefusedShare,
    /// US dollars in the rule's window.
    Cost,
    /// Requests in the rule's window.
    Requests,
    /// Tokens in the rule's window.
    Tokens,
}

/// Over what a rule sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertSpan {
    /// The calendar minute, hour or day, in UTC.
    Calendar(Bucket),
    /// The last so many milliseconds: whole minutes of them.
    Sliding(AlertWindow),
}

impl Metric {
    /// Over what it is summed where the rule has no window; `None`: it needs one.
    fn bucket(self) -> Option<Bucket> {
        match self {
            Self::CostPerMinute | Self::RequestCount | Self::TokensPerMinute => Some(Bucket::Minute),
            Self::CostPerHour | Self::RequestsPerHour | Self::TokensPerHour => Some(Bucket::Hour),
            Self::FailureRate | Self::RefusedShare => Some(Bucket::Hour),
            Self::CostPerDay | Self::RequestsPerDay | Self::TokensPerDay => Some(Bucket::Day),
            Self::Cost | Self::Requests | Self::Tokens => None,
        }
    }

    fn is_share(self) -> bool {
        matches!(self, Self::FailureRate | Self::RefusedShare)
    }

    /// Its value, in billionths.
    fn value(self, totals: &Totals) -> u128 {
        let share = |part: u128| (part * ONE).checked_div(u128::from(totals.requests)).unwrap_or(0);
        match self {
            Self::CostPerMinute | Self::CostPerHour | Self::CostPerDay | Self::Cost => {
                u128::from(totals.cost_nanos)
            }
            Self::RequestCount | Self::RequestsPerHour | Self::RequestsPerDay | Self::Requests => {
                u128::from(totals.requests) * ONE
            }
            Self::TokensPerMinute | Self::TokensPerHour | Self::TokensPerDay | Self::Tokens => {
                u128::from(totals.tokens) * ONE
            }
            Self::FailureRate => share(u128::from(totals.client_errors) + u128::from(totals.server_errors)),
            Self::RefusedShare => share(u128::from(totals.refused)),
        }
    }
}

/// How the value is held against the bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Above it: told as soon as it is.
    Gt,
    /// Below it: told when the minute, hour or day is over.
    Lt,
    /// Exactly it: told when the minute, hour or day is over.
    Eq,
}

/// Whose requests are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// All requests together, whoever made them.
    Everything,
    /// Those of each project apart.
    Project,
    /// Those of each key apart.
    Key,
    /// Those of each model apart.
    Model,
}

/// What the value is held against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bar {
    /// A fixed figure, in the metric's unit.
    Threshold(Threshold),
    /// So many times what the same span of the weeks before held on average.
    TimesBaseline(Threshold),
}

/// A rule: it alerts when a metric passes a bar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct AlertRule {
    /// Its own name, 1 to 64 bytes; without one it is called by what it says.
    pub name: Option<String>,
    /// Which sum of usage is watched.
    pub metric: Metric,
    /// The last so many minutes that are summed; `None`: the calendar's minute, hour or day, as the metric says.
    pub window: Option<AlertWindow>,
    /// How it is held against the bar.
    pub operator: Operator,
    /// What the sum is held against.
    pub bar: Bar,
    /// Whose usage it is about.
    pub scope: Watched,
    /// How bad it is.
    pub severity: Severity,
    /// Of fewer requests nothing is said.
    pub minimum_requests: u64,
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    metric: Metric,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<AlertWindow>,
    operator: Operator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threshold: Option<Threshold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times_baseline: Option<Threshold>,
    scope: Watched,
    severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minimum_requests: Option<u64>,
}

impl TryFrom<Written> for AlertRule {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { metric, window, operator, scope, severity, .. } = written;
        let bar = match (written.threshold, written.times_baseline) {
            (Some(threshold), None) => Bar::Threshold(threshold),
            (None, Some(times)) => Bar::TimesBaseline(times),
            _ => return Err("must have either `threshold` or `times_baseline`, and not both"),
        };
        match &bar {
            Bar::Threshold(share) if metric.is_share() && u128::from(share.billionths()) > ONE => {
                return Err(
                    "must have a share as the `threshold` of failure_rate or refused_share: 0 to 1, such as \"0.25\"",
                );
            }
            Bar::TimesBaseline(times) if times.billionths() == 0 => {
                return Err("must have `times_baseline` above 0");
            }
            Bar::TimesBaseline(_) if operator == Operator::Eq => {
                return Err("must have a `threshold` for `eq`: no sum is exactly so many times a baseline");
            }
            _ => {}
        }
        window_fits(metric, window, &bar)?;
        if !written.name.as_deref().is_none_or(is_name) {
            return Err("must have a `name` of 1 to 64 bytes, without control characters");
        }
        if written.minimum_requests.is_some() && !metric.is_share() {
            return Err("must not have `minimum_requests`: it is for failure_rate and refused_share alone");
        }
        let least = if metric.is_share() { FEWEST_REQUESTS } else { 0 };
        let minimum_requests = written.minimum_requests.unwrap_or(least);
        Ok(Self { name: written.name, metric, window, operator, bar, scope, severity, minimum_requests })
    }
}

/// Whether a rule has a window where its metric takes one, and only there.
fn window_fits(metric: Metric, window: Option<AlertWindow>, bar: &Bar) -> Result<(), &'static str> {
    match (metric.bucket(), window) {
        (None, None) => Err("must have a `window`, such as \"5min\""),
        (Some(_), Some(_)) if !metric.is_share() => {
            Err("must not have a `window`: its metric says one; cost, requests and tokens take one")
        }
        (_, Some(_)) if matches!(bar, Bar::TimesBaseline(_)) => {
            Err("must have a `threshold` where it has a `window`: there is no baseline of one")
        }
        _ => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl From<AlertRule> for Written {
    fn from(rule: AlertRule) -> Self {
        let AlertRule { name, metric, window, operator, bar, scope, severity, minimum_requests } = rule;
        let (threshold, times_baseline) = match bar {
            Bar::Threshold(threshold) => (Some(threshold), None),
            Bar::TimesBaseline(times) => (None, Some(times)),
        };
        let minimum_requests = Some(minimum_requests).filter(|_| metric.is_share());
        Self { name, metric, window, operator, threshold, times_baseline, scope, severity, minimum_requests }
    }
}

/// What the same span held in the weeks before: the same weekday; the same hour of the week; of a minute, the sixtieth
/// part of that. A week without any usage in it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Baseline {
    sum: Totals,
    weeks: u64,
}

impl Baseline {
    /// Takes in what one week held.
    pub fn add(&mut self, totals: &Totals) {
        self.sum.merge(totals);
        self.weeks += 1;
    }

    /// Its mean as a fraction, in billionths; `None` where too little is known.
    fn mean(&self, metric: Metric) -> Option<(u128, u128)> {
        let parts = match metric.bucket() {
            _ if metric.is_share() => 1,
            Some(Bucket::Minute) => 60 * self.weeks,
            Some(Bucket::Hour | Bucket::Day) | None => self.weeks,
        };
        (self.weeks >= FEWEST_WEEKS).then(|| (metric.value(&self.sum), u128::from(parts)))
    }
}

/// What a rule fired at, as decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// The sum, in the metric's unit, as text.
    pub observed: String,
    /// What it was held against.
    pub threshold: String,
    /// The mean that this is a multiple of, and from how many weeks it is.
    pub baseline: Option<(String, u64)>,
}

impl AlertRule {
    /// Over what it sums.
    pub fn span(&self) -> AlertSpan {
        match (self.window, self.metric.bucket()) {
            (Some(window), _) => AlertSpan::Sliding(window),
            (None, bucket) => AlertSpan::Calendar(bucket.unwrap_or(Bucket::Hour)),
        }
    }

    /// What it is called: its name, or else what it says, such as `cost_per_hour gt 100 of everything, medium`.
    pub fn title(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let window = self.window.map(|window| format!(" in {}", String::from(window))).unwrap_or_default();
        let bar = match &self.bar {
            Bar::Threshold(threshold) => written(threshold),
            Bar::TimesBaseline(times) => format!("{} times its baseline", written(times)),
        };
        let (metric, operator, scope) =
            (written(&self.metric), written(&self.operator), written(&self.scope));
        format!("{metric}{window} {operator} {bar} of {scope}, {}", self.severity.name())
    }

    /// What it holds against its bar, as text in the metric's unit.
    pub fn observed(&self, totals: &Totals) -> String {
        shown(self.metric.value(totals))
    }

    /// What it fires at, if it does; `over`: the span of the sum has ended.
    pub fn fires(&self, totals: &Totals, baseline: Option<&Baseline>, over: bool) -> Option<Fired> {
        if totals.requests < self.minimum_requests || self.operator != Operator::Gt && !over {
            return None;
        }
        let value = self.metric.value(totals);
        // A whole value is above a fraction when it is above its floor, and below it when it is below its ceiling.
        let (bar, mean) = match &self.bar {
            Bar::Threshold(threshold) => (u128::from(threshold.billionths()), None),
            Bar::TimesBaseline(times) => {
                let (sum, parts) = baseline?.mean(self.metric)?;
                let (above, below) = (sum.checked_mul(u128::from(times.billionths()))?, parts * ONE);
                let bar = if self.operator == Operator::Lt { above.div_ceil(below) } else { above / below };
                (bar, Some((sum / parts, baseline?.weeks)))
            }
        };
        let fires = match self.operator {
            Operator::Gt => value > bar,
            Operator::Lt => value < bar,
            Operator::Eq => value == bar,
        };
        let baseline = mean.map(|(mean, weeks)| (shown(mean), weeks));
        fires.then(|| Fired { observed: shown(value), threshold: shown(bar), baseline })
    }
}

/// A word or number as it is written in settings and answers.
fn written(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Billionths as a decimal.
fn shown(billionths: u128) -> String {
    let text = format!("{}.{:09}", billionths / ONE, billionths % ONE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
