//! Alert rules: what is spent or fails in a minute, an hour or a day, over all requests or those of each project, key
//! or model, against a figure or against what the weeks before held.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    finding::Severity,
    money::{NANO_PLACES, decimal},
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

/// What is watched. Calendar minutes, hours and days, in UTC.
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
    /// The share of requests that failed (4xx, 5xx) in an hour, 0 to 1.
    FailureRate,
    /// The share of requests that Keyward refused in an hour, 0 to 1.
    RefusedShare,
}

impl Metric {
    /// Over what it is summed.
    pub fn bucket(self) -> Bucket {
        match self {
            Self::CostPerMinute | Self::RequestCount | Self::TokensPerMinute => Bucket::Minute,
            Self::CostPerHour
            | Self::RequestsPerHour
            | Self::TokensPerHour
            | Self::FailureRate
            | Self::RefusedShare => Bucket::Hour,
            Self::CostPerDay | Self::RequestsPerDay | Self::TokensPerDay => Bucket::Day,
        }
    }

    fn is_share(self) -> bool {
        matches!(self, Self::FailureRate | Self::RefusedShare)
    }

    /// Its value, in billionths.
    fn value(self, totals: &Totals) -> u128 {
        let share = |part: u128| (part * ONE).checked_div(u128::from(totals.requests)).unwrap_or(0);
        match self {
            Self::CostPerMinute | Self::CostPerHour | Self::CostPerDay => u128::from(totals.cost_nanos),
            Self::RequestCount | Self::RequestsPerHour | Self::RequestsPerDay => {
                u128::from(totals.requests) * ONE
            }
            Self::TokensPerMinute | Self::TokensPerHour | Self::TokensPerDay => {
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
    /// Which sum of usage is watched.
    pub metric: Metric,
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
    metric: Metric,
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
        let Written { metric, operator, scope, severity, .. } = written;
        let bar = match (written.threshold, written.times_baseline) {
            (Some(threshold), None) => Bar::Threshold(threshold),
            (None, Some(times)) => Bar::TimesBaseline(times),
            _ => return Err("must have either `threshold` or `times_baseline`, and not both"),
        };
        match &bar {
            Bar::Threshold(share) if metric.is_share() && u128::from(share.billionths) > ONE => {
                return Err(
                    "must have a share as the `threshold` of failure_rate or refused_share: 0 to 1, such as \"0.25\"",
                );
            }
            Bar::TimesBaseline(times) if times.billionths == 0 => {
                return Err("must have `times_baseline` above 0");
            }
            Bar::TimesBaseline(_) if operator == Operator::Eq => {
                return Err("must have a `threshold` for `eq`: no sum is exactly so many times a baseline");
            }
            _ => {}
        }
        if written.minimum_requests.is_some() && !metric.is_share() {
            return Err("must not have `minimum_requests`: it is for failure_rate and refused_share alone");
        }
        let least = if metric.is_share() { FEWEST_REQUESTS } else { 0 };
        let minimum_requests = written.minimum_requests.unwrap_or(least);
        Ok(Self { metric, operator, bar, scope, severity, minimum_requests })
    }
}

impl From<AlertRule> for Written {
    fn from(rule: AlertRule) -> Self {
        let AlertRule { metric, operator, bar, scope, severity, minimum_requests } = rule;
        let (threshold, times_baseline) = match bar {
            Bar::Threshold(threshold) => (Some(threshold), None),
            Bar::TimesBaseline(times) => (None, Some(times)),
        };
        let minimum_requests = Some(minimum_requests).filter(|_| metric.is_share());
        Self { metric, operator, threshold, times_baseline, scope, severity, minimum_requests }
    }
}

/// A figure, exactly as it is written: a whole number, or a decimal in quotes with up to 9 places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Threshold {
    text: String,
    #[serde(skip)]
    billionths: u64,
}

impl Threshold {
    /// In billionths: of a dollar, nano-dollars.
    pub fn billionths(&self) -> u64 {
        self.billionths
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(u64),
            Text(String),
        }
        let hint = "must be a whole number, or a decimal in quotes such as \"12.5\", not below 0";
        let text = match Written::deserialize(deserializer).map_err(|_| D::Error::custom(hint))? {
            Written::Whole(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let read = decimal(&text, NANO_PLACES).map_err(|_| D::Error::custom(hint))?;
        Ok(Self { text, billionths: read.units })
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
            Bucket::Minute => 60 * self.weeks,
            Bucket::Hour | Bucket::Day => self.weeks,
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
    /// What it fires at, if it does; `over`: the span of the sum has ended.
    pub fn fires(&self, totals: &Totals, baseline: Option<&Baseline>, over: bool) -> Option<Fired> {
        if totals.requests < self.minimum_requests || self.operator != Operator::Gt && !over {
            return None;
        }
        let value = self.metric.value(totals);
        // A whole value is above a fraction when it is above its floor, and below it when it is below its ceiling.
        let (bar, mean) = match &self.bar {
            Bar::Threshold(threshold) => (u128::from(threshold.billionths), None),
            Bar::TimesBaseline(times) => {
                let (sum, parts) = baseline?.mean(self.metric)?;
                let (above, below) = (sum.checked_mul(u128::from(times.billionths))?, parts * ONE);
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

/// Billionths as a decimal.
fn shown(billionths: u128) -> String {
    let text = format!("{}.{:09}", billionths / ONE, billionths % ONE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: serde_json::Value) -> Result<AlertRule, String> {
        let mut whole = json!({ "scope": "project", "severity": "medium" });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        serde_json::from_value(whole).map_err(|error| error.to_string())
    }

    fn rule(metric: &str, operator: &str, threshold: serde_json::Value) -> AlertRule {
        read(json!({ "metric": metric, "operator": operator, "threshold": threshold })).unwrap()
    }

    #[test]
    fn values_are_held_against_thresholds_exactly() {
        let totals = Totals {
            requests: 20,
            refused: 5,
            client_errors: 4,
            server_errors: 2,
            tokens: 500,
            cost_nanos: 10_000_000_001,
            ..Totals::default()
        };
        let fires = |metric, operator, threshold, over| {
            rule(metric, operator, threshold).fires(&totals, None, over).is_some()
        };
        assert!(fires("cost_per_minute", "gt", json!(10), false));
        assert!(!fires("cost_per_minute", "gt", json!("10.000000001"), false));
        assert!(fires("cost_per_day", "eq", json!("10.000000001"), true));
        assert!(!fires("cost_per_day", "eq", json!("10.000000001"), false));
        assert!(fires("failure_rate", "gt", json!("0.299999999"), false));
        assert!(!fires("failure_rate", "gt", json!("0.3"), false));
        assert!(fires("refused_share", "eq", json!("0.25"), true));
        assert!(
            fires("request_count", "lt", json!(21), true) && !fires("request_count", "lt", json!(20), true)
        );
        for metric in ["tokens_per_minute", "tokens_per_hour", "tokens_per_day"] {
            assert!(fires(metric, "gt", json!(499), false) && !fires(metric, "gt", json!(500), false));
        }
        let fired = rule("failure_rate", "gt", json!("0.05")).fires(&totals, None, false).unwrap();
        let expected = Fired { observed: "0.3".to_owned(), threshold: "0.05".to_owned(), baseline: None };
        assert_eq!(fired, expected);
    }

    #[test]
    fn a_failure_of_few_requests_is_no_alert() {
        let totals = |requests| Totals { requests, server_errors: requests, ..Totals::default() };
        let usual = rule("failure_rate", "gt", json!("0.5"));
        assert!(usual.fires(&totals(19), None, false).is_none());
        assert!(usual.fires(&totals(20), None, false).is_some());
        let own = read(
            json!({ "metric": "failure_rate", "operator": "gt", "threshold": "0.5", "minimum_requests": 1 }),
        );
        assert!(own.unwrap().fires(&totals(1), None, false).is_some());
    }

    #[test]
    fn a_multiple_of_the_baseline_is_exact_and_wants_two_weeks() {
        let rule = |metric: &str, operator: &str, times: serde_json::Value| {
            read(json!({ "metric": metric, "operator": operator, "times_baseline": times })).unwrap()
        };
        let cost = |cost_nanos| Totals { requests: 1, cost_nanos, ..Totals::default() };
        let mut baseline = Baseline::default();
        baseline.add(&cost(10));
        let hour = rule("cost_per_hour", "gt", json!("2.5"));
        assert_eq!(hour.fires(&cost(1_000), Some(&baseline), false), None, "one week is too few");
        assert_eq!(hour.fires(&cost(1_000), None, false), None);
        baseline.add(&cost(11));
        // 2.5 times 10.5 is 26.25.
        assert_eq!(hour.fires(&cost(26), Some(&baseline), false), None);
        let fired = hour.fires(&cost(27), Some(&baseline), false).unwrap();
        assert_eq!(fired.threshold, "0.000000026");
        assert_eq!(fired.baseline, Some(("0.00000001".to_owned(), 2)));
        let less = rule("cost_per_hour", "lt", json!("2.5"));
        assert!(less.fires(&cost(26), Some(&baseline), true).is_some());
        assert!(less.fires(&cost(27), Some(&baseline), true).is_none());
        // 21 in two hours are 0.175 a minute.
        let minute = rule("cost_per_minute", "gt", json!(10));
        assert!(minute.fires(&cost(1), Some(&baseline), false).is_none());
        assert!(minute.fires(&cost(2), Some(&baseline), false).is_some());
        let failed = |requests, server_errors| Totals { requests, server_errors, ..Totals::default() };
        let mut shares = Baseline::default();
        shares.add(&failed(900, 9));
        shares.add(&failed(100, 1));
        let share = rule("failure_rate", "gt", json!(3));
        assert!(share.fires(&failed(100, 3), Some(&shares), false).is_none());
        assert!(share.fires(&failed(100, 4), Some(&shares), false).is_some());
    }

    #[test]
    fn a_rule_that_cannot_be_has_a_hint_and_others_are_written_as_they_are_read() {
        for (body, words) in [
            (
                json!({ "metric": "request_count", "operator": "gt" }),
                "either `threshold` or `times_baseline`",
            ),
            (
                json!({ "metric": "request_count", "operator": "gt", "threshold": 1, "times_baseline": 2 }),
                "and not both",
            ),
            (json!({ "metric": "request_count", "operator": "gt", "times_baseline": 0 }), "above 0"),
            (
                json!({ "metric": "request_count", "operator": "eq", "times_baseline": 2 }),
                "a `threshold` for `eq`",
            ),
            (json!({ "metric": "request_count", "operator": "gt", "threshold": "-1" }), "not below 0"),
            (
                json!({ "metric": "failure_rate", "operator": "gt", "threshold": "25" }),
                "must have a share as the `threshold`",
            ),
            (json!({ "metric": "refused_share", "operator": "eq", "threshold": "1.000000001" }), "0 to 1"),
            (
                json!({ "metric": "request_count", "operator": "gt", "threshold": 1, "minimum_requests": 5 }),
                "failure_rate and refused_share alone",
            ),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for body in [
            json!({ "metric": "refused_share", "operator": "lt", "threshold": "1", "scope": "key",
                     "severity": "low", "minimum_requests": 7 }),
            json!({ "metric": "failure_rate", "operator": "gt", "threshold": "0.25", "scope": "key",
                     "severity": "low", "minimum_requests": 7 }),
            json!({ "metric": "tokens_per_day", "operator": "lt", "times_baseline": "0.1", "scope": "model",
                     "severity": "high" }),
        ] {
            let rule: AlertRule = serde_json::from_value(body.clone()).unwrap();
            assert_eq!(serde_json::to_value(&rule).unwrap(), body);
        }
    }
}
