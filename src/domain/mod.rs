//! The words of the product as types, and the pure rules between them.
//!
//! Nothing in here waits, reads a clock, or knows of HTTP, Redis or SQLite: time is always an argument
//! (milliseconds since the Unix epoch) and every function gives the same answer to the same call.

pub mod actor;
pub mod address;
pub mod alert;
pub mod allowlist;
pub mod bill;
pub mod calendar;
pub mod counter;
pub mod day_comparison;
pub mod debt;
pub mod decision;
pub mod difference;
pub mod enforcement;
pub mod event;
pub mod finding;
pub mod forecast;
pub mod key;
pub mod ladder;
pub mod ladder_policy;
pub mod latency;
pub mod limit;
pub mod model;
pub mod money;
pub mod observation;
pub mod place;
pub mod policy;
mod policy_ranges;
pub mod price;
pub mod profile;
pub mod record;
pub mod registry;
pub mod reservation;
pub mod scope;
pub mod spend;
pub mod standing;
pub mod subject;
pub mod usage;
pub mod window;
pub mod wording;

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;

/// One second, in milliseconds.
pub const SECOND: Millis = 1_000;
/// One minute, in milliseconds.
pub const MINUTE: Millis = 60 * SECOND;
/// One hour, in milliseconds.
pub const HOUR: Millis = 60 * MINUTE;
/// One day, in milliseconds.
pub const DAY: Millis = 24 * HOUR;

/// A 64-bit FNV-1a hash: stable across versions and machines, so it may be stored.
/// Not for secrets (those go through the pepper's HMAC).
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whole seconds until then, rounded up; 0 once it has passed.
pub fn seconds_until(at: Millis, now: Millis) -> u64 {
    ((at - now).max(0) as u64).div_ceil(SECOND as u64)
}
