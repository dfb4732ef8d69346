//! Alert rules: what is spent or fails in a minute, an hour or a day, over all requests or those of each project.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    finding::Severity,
    money::{NANO_PLACES, decimal},
    usage::{Bucket, Totals},
};

/// One, in the units that values and thresholds are compared in.
const ONE: u128 = 1_000_000_000;

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
    /// Tokens in a minute.
    TokensPerMinute,
    /// The share of requests that failed (4xx, 5xx) in an hour, 0 to 1.
    FailureRate,
}

impl Metric {
    /// Over what it is summed.
    pub fn bucket(self) -> Bucket {
        match self {
            Self::CostPerMinute | Self::RequestCount | Self::TokensPerMinute => Bucket::Minute,
            Self::CostPerHour | Self::FailureRate => Bucket::Hour,
            Self::CostPerDay => Bucket::Day,
        }
    }

    /// Its value, in billionths.
    fn value(self, totals: &Totals) -> u128 {
        let requests = u128::from(totals.requests);
        match self {
            Self::CostPerMinute | Self::CostPerHour | Self::CostPerDay => u128::from(totals.cost_nanos),
            Self::RequestCount => requests * ONE,
            Self::TokensPerMinute => u128::from(totals.tokens) * ONE,
            Self::FailureRate => {
                let failed = u128::from(totals.client_errors) + u128::from(totals.server_errors);
                (failed * ONE).checked_div(requests).unwrap_or(0)
            }
        }
    }
}

/// How the value is held against the threshold.
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
    /// All.
    Everything,
    /// Those of each project apart.
    Project,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// What is watched.
    pub metric: Metric,
    /// How it is held against the threshold.
    pub operator: Operator,
    /// The threshold: a whole number, or a decimal in quotes with up to 9 places.
    pub threshold: Threshold,
    /// Whose.
    pub scope: Watched,
    /// How bad it is.
    pub severity: Severity,
}

/// A threshold, exactly as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Threshold {
    text: String,
    #[serde(skip)]
    billionths: u64,
}

impl Threshold {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
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
        let mend = "must be a whole number, or a decimal in quotes such as \"12.5\", not below 0";
        let text = match Written::deserialize(deserializer).map_err(|_| D::Error::custom(mend))? {
            Written::Whole(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let read = decimal(&text, NANO_PLACES).map_err(|_| D::Error::custom(mend))?;
        Ok(Self { text, billionths: read.units })
    }
}

impl AlertRule {
    /// Whether it fires at a sum; `over`: the span of the sum has ended.
    pub fn fires(&self, totals: &Totals, over: bool) -> bool {
        let (value, threshold) = (self.metric.value(totals), u128::from(self.threshold.billionths));
        match self.operator {
            Operator::Gt => value > threshold,
            Operator::Lt => over && value < threshold,
            Operator::Eq => over && value == threshold,
        }
    }

    /// The value as a decimal.
    pub fn shown(&self, totals: &Totals) -> String {
        let value = self.metric.value(totals);
        let (whole, rest) = (value / ONE, value % ONE);
        let text = format!("{whole}.{rest:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(metric: &str, operator: &str, threshold: serde_json::Value) -> AlertRule {
        serde_json::from_value(json!({
            "metric": metric, "operator": operator, "threshold": threshold, "scope": "project", "severity": "medium",
        }))
        .unwrap()
    }

    #[test]
    fn values_are_held_against_thresholds_exactly() {
        let totals = Totals {
            requests: 10,
            client_errors: 2,
            server_errors: 1,
            tokens: 500,
            cost_nanos: 10_000_000_001,
            ..Totals::default()
        };
        let fires =
            |metric, operator, threshold, over| rule(metric, operator, threshold).fires(&totals, over);
        assert!(fires("cost_per_minute", "gt", json!(10), false));
        assert!(!fires("cost_per_minute", "gt", json!("10.000000001"), false));
        assert!(fires("cost_per_day", "eq", json!("10.000000001"), true));
        assert!(!fires("cost_per_day", "eq", json!("10.000000001"), false));
        assert!(fires("failure_rate", "gt", json!("0.299999999"), false));
        assert!(!fires("failure_rate", "gt", json!("0.3"), false));
        assert!(
            fires("request_count", "lt", json!(11), true) && !fires("request_count", "lt", json!(10), true)
        );
        assert!(fires("tokens_per_minute", "gt", json!(499), false));
        assert_eq!(rule("cost_per_minute", "gt", json!(1)).shown(&totals), "10.000000001");
        assert_eq!(rule("failure_rate", "gt", json!(1)).shown(&totals), "0.3");
        assert!(serde_json::from_value::<Threshold>(json!("-1")).is_err());
    }
}
