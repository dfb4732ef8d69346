//! What can be wrong with a configuration: the setting, where it came from, and the hint. Never a value that may be
//! secret.

use std::{fmt, io, path::PathBuf};

use crate::settings::SettingError;

/// Where a setting was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The base layer, which is built in.
    Default,
    /// The overlay of a preset.
    Preset,
    /// The file given with `--config`.
    File(PathBuf),
    /// This variable of the environment.
    Variable(String),
    /// The flag of the command line, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "the defaults"),
            Self::Preset => write!(f, "the strict preset"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "{name} in the environment"),
            Self::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// One mistake in a configuration, and where it was made.
#[derive(Debug)]
pub struct Mistake {
    /// The layer with the last word on the setting.
    pub origin: Origin,
    /// The setting, its line where the layer is a file, the hint, and what was probably meant.
    pub error: SettingError,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some(line) = self.error.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": `{}` {}", self.error.setting, self.error.explanation())
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or may not be read.
    #[error(
        "cannot read the settings in {}: {source}; check the name (--config, --policy, --compare) and the file's \
         permissions",
        path.display()
    )]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The text is neither TOML nor, for a policy, JSON. The parser's own error is not kept: it quotes the line, which
    /// may hold a secret.
    #[error("{origin}, line {line}: {hint}")]
    Syntax {
        /// The layer that the mistake is in.
        origin: Origin,
        /// The line in that layer, from 1.
        line: usize,
        /// What the parser expected, not what is there.
        hint: String,
    },
    /// Everything that is wrong with the settings, in the order of the layers and of the lines: one line each.
    #[error("{}", one_line_each(.0))]
    Settings(Vec<Mistake>),
}

fn one_line_each(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}
