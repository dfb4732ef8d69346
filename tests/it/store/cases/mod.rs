//! The conformance cases: each takes a store with nothing in it. They are listed in `conformance.rs`.

pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod keeping;
pub(crate) mod peers;
pub(crate) mod refunds;
pub(crate) mod reservations;
pub(crate) mod sinks;
pub(crate) mod standings;
pub(crate) mod usage;
pub(crate) mod windows;

/// The files with the cases.
pub(crate) const SOURCES: &[(&str, &str)] = &[
    ("events.rs", include_str!("events.rs")),
    ("keeping.rs", include_str!("keeping.rs")),
    ("peers.rs", include_str!("peers.rs")),
    ("counters.rs", include_str!("counters.rs")),
    ("refunds.rs", include_str!("refunds.rs")),
    ("reservations.rs", include_str!("reservations.rs")),
    ("sinks.rs", include_str!("sinks.rs")),
    ("standings.rs", include_str!("standings.rs")),
    ("usage.rs", include_str!("usage.rs")),
    ("windows.rs", include_str!("windows.rs")),
];
