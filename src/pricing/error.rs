//! What can be wrong with a price list, and the hint.

use std::{io, path::PathBuf};

use crate::settings::{SettingError, SettingErrors};

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
    #[error("{}", described(list, errors))]
    Wrong {
        /// The file, or the built-in list.
        list: String,
        /// Each setting that is wrong by its full name, its line, and what it must be.
        #[source]
        errors: SettingErrors,
    },
}

/// A line for each error: the list, the line, the name and what must be; without a name where the text is no TOML.
fn described(list: &str, errors: &SettingErrors) -> String {
    let describe = |error: &SettingError| {
        let name = if error.setting.is_empty() { String::new() } else { format!("`{}` ", error.setting) };
        format!("{list}, line {}: {name}{}", error.line.unwrap_or(1), error.explanation())
    };
    errors.iter().map(describe).collect::<Vec<_>>().join("\n")
}
