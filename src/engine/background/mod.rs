//! What happens beside the decisions: usage on its way to the roll-ups, alert rules,
//! spend anomalies, reports counted behind their answer, and the upkeep that runs them all.

pub(in crate::engine) mod alerts;
pub(in crate::engine) mod deferred_reports;
pub(in crate::engine) mod spend;
pub(in crate::engine) mod upkeep;
pub(in crate::engine) mod usage;
