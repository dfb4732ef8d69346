//! Which events a sink wants.

use std::collections::BTreeSet;

use super::notify::rule::ends_group;
use crate::domain::{
    event::{Event, EventType},
    finding::Severity,
};

/// The events of the log that a sink wants.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The least severity; `None`: every severity.
    pub min_severity: Option<Severity>,
    /// The types that are wanted; empty: all.
    pub types: BTreeSet<EventType>,
    /// The types that are not wanted, even if `types` has them.
    pub exclude_types: BTreeSet<EventType>,
    /// Whether every event is wanted that ends what was notified, whatever its severity and type.
    pub ends: bool,
}

impl Filter {
    /// Whether the sink wants this event.
    pub fn admits(&self, event: &Event) -> bool {
        self.ends && ends_group(event)
            || self.min_severity.is_none_or(|least| event.severity >= least)
                && (self.types.is_empty() || self.types.contains(&event.kind))
                && !self.exclude_types.contains(&event.kind)
    }
}
