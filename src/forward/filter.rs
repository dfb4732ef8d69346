//! Which events a sink wants.

use std::collections::BTreeSet;

use super::notify::is_end;
use crate::domain::{
    event::{Event, EventType},
    finding::Severity,
};

/// What a sink wants of the log.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of at least this severity.
    pub min_severity: Option<Severity>,
    /// Of these types; none named: of all.
    pub types: BTreeSet<EventType>,
    /// Not of these types.
    pub exclude_types: BTreeSet<EventType>,
    /// All that ends what was told, however severe and of whatever type.
    pub ends: bool,
}

impl Filter {
    /// Whether it wants this one.
    pub fn admits(&self, event: &Event) -> bool {
        self.ends && is_end(event.kind)
            || self.min_severity.is_none_or(|least| event.severity >= least)
                && (self.types.is_empty() || self.types.contains(&event.kind))
                && !self.exclude_types.contains(&event.kind)
    }
}
