//! The only place that reads the clock. Everything else is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Millis;

/// The machine's wall clock, in milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| Millis::try_from(d.as_millis()).unwrap_or(Millis::MAX))
}
