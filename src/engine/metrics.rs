//! What is measured of decisions, of the store, and of the log.
//!
//! Every handle is made once, with all the label values that it will ever have: the hot path only adds, nothing is
//! allocated there, and a series is at 0 before it first counts, so that `increase()` sees its first step.

use metrics::{Counter, Histogram};

use crate::domain::{
    decision::{Action, Decision, Reason},
    finding::{AnomalyKind, Severity},
};

/// Which question was answered: about a request that was made, or about one that is to be made.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Record,
    Check,
}

/// Handles of the metrics of the engine.
pub(super) struct Metrics {
    on_time: Counter,
    late: Counter,
    checks: Counter,
    decisions: [Counter; 5],
    /// By call, then reason.
    refusals: [Vec<Counter>; 2],
    /// The same of those that were only observed.
    observed_refusals: [Vec<Counter>; 2],
    unpriced: Counter,
    /// By detector, then severity.
    findings: Vec<[Counter; Severity::ALL.len()]>,
    /// Calls that the store did not answer.
    pub(super) store_failures: Counter,
    /// Time that the trip to the store took.
    pub(super) observe: Histogram,
    /// Time that writing a response took.
    pub(super) respond: Histogram,
    /// Time that writing events took.
    pub(super) append: Histogram,
    /// Time that a page of the log took.
    pub(super) read_log: Histogram,
    /// Events that the store has taken.
    pub(super) events_written: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            on_time: metrics::counter!("keyward_records_total", "timing" => "on_time"),
            late: metrics::counter!("keyward_records_total", "timing" => "late"),
            checks: metrics::counter!("keyward_checks_total"),
            decisions: Action::ALL
                .map(|a| metrics::counter!("keyward_decisions_total", "action" => a.name())),
            refusals: ["record", "check"].map(|call| refusals("keyward_refusals_total", call)),
            observed_refusals: ["record", "check"]
                .map(|call| refusals("keyward_observed_refusals_total", call)),
            unpriced: metrics::counter!("keyward_price_fallbacks_total"),
            findings: AnomalyKind::ALL.iter().map(|kind| findings(*kind)).collect(),
            store_failures: metrics::counter!("keyward_store_failures_total"),
            observe: store_op("observe"),
            respond: store_op("respond"),
            append: store_op("append"),
            read_log: store_op("read_log"),
            events_written: metrics::counter!("keyward_events_written_total"),
        }
    }
}

impl Metrics {
    /// Counts the decision about a record.
    pub(super) fn count(&self, decision: &Decision) {
        if decision.late { &self.late } else { &self.on_time }.increment(1);
        self.decisions[decision.action as usize].increment(1);
        self.count_refusal(decision, Call::Record);
        if decision.cost.fallback {
            self.unpriced.increment(1);
        }
        for finding in &decision.anomalies {
            self.findings[finding.kind as usize][finding.severity as usize].increment(1);
        }
    }

    /// Counts the answer to a check.
    pub(super) fn count_check(&self, decision: &Decision) {
        self.checks.increment(1);
        self.count_refusal(decision, Call::Check);
    }

    fn count_refusal(&self, decision: &Decision, call: Call) {
        if let Some(reason) = decision.ruling().reason {
            let counters = if decision.allowed { &self.observed_refusals } else { &self.refusals };
            counters[call as usize][reason as usize].increment(1);
        }
    }
}

/// How long an operation of the store takes.
pub(super) fn store_op(op: &'static str) -> Histogram {
    metrics::histogram!("keyward_store_op_duration_seconds", "op" => op)
}

fn refusals(name: &'static str, call: &'static str) -> Vec<Counter> {
    let of = |reason: &Reason| metrics::counter!(name, "call" => call, "reason" => reason.name());
    Reason::ALL.iter().map(of).collect()
}

fn findings(kind: AnomalyKind) -> [Counter; Severity::ALL.len()] {
    Severity::ALL.map(|severity| {
        let labels = [("detector", kind.detector()), ("severity", severity.name())];
        metrics::counter!("keyward_findings_total", &labels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_what_they_are_looked_up_by() {
        assert!(Reason::ALL.iter().enumerate().all(|(n, reason)| *reason as usize == n));
        assert!(Severity::ALL.iter().enumerate().all(|(n, severity)| *severity as usize == n));
        assert!(AnomalyKind::ALL.iter().enumerate().all(|(n, kind)| *kind as usize == n));
    }
}
