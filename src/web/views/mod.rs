//! The views: a file for each, with its template beside in `templates/`.

pub(super) mod bans;
pub(super) mod cost_parts;
pub(super) mod costs;
pub(super) mod detectors;
pub(super) mod events;
pub(super) mod health;
pub(super) mod limits;
pub(super) mod now;
pub(super) mod policy;
pub(super) mod sign_in;
pub(super) mod sinks;
pub(super) mod subject;
pub(super) mod subject_parts;
pub(super) mod subjects;
