//! What can be wrong with a geo database file, and the hint.

use std::{io, path::PathBuf};

/// A geo database that cannot be used. Each message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file is not there or may not be read.
    #[error(
        "cannot read the geo database {}: {source}; check `geoip.files` (or --geoip) and the file's permissions",
        path.display()
    )]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a MaxMind DB (.mmdb): {what}; see geoip/README.md for how to get one", path.display())]
    NotADatabase {
        /// The file that is no database.
        path: PathBuf,
        /// What it looks like.
        what: &'static str,
    },
    /// The file is a database, but a damaged one.
    #[error(
        "the geo database {} is damaged: {reason}; download it again, or take it out of `geoip.files`",
        path.display()
    )]
    Damaged {
        /// The file whose database is damaged.
        path: PathBuf,
        /// What the check found.
        reason: String,
    },
}
