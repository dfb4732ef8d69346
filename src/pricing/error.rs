//! What can be wrong with a price list, and the mend.

use std::{io, path::PathBuf};

/// A price list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The file is not there or may not be read.
    #[error("cannot read the prices {}: {source}; check `prices.file` (--prices, KEYWARD_PRICES) and the file's permissions", path.display())]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not say what a price list says.
    #[error("{list}, line {line}: {what}")]
    Wrong {
        /// The file, or the built-in list.
        list: String,
        /// The line of the file, from 1.
        line: usize,
        /// The setting by its full name, and what it must be.
        what: String,
    },
}
