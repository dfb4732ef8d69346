//! Layers of settings, laid over each other: tables are merged, everything else is replaced.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    ConfigError, DEFAULT_TOML, Mistake, Origin, STRICT_TOML, environment,
    layer::{Layer, look_up, nested},
};
use crate::settings::SettingError;

/// The tables whose entries a layer may take away with this word in place of a number.
pub(super) const NO_LIMIT: &str = "none";
/// Where that is so.
pub(super) const LIMITS: [&str; 2] = ["policy.limits.tokens", "policy.limits.requests"];

/// Where settings are looked for beside what is embedded.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file given with `--config`. Without one, `KEYWARD_CONFIG` names it.
    pub file: Option<PathBuf>,
    /// The variables of the environment, names and values.
    pub environment: Vec<(String, String)>,
    /// Flags: name, dotted path of the setting, value.
    pub flags: Vec<(&'static str, &'static str, Value)>,
    /// Whether keys of upstreams that are not there are mistakes, too: only who checks names them with the others.
    pub reads_keys: bool,
}

impl Sources {
    /// The environment of this process, and nothing else yet.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { environment: std::env::vars_os().filter_map(text).collect(), ..Self::default() }
    }

    /// The value of a variable; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(n, _)| n == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    /// The file that settings are read from, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| self.variable("KEYWARD_CONFIG").map(PathBuf::from))
    }
}

/// Every layer, the weakest first.
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    /// Reads every layer, each over the one before.
    pub(super) fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let mut said = Vec::new();
        if let Some(path) = sources.file() {
            said.push(parse(&text_of(&path)?, Origin::File(path))?);
        }
        said.extend(environment::layers(sources, &parse(DEFAULT_TOML, Origin::Default)?.table));
        for (flag, name, value) in &sources.flags {
            said.push(Layer::new(Origin::Flag(flag), nested(name.split('.'), value.clone())));
        }
        Self::over_defaults(said)
    }

    /// What is said over the base layer, and over the preset that it names.
    pub(super) fn over_defaults(mut said: Vec<Layer>) -> Result<Self, ConfigError> {
        let mut layers = vec![parse(DEFAULT_TOML, Origin::Default)?];
        if last_preset(&said) == Some("strict") {
            layers.push(parse(STRICT_TOML, Origin::Preset)?);
        }
        layers.append(&mut said);
        Ok(Self(layers))
    }

    /// The base layer: it has every setting there is.
    pub(super) fn base(&self) -> &Table {
        &self.0[0].table
    }

    /// Every layer that lies over the base layer, the weakest first.
    pub(super) fn over_base(&mut self) -> (&Table, &mut [Layer]) {
        let (base, over) = self.0.split_at_mut(1);
        (&base[0].table, over)
    }

    /// All of them as one.
    pub(super) fn merged(&self) -> Table {
        let mut merged = Table::new();
        for layer in &self.0 {
            merge(&mut merged, &layer.table);
        }
        LIMITS.iter().for_each(|name| drop_taken_away(&mut merged, name));
        merged
    }

    /// The error with its place: the layer with the last word on its setting, or on the nearest table around it.
    pub(super) fn place(&self, error: SettingError) -> Mistake {
        let mut name = error.setting.as_str();
        loop {
            if let Some(layer) = self.0.iter().rev().find(|layer| look_up(&layer.table, name).is_some()) {
                return layer.place(error);
            }
            match name.rfind(['.', '[']) {
                Some(end) => name = &name[..end],
                None => return Mistake { origin: Origin::Default, error },
            }
        }
    }

    /// Brings mistakes into the order of the layers and, in a file, of the lines.
    pub(super) fn sort(&self, mistakes: &mut [Mistake]) {
        let rank = |origin: &Origin| self.0.iter().position(|layer| layer.origin == *origin);
        mistakes.sort_by_key(|mistake| (rank(&mistake.origin), mistake.error.line));
    }
}

fn last_preset(layers: &[Layer]) -> Option<&str> {
    layers.iter().rev().find_map(|layer| look_up(&layer.table, "policy.preset")?.as_str())
}

/// The text of a file.
pub(super) fn text_of(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// Reads a layer in TOML; errors name the line.
pub(super) fn parse(text: &str, origin: Origin) -> Result<Layer, ConfigError> {
    match text.parse::<Table>() {
        Ok(table) => Ok(Layer { origin, table, text: text.to_owned() }),
        Err(error) => {
            // Only the message: the excerpt that the parser would print may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Err(ConfigError::Syntax { origin, line, hint: error.message().to_owned() })
        }
    }
}

fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn drop_taken_away(table: &mut Table, name: &str) {
    let found = name.split('.').try_fold(table, |table, part| table.get_mut(part)?.as_table_mut());
    if let Some(limits) = found {
        limits.retain(|_, value| value.as_str() != Some(NO_LIMIT));
    }
}
