//! The settings that every sink has, whatever its kind.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;

use super::{filter::Filter, format::Format};
use crate::{
    domain::{event::EventType, finding::Severity},
    outbound::OutboundSettings,
    settings::{SettingError, SettingErrors},
};

/// Where a new sink begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// Only events from now on are sent.
    #[default]
    Now,
    /// Every event that is still kept is sent, the oldest first.
    Beginning,
}

/// The settings that every sink has.
#[derive(Debug, Clone)]
pub struct CommonSettings {
    /// The sink's name, under which its cursor is stored.
    pub name: String,
    /// The name of the sink's kind: `type` in the configuration.
    pub kind: &'static str,
    /// The format of events; `None` for the default of the kind.
    pub format: Option<Format>,
    /// The events that the sink wants.
    pub filter: Filter,
    /// Where the sink begins when the store does not know it.
    pub start: StartAt,
    /// Most events in a batch, from 1 to 1,000.
    pub batch: usize,
    /// The longest wait between attempts.
    pub max_backoff: Duration,
    /// Where may be connected to, and how long an attempt may take.
    pub outbound: OutboundSettings,
}

impl CommonSettings {
    /// How long one attempt to deliver a batch may take.
    pub fn timeout(&self) -> Duration {
        self.outbound.timeout
    }

    /// A format that is no JSON cannot be put into a JSON message.
    ///
    /// # Errors
    /// The setting `format`.
    pub fn require_json(&self) -> Result<(), SettingError> {
        match self.format {
            Some(format) if !format.is_json() => {
                let hint = format!("must be json, ocsf or ecs for a sink of type {}", self.kind);
                Err(SettingError::new("format", hint))
            }
            _ => Ok(()),
        }
    }
}

/// What a kind of sink says about the settings that every sink has.
pub(super) struct KindDefaults {
    /// The name of the kind.
    pub kind: &'static str,
    /// Events in a batch unless `batch` is set.
    pub batch: usize,
    /// Whether the kind notifies people. Then a sink wants high and critical events unless `min_severity` is set, and
    /// always those that end what was notified.
    pub notifies: bool,
}

/// The settings that every sink has, as they are written.
#[derive(Deserialize)]
pub(super) struct WrittenCommon {
    name: String,
    #[serde(rename = "type")]
    _kind: String,
    format: Option<Format>,
    min_severity: Option<Severity>,
    types: Option<Vec<EventType>>,
    #[serde(default)]
    exclude_types: Vec<EventType>,
    #[serde(default)]
    start: StartAt,
    batch: Option<usize>,
    max_backoff_seconds: Option<u64>,
    timeout_seconds: Option<u64>,
    #[serde(default)]
    allow_networks: Vec<IpNet>,
    ca_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

impl WrittenCommon {
    /// Checks ranges and what contradicts itself, and puts in defaults.
    pub(super) fn validate(self, defaults: &KindDefaults) -> Result<CommonSettings, SettingErrors> {
        let mut errors = SettingErrors::default();
        errors.check(check_name(&self.name));
        let batch = self.batch.unwrap_or(defaults.batch);
        errors.check(within("batch", batch as u64, 1_000));
        let max_backoff = self.max_backoff_seconds.unwrap_or(60);
        errors.check(within("max_backoff_seconds", max_backoff, 86_400));
        let timeout = self.timeout_seconds.unwrap_or(15);
        errors.check(within("timeout_seconds", timeout, 300));
        errors.check(self.check_types());
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            let hint = "and client_certificate_file must be set together";
            errors.check(Err(SettingError::new("client_key_file", hint)));
        }
        errors.finish(Ok::<(), SettingError>(()))?;
        Ok(CommonSettings {
            name: self.name,
            kind: defaults.kind,
            format: self.format,
            filter: Filter {
                min_severity: self.min_severity.or(defaults.notifies.then_some(Severity::High)),
                types: self.types.into_iter().flatten().collect(),
                exclude_types: self.exclude_types.into_iter().collect(),
                ends: defaults.notifies,
            },
            start: self.start,
            batch,
            max_backoff: Duration::from_secs(max_backoff),
            outbound: OutboundSettings {
                allow_networks: self.allow_networks,
                ca_file: self.ca_file,
                client_certificate_file: self.client_certificate_file,
                client_key_file: self.client_key_file,
                timeout: Duration::from_secs(timeout),
            },
        })
    }

    fn check_types(&self) -> Result<(), SettingError> {
        if self.types.as_ref().is_some_and(Vec::is_empty) {
            return Err(SettingError::new("types", "must name one at least; leave it out for all"));
        }
        let types: BTreeSet<EventType> = self.types.iter().flatten().copied().collect();
        if !types.is_empty() && types.iter().all(|kind| self.exclude_types.contains(kind)) {
            return Err(SettingError::new("exclude_types", "leaves nothing of types"));
        }
        Ok(())
    }
}

/// Whether a sink may have this name: it is part of keys in the store and of paths of the API.
pub(super) fn check_name(name: &str) -> Result<(), SettingError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(SettingError::new("name", format!("must be 1 to 64 letters, digits, - or _, and not {name:?}")))
}

fn within(setting: &'static str, value: u64, most: u64) -> Result<(), SettingError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(SettingError::new(setting, format!("must be from 1 to {most}")))
}
