//! What a detector answers about a case: a finding, or why it stayed quiet and how near it was.

use serde::Serialize;

use crate::domain::finding::{AnomalyKind, Finding, Mode};

/// A detector's answer. It is a `Result` so that `?` ends a judgement where there is nothing to find; being quiet is no
/// error.
pub type DetectorResult = Result<Finding, Quiet>;

/// Why a detector stayed quiet. Made for nearly every request, so it never allocates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quiet {
    /// The reason: a clause for people, without a full stop.
    pub why: &'static str,
    /// How near it was, where that can be said in numbers.
    pub margin: Option<Margin>,
}

/// What was observed beside what would have counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Margin {
    /// The value that was observed.
    pub observed: f64,
    /// From here on (for some detectors: above this) it would have counted.
    pub threshold: f64,
    /// The unit of both numbers, for people.
    pub unit: &'static str,
}

impl Margin {
    /// How much of the threshold was observed: 1 at the threshold.
    pub fn share(&self) -> f64 {
        self.observed / self.threshold
    }
}

impl Quiet {
    /// A reason without numbers.
    pub const fn because(why: &'static str) -> Self {
        Self { why, margin: None }
    }

    /// A reason with the number that was not reached.
    pub const fn below(why: &'static str, observed: f64, threshold: f64, unit: &'static str) -> Self {
        Self { why, margin: Some(Margin { observed, threshold, unit }) }
    }
}

/// One detector's result, with its name and whether it acts.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorReport {
    /// The anomaly type that the detector finds.
    pub kind: AnomalyKind,
    /// Whether its findings are acted on.
    pub mode: Mode,
    /// The finding, or why there is none.
    pub result: DetectorResult,
}
