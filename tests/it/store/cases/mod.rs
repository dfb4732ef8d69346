//! The conformance cases: each takes a store with nothing in it. They are listed in `conformance.rs`.

pub mod counters;
pub mod events;
pub mod keeping;
pub mod peers;
pub mod refunds;
pub mod sinks;
pub mod standings;
pub mod usage;
pub mod windows;

/// The files with the cases.
pub const SOURCES: &[(&str, &str)] = &[
    ("events.rs", include_str!("events.rs")),
    ("keeping.rs", include_str!("keeping.rs")),
    ("peers.rs", include_str!("peers.rs")),
    ("counters.rs", include_str!("counters.rs")),
    ("refunds.rs", include_str!("refunds.rs")),
    ("sinks.rs", include_str!("sinks.rs")),
    ("standings.rs", include_str!("standings.rs")),
    ("usage.rs", include_str!("usage.rs")),
    ("windows.rs", include_str!("windows.rs")),
];
