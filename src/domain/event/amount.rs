//! Amounts in evidence: dollars are text, anything else is a number.

use serde::{Deserialize, Serialize};

use crate::domain::{money::Usd, window::Unit};

/// An amount in its own unit. US dollars are a decimal in text, so that no reader makes a binary fraction of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EvidenceAmount {
    /// Requests, tokens, or what a detector measured.
    Number(serde_json::Number),
    /// US dollars, or the value of a metric, as a decimal.
    Text(String),
}

impl EvidenceAmount {
    /// So much of a unit; dollars are given in nano-dollars.
    pub fn of(unit: Unit, amount: u64) -> Self {
        if unit == Unit::CostUsd { Self::Text(Usd(amount).to_string()) } else { Self::Number(amount.into()) }
    }

    /// The amount as text, without a unit.
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// The number; `None` of what is written as text.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::Text(_) => None,
        }
    }
}
