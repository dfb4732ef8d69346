//! One sink as the configuration has it: the settings that every sink has, and those of its kind.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use toml::{Table, Value};

use super::{
    common::{CommonSettings, KindDefaults, WrittenCommon, check_name},
    context::SinkContext,
    contract::{KindSettings, Sink},
    secret::mask_url_source,
    sink::{KINDS, Kind},
};
use crate::settings::{SettingError, SettingErrors, field_names, nearest, read_table};

/// One sink as the configuration has it.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    written: Table,
    common: CommonSettings,
    own: Arc<dyn KindSettings>,
}

impl SinkSettings {
    /// The settings that every sink has.
    pub fn common(&self) -> &CommonSettings {
        &self.common
    }

    /// Whether the settings of another sink are the same, word for word.
    pub fn is_same(&self, other: &Self) -> bool {
        self.written == other.written
    }

    /// Opens the sink: reads secrets and files.
    ///
    /// # Errors
    /// The setting that cannot be used, such as a secret that is not there.
    pub fn open(&self, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        self.own.open(&self.common, context).map_err(|error| error.within(&table_of(&self.common.name)))
    }

    /// Whether the sink could be opened, without leaving anything behind.
    ///
    /// # Errors
    /// As [`SinkSettings::open`].
    pub fn probe(&self, context: &SinkContext) -> Result<(), SettingError> {
        self.own.probe(&self.common, context).map_err(|error| error.within(&table_of(&self.common.name)))
    }

    /// The file that no other sink may write: where links lead, and by its folder while the file is not there yet.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.own.file()?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let by_folder = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
        absolute.canonicalize().ok().or_else(by_folder).or(Some(absolute))
    }

    /// The same settings for people to read: what is behind the host in a plain URL may be a secret.
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        if let Some(Value::String(url)) = masked.written.get_mut("url") {
            *url = mask_url_source(url);
        }
        masked
    }

    /// Reads a sink and checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it, by the full names of the settings.
    pub fn read(written: Table) -> Result<Self, SettingErrors> {
        let name = written.get("name").and_then(Value::as_str).filter(|name| check_name(name).is_ok());
        let table = name.map_or_else(|| "sinks".to_owned(), table_of);
        Self::read_parts(written).map_err(|errors| errors.within(&table))
    }

    fn read_parts(written: Table) -> Result<Self, SettingErrors> {
        let known = field_names::<WrittenCommon>();
        let (common, own): (Table, Table) =
            written.clone().into_iter().partition(|(key, _)| known.contains(&key.as_str()));
        let mut errors = SettingErrors::default();
        // A type that is missing or no text is an error of the common settings.
        let kind = common.get("type").and_then(Value::as_str).map(kind_of);
        let common: Option<WrittenCommon> = errors.take(read_table(common, &[]));
        let kind = kind.and_then(|kind| errors.take(kind));
        let own = kind.and_then(|kind| Some((kind, errors.take((kind.read)(own, known))?)));
        let (Some(common), Some((kind, own))) = (common, own) else {
            return Err(errors);
        };
        let defaults = KindDefaults { kind: kind.name, batch: own.batch(), notifies: own.notifies() };
        let Some(common) = errors.take(common.validate(&defaults)) else {
            return Err(errors);
        };
        own.check(&common, &mut errors);
        errors.finish(Ok::<_, SettingErrors>(Self { written, common, own }))
    }
}

fn table_of(name: &str) -> String {
    format!("sinks.{name}")
}

fn kind_of(name: &str) -> Result<&'static Kind, SettingError> {
    let names = || KINDS.iter().map(|kind| kind.name);
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let hint = format!("must be one of {}, not {name:?}", names().collect::<Vec<_>>().join(", "));
        SettingError::new("type", hint).suggesting(nearest(name, names()))
    })
}

impl Serialize for SinkSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SinkSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Table::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
