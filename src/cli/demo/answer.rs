//! The answer of the service to a request of the demo.

use serde::Deserialize;

use crate::domain::{decision::Action, finding::Finding};

/// What the service answered to a request, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) action: Action,
    pub(super) reason: Option<String>,
    pub(super) retry_after_seconds: Option<u64>,
    pub(super) anomalies: Vec<Finding>,
}

impl Answer {
    /// The finding that weighs most.
    pub(super) fn worst(&self) -> Option<&Finding> {
        self.anomalies.iter().max_by(|a, b| a.severity.cmp(&b.severity).then(a.score.total_cmp(&b.score)))
    }
}
