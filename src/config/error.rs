//! What can be wrong with a configuration: the setting, where it came from, and the hint. Never a value that may be
//! secret.

use std::{fmt, io, path::PathBuf};

use crate::settings::SettingErrors;

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

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read the settings in {}: {source}; check the name (--config, --policy, --compare) and the file's permissions", path.display())]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A layer that is not TOML.
    #[error("{origin}, line {line}: {what}")]
    Syntax {
        /// The layer that the mistake is in.
        origin: Origin,
        /// The line in that layer, from 1.
        line: usize,
        /// What the parser said; it names what it expected, not what is there.
        what: String,
    },
    /// No setting has this name.
    #[error("{origin}: there is no setting `{name}`{}", suggest(suggestion.as_deref()))]
    Unknown {
        /// The full dotted name.
        name: String,
        /// Where it was said.
        origin: Origin,
        /// A setting with a similar name.
        suggestion: Option<String>,
    },
    /// The value is of the wrong kind or out of its range.
    #[error("{origin}: `{name}` {hint}")]
    Setting {
        /// The full dotted name.
        name: String,
        /// Where it was said.
        origin: Origin,
        /// What it must be.
        hint: String,
    },
    /// Values of sinks cannot be used: one line each.
    #[error("{}", sink_errors(origin, errors))]
    Sinks {
        /// Where the sinks were said.
        origin: Origin,
        /// Everything that is wrong with them.
        errors: SettingErrors,
    },
}

impl ConfigError {
    /// A value that cannot be.
    pub(super) fn setting(name: impl Into<String>, origin: Origin, hint: impl Into<String>) -> Self {
        Self::Setting { name: name.into(), origin, hint: hint.into() }
    }
}

fn suggest(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; `keyward check-config` prints every setting".to_owned(),
    }
}

fn sink_errors(origin: &Origin, errors: &SettingErrors) -> String {
    let line = |line: usize| format!(", line {line}");
    let lines = errors.iter().map(|error| {
        let line = error.line.map(line).unwrap_or_default();
        format!("{origin}{line}: `{}` {}", error.setting, error.explanation())
    });
    lines.collect::<Vec<_>>().join("\n")
}
