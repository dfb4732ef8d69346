//! What is measured of decisions.

use crate::domain::decision::{Action, Decision};

/// Counters of decisions, made once so that the hot path only adds.
pub(super) struct Meters {
    decisions: [metrics::Counter; 5],
    refused: metrics::Counter,
    unpriced: metrics::Counter,
    /// Time that the trip to the store took.
    pub(super) observe: metrics::Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        let actions =
            [Action::None, Action::Alert, Action::Throttle, Action::TemporaryBan, Action::PermanentBan];
        Self {
            decisions: actions.map(|a| metrics::counter!("keyward_decisions_total", "action" => a.name())),
            refused: metrics::counter!("keyward_refusals_total"),
            unpriced: metrics::counter!("keyward_price_fallbacks_total"),
            observe: metrics::histogram!("keyward_store_op_duration_seconds", "op" => "observe"),
        }
    }
}

impl Meters {
    pub(super) fn count(&self, decision: &Decision) {
        self.decisions[decision.action as usize].increment(1);
        if !decision.allowed {
            self.refused.increment(1);
        }
        if decision.cost.fallback {
            self.unpriced.increment(1);
        }
        for finding in &decision.anomalies {
            let labels = [("detector", finding.kind.detector()), ("severity", finding.severity.name())];
            metrics::counter!("keyward_findings_total", &labels).increment(1);
        }
    }
}
