//! From an address to a place, with databases in the MaxMind DB format that the user brings along.
//!
//! No database, or no entry: the place is absent, which is a value and never "distance 0". What a broken record
//! says is absent too; a broken file is refused when it is opened, and keeps the one before it in force.
//!
//! `node` decodes any record, `entry` finds the fields in it, `database` is one file, `set` puts several together,
//! `live` keeps them current and remembers answers.

mod database;
mod entry;
mod error;
mod live;
mod node;
mod set;
#[cfg(test)]
mod tests;

pub use database::GeoFile;
pub use entry::DEFAULT_RADIUS_KM;
pub use error::GeoError;
pub use live::{Geo, GeoState, GeoStatus};
pub use set::GeoDb;

/// The demo database, made by `examples/make_demo_geo.rs` from the tables in `geoip/`.
pub const DEMO: &[u8] = include_bytes!("../../geoip/demo.mmdb");
