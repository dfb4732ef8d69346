//! What can be wrong with a price list, and the hint.

use std::{io, path::PathBuf};

use crate::settings::SettingError;

/// A price list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The file is not there or may not be read.
    #[error(
        "cannot read the prices {}: {source}; check `prices.file` (--prices, KEYWARD_PRICES) and the file's \
         permissions",
        path.display()
    )]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not say what a price list says.
    #[error("{list}, line {}: {}", error.line.unwrap_or(1), described(error))]
    Wrong {
        /// The file, or the built-in list.
        list: String,
        /// The setting by its full name, its line, and what it must be.
        #[source]
        error: Box<SettingError>,
    },
}

/// The name and what must be; without a name where the text is no TOML.
fn described(error: &SettingError) -> String {
    if error.setting.is_empty() {
        error.explanation()
    } else {
        format!("`{}` {}", error.setting, error.explanation())
    }
}
