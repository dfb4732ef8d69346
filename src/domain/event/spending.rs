//! What is told of budgets, of alert rules, and of keys that spend unlike before.

use serde::{Deserialize, Serialize};

use super::{amount::EvidenceAmount, evidence::Details, kind::EventType, rfc3339_millis};
use crate::domain::{
    Millis,
    alert::{AlertState, AlertWindow, Metric, Operator, Watched},
    limit::Span,
    window::Unit,
};

/// A request took what is used of a limit on US dollars over a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetUsed {
    /// What happened, in a sentence.
    pub summary: String,
    /// The mark, in percent of the limit, 1 to 100.
    pub percent: u64,
    /// The limit, US dollars as a decimal.
    pub limit_usd: String,
    /// What is used of it, US dollars as a decimal.
    pub used_usd: String,
    /// Over which span it counts, such as `month`.
    pub window: Span,
    /// For which models, a name or pattern; null: for all.
    #[serde(default)]
    pub model: Option<String>,
    /// Whose limit it is: a subject such as `project:shop`, or `everything`.
    pub scope: String,
}

impl Details for BudgetUsed {
    const TYPES: &'static [EventType] = &[EventType::BudgetUsed];
}

/// A request took what is used of a limit on requests or tokens over a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitUsed {
    /// What happened, in a sentence.
    pub summary: String,
    /// The mark, in percent of the limit, 1 to 100.
    pub percent: u64,
    /// What it counts: `requests`, `tokens`, `input_tokens` or `output_tokens`.
    pub unit: Unit,
    /// The limit, in its unit.
    pub limit: u64,
    /// What is used of it, in the same unit.
    pub used: u64,
    /// Over which span it counts, such as `1min` or `month`.
    pub window: Span,
    /// For which models, a name or pattern; null: for all.
    #[serde(default)]
    pub model: Option<String>,
    /// Whose limit it is: a subject such as `project:shop`, or `everything`.
    pub scope: String,
}

impl Details for LimitUsed {
    const TYPES: &'static [EventType] = &[EventType::LimitUsed];
}

/// A rule of `alerts` fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRuleFired {
    /// What happened, in a sentence.
    pub summary: String,
    /// What the rule is called; empty in an event of before rules had names.
    #[serde(default)]
    pub name: String,
    /// Whether it fires or is cleared: `firing` or `cleared`.
    #[serde(default = "firing")]
    pub state: AlertState,
    /// The sum that is watched.
    pub metric: Metric,
    /// The window, such as `5min`; absent of a rule over calendar spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<AlertWindow>,
    /// How it is held against the threshold: `gt`, `lt` or `eq`.
    pub operator: Operator,
    /// Whose sums are watched: `everything`, `project`, `key` or `model`.
    pub scope: Watched,
    /// An id of the rule, the same as long as nothing in it is changed.
    #[serde(default)]
    pub rule: String,
    /// When the minute, hour, day or window began that was summed; of an alert that is cleared, when it began to fire.
    #[serde(with = "rfc3339_millis")]
    pub start: Millis,
    /// The sum, in the metric's unit, as a decimal; absent where the rule fires at too many to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What it passed, in the metric's unit, as a decimal; absent where `observed` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
    /// How many times the baseline the threshold is; absent of a rule with a fixed threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_baseline: Option<EvidenceAmount>,
    /// The mean of the weeks before, in the metric's unit, as a decimal; absent where none was needed or is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// How many weeks the baseline is made of; absent where `baseline` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// The model, which is no subject; absent of a rule that watches anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The rule fires at more than so many in this span, and this event stands for all others; absent where it is of
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_than: Option<usize>,
}

/// What events of before there was a state say.
fn firing() -> AlertState {
    AlertState::Firing
}

impl Details for AlertRuleFired {
    const TYPES: &'static [EventType] = &[EventType::AlertRule];
}

/// A key's day is unlike its days before in what it spends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendAnomaly {
    /// What happened, in a sentence.
    pub summary: String,
    /// When the day began, in UTC.
    #[serde(with = "rfc3339_millis")]
    pub day: Millis,
    /// As of when the day was judged: a multiple of the interval.
    #[serde(with = "rfc3339_millis")]
    pub checked_at: Millis,
    /// The time from one check to the next, in seconds; absent of an event of when it was always an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<i64>,
    /// In which unit the amounts are: `cost_usd` or `tokens`.
    pub unit: Unit,
    /// What the day holds so far.
    pub observed: EvidenceAmount,
    /// The mean of the days before.
    pub baseline: EvidenceAmount,
    /// What is `times_mean` times the mean.
    pub threshold: EvidenceAmount,
    /// How many days the mean is made of.
    pub samples: usize,
    /// What the day before held; null: it is not known, or was critical itself.
    #[serde(default)]
    pub yesterday: Option<EvidenceAmount>,
    /// What shows that the day is unusual.
    #[serde(default)]
    pub signs: Vec<SpendSign>,
}

impl Details for SpendAnomaly {
    const TYPES: &'static [EventType] = &[EventType::SpendAnomaly];
}

/// A way in which a day is unusual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendSign {
    /// Its name: `z`, `times_mean` or `times_yesterday`.
    pub sign: String,
    /// In which unit it shows: `cost_usd` or `tokens`.
    pub unit: Unit,
    /// How far off the day is, as a decimal; null: beyond measure.
    pub observed: Option<String>,
    /// What that is above, as a decimal.
    pub threshold: String,
}

/// A key was cut off because of what it spends, or would have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyCutOff {
    /// The day at the last of the checks.
    #[serde(flatten)]
    pub spend: SpendAnomaly,
    /// The checks in a row at which the day was critical, the newest first.
    #[serde(default)]
    pub checks: Vec<SpendCheck>,
    /// Why the key is left alone after all; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_cut_off: Option<String>,
}

impl Details for KeyCutOff {
    const TYPES: &'static [EventType] = &[EventType::KeyCutOff];
}

/// A provider's bill differs from what the ledger counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageMismatch {
    /// How many rows differ, and which does most, in a sentence.
    pub summary: String,
    /// The first day of the bill, as `2026-03-02`.
    pub from: String,
    /// The last day of the bill.
    pub to: String,
    /// How many rows, a day, model and key each, differ by more than the threshold.
    pub mismatches: usize,
    /// By how much they may differ, as `1%` or `0.5 USD`.
    pub threshold: String,
    /// What the ledger counted in all, in US dollars.
    pub ledger_usd: String,
    /// What is billed in all, in US dollars.
    pub bill_usd: String,
}

impl Details for UsageMismatch {
    const TYPES: &'static [EventType] = &[EventType::UsageMismatch];
}

/// A check at which a day was critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendCheck {
    /// As of when: a multiple of the interval.
    #[serde(with = "rfc3339_millis")]
    pub checked_at: Millis,
    /// What the day held then.
    pub observed: EvidenceAmount,
}
