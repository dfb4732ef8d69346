//! What a sink is, as the configuration says it: settings that all sinks have, and those of its kind.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use toml::Table;

use super::{Filter, KINDS, KindSettings, Sink, SinkContext, format::Format, secret::mask_url_source};
use crate::domain::{event::EventType, finding::Severity};

/// Something is wrong with a setting of a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {hint}")]
pub struct SettingError {
    /// Its full name, such as `sinks.siem.url`.
    pub setting: String,
    /// What it must be.
    pub hint: String,
}

/// Where a new sink begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the oldest event that is kept.
    Beginning,
}

/// What all sinks have.
#[derive(Debug, Clone)]
pub struct Common {
    /// Its name: its cursor goes by it.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// In what format, where that is a choice.
    pub format: Option<Format>,
    /// What it wants.
    pub filter: Filter,
    /// Where it begins.
    pub start: Start,
    /// Most events in a batch.
    pub batch: usize,
    /// The longest wait between attempts.
    pub max_backoff: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Networks that are allowed though they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Certificates of authorities to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, and its key.
    pub client_certificate_file: Option<PathBuf>,
    /// The key to our certificate, PEM.
    pub client_key_file: Option<PathBuf>,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    format: Option<Format>,
    min_severity: Option<Severity>,
    types: Option<Vec<EventType>>,
    #[serde(default)]
    exclude_types: Vec<EventType>,
    #[serde(default)]
    start: Start,
    batch: Option<usize>,
    max_backoff_seconds: Option<u64>,
    timeout_seconds: Option<u64>,
    #[serde(default)]
    allow_networks: Vec<IpNet>,
    ca_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

const COMMON: [&str; 14] = [
    "name",
    "type",
    "format",
    "min_severity",
    "types",
    "exclude_types",
    "start",
    "batch",
    "max_backoff_seconds",
    "timeout_seconds",
    "allow_networks",
    "ca_file",
    "client_certificate_file",
    "client_key_file",
];

/// A sink.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    written: Table,
    common: Common,
    kind_settings: Arc<dyn KindSettings>,
}

impl SinkSettings {
    /// What all sinks have.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Makes ready to send.
    ///
    /// # Errors
    /// When a secret or a file is missing, or settings contradict each other.
    pub fn open(&self, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let opened = self.kind_settings.open(&self.common, context);
        opened.map_err(|(setting, hint)| named(&self.common.name, setting, hint))
    }

    /// Whether it could be opened, without leaving anything behind.
    ///
    /// # Errors
    /// As [`SinkSettings::open`].
    pub fn probe(&self, context: &SinkContext) -> Result<(), SettingError> {
        let probed = self.kind_settings.probe(&self.common, context);
        probed.map_err(|(setting, hint)| named(&self.common.name, setting, hint))
    }

    /// The file that it alone must write, if it writes one: where links lead, and by its folder while it is not there yet.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.kind_settings.file()?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let by_folder = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
        absolute.canonicalize().ok().or_else(by_folder).or(Some(absolute))
    }

    /// The same for people to read: what is behind the host in a plain URL may be a secret.
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        if let Some(toml::Value::String(url)) = masked.written.get_mut("url") {
            *url = mask_url_source(url);
        }
        masked
    }

    /// Reads one.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    pub fn read(written: Table) -> Result<Self, SettingError> {
        let name = written.get("name").and_then(toml::Value::as_str).unwrap_or("?").to_owned();
        let (common, own): (Table, Table) =
            written.clone().into_iter().partition(|(key, _)| COMMON.contains(&key.as_str()));
        let common: Written =
            serde_path_to_error::deserialize(toml::Value::Table(common)).map_err(|error| {
                let path = error.path().to_string();
                named(&name, if path == "." { "" } else { &path }, error.inner().message().to_owned())
            })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !(1..=64).contains(&common.name.len()) || !common.name.chars().all(plain) {
            let hint = format!("must be 1 to 64 letters, digits, - or _, and not {:?}", common.name);
            return Err(SettingError { setting: "sinks.name".to_owned(), hint });
        }
        let kind = KINDS.iter().find(|kind| kind.name == common.kind).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            named(&name, "type", format!("must be one of {}, not {:?}", known.join(", "), common.kind))
        })?;
        let kind_settings =
            (kind.read)(own).map_err(|(setting, hint)| named(&name, &setting, guessed(hint)))?;
        let common = common.meant(kind.name, &*kind_settings).map_err(|(s, hint)| named(&name, s, hint))?;
        kind_settings.check(&common).map_err(|(setting, hint)| named(&name, setting, hint))?;
        Ok(Self { written, common, kind_settings })
    }
}

impl Written {
    fn meant(
        self,
        kind: &'static str,
        kind_settings: &dyn KindSettings,
    ) -> Result<Common, (&'static str, String)> {
        let within = |setting: &'static str, value: u64, most: u64| {
            let hint = || (setting, format!("must be from 1 to {most}"));
            if (1..=most).contains(&value) { Ok(value) } else { Err(hint()) }
        };
        let batch = self.batch.unwrap_or_else(|| kind_settings.batch());
        within("batch", batch as u64, 1_000)?;
        let seconds = |setting, value: Option<u64>, default, most| {
            within(setting, value.unwrap_or(default), most).map(Duration::from_secs)
        };
        if self.types.as_ref().is_some_and(Vec::is_empty) {
            return Err(("types", "must name one at least; leave it out for all".to_owned()));
        }
        let types: BTreeSet<EventType> = self.types.into_iter().flatten().collect();
        if !types.is_empty() && types.iter().all(|kind| self.exclude_types.contains(kind)) {
            return Err(("exclude_types", "leaves nothing of types".to_owned()));
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            return Err(("client_key_file", "and client_certificate_file must be set together".to_owned()));
        }
        Ok(Common {
            name: self.name,
            kind,
            format: self.format,
            filter: Filter {
                min_severity: self.min_severity.or(kind_settings.notifies().then_some(Severity::High)),
                types,
                exclude_types: self.exclude_types.into_iter().collect(),
                ends: kind_settings.notifies(),
            },
            start: self.start,
            batch,
            max_backoff: seconds("max_backoff_seconds", self.max_backoff_seconds, 60, 86_400)?,
            timeout: seconds("timeout_seconds", self.timeout_seconds, 15, 300)?,
            allow_networks: self.allow_networks,
            ca_file: self.ca_file,
            client_certificate_file: self.client_certificate_file,
            client_key_file: self.client_key_file,
        })
    }
}

/// Adds what was perhaps meant by a setting that there is not.
fn guessed(hint: String) -> String {
    let mut names = hint.split('`').skip(1).step_by(2);
    let Some(written) = names.next().filter(|_| hint.starts_with("unknown field")) else { return hint };
    let known = names.chain(COMMON).map(|known| (strsim::damerau_levenshtein(written, known), known));
    match known.min() {
        Some((distance, nearest)) if distance <= 3 => {
            format!("unknown field `{written}`: did you mean `{nearest}`?")
        }
        _ => format!("{hint}; and those that all sinks have: {}", COMMON.join(", ")),
    }
}

fn named(sink: &str, setting: &str, hint: String) -> SettingError {
    let setting =
        if setting.is_empty() { format!("sinks.{sink}") } else { format!("sinks.{sink}.{setting}") };
    SettingError { setting, hint }
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
