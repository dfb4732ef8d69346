//! What happens beside the decisions: usage on its way to the roll-ups, alert rules, spend anomalies, reports counted
//! behind their answer, answers for other instances, reservations that nobody settles, counts of events, and
//! the upkeep that runs them.
//! Each is a type that has what it uses and nothing else.

mod alert_look;
pub(in crate::engine) mod alert_status;
pub(in crate::engine) mod alerts;
pub(in crate::engine) mod answers;
pub(in crate::engine) mod deferred_reports;
pub(in crate::engine) mod event_counts;
mod journal;
pub(in crate::engine) mod known;
pub(in crate::engine) mod log;
pub(in crate::engine) mod reconcile;
pub(in crate::engine) mod reservations;
pub(in crate::engine) mod spend;
mod spend_days;
mod stop;
pub(in crate::engine) mod stopped;
pub(in crate::engine) mod upkeep;
pub(in crate::engine) mod usage;
pub(in crate::engine) mod usage_book;
