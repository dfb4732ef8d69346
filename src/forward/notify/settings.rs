//! The settings that all channels have beside their own: how events are grouped, and how many messages there may be.

use std::{fmt::Debug, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use toml::Table;

use super::{Channel, Nature, notifier::Notifier};
use crate::{
    domain::Millis,
    forward::{Common, KindSettings, Sink, SinkContext},
};

type Wrong = (&'static str, String);

/// How events are grouped. Meaning and defaults: `docs/sinks/notifications.md`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "documented in docs/sinks/notifications.md")]
pub struct Grouping {
    pub group_wait_seconds: u64,
    pub group_interval_seconds: u64,
    pub repeat_interval_seconds: u64,
    pub resolve_after_seconds: u64,
    pub max_per_minute: u32,
    pub burst: u32,
}

const GROUPING: [&str; 6] = [
    "group_wait_seconds",
    "group_interval_seconds",
    "repeat_interval_seconds",
    "resolve_after_seconds",
    "max_per_minute",
    "burst",
];
/// The longest span, in seconds: 30 days.
const LONGEST: u64 = 2_592_000;

impl Default for Grouping {
    fn default() -> Self {
        Self {
            group_wait_seconds: 10,
            group_interval_seconds: 300,
            repeat_interval_seconds: 14_400,
            resolve_after_seconds: 3_600,
            max_per_minute: 20,
            burst: 10,
        }
    }
}

impl Grouping {
    fn check(&self) -> Result<(), Wrong> {
        let within = |setting, value: u64, least: u64, most: u64| {
            let hint = || (setting, format!("must be from {least} to {most}"));
            if (least..=most).contains(&value) { Ok(()) } else { Err(hint()) }
        };
        within("group_wait_seconds", self.group_wait_seconds, 0, 3_600)?;
        within("group_interval_seconds", self.group_interval_seconds, 1, LONGEST)?;
        within(
            "repeat_interval_seconds",
            self.repeat_interval_seconds,
            self.group_interval_seconds,
            LONGEST,
        )?;
        within("resolve_after_seconds", self.resolve_after_seconds, 60, LONGEST)?;
        within("max_per_minute", self.max_per_minute.into(), 1, 60)?;
        within("burst", self.burst.into(), 1, 1_000)
    }

    pub(super) fn wait(&self) -> Millis {
        millis(self.group_wait_seconds)
    }

    pub(super) fn interval(&self) -> Millis {
        millis(self.group_interval_seconds)
    }

    pub(super) fn repeat(&self) -> Millis {
        millis(self.repeat_interval_seconds)
    }

    pub(super) fn resolve_after(&self) -> Millis {
        millis(self.resolve_after_seconds)
    }
}

fn millis(seconds: u64) -> Millis {
    Millis::try_from(seconds.saturating_mul(1000)).unwrap_or(Millis::MAX / 4)
}

/// The settings of one kind of channel.
pub trait ChannelSettings: Debug + Send + Sync + DeserializeOwned {
    /// How it differs from others.
    const NATURE: Nature;

    /// What is wrong with them together with those that all sinks have.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    fn check(&self, _common: &Common) -> Result<(), Wrong> {
        Ok(())
    }

    /// Makes ready to send; reads secrets.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, Wrong>;
}

/// A sink that notifies by a channel.
#[derive(Debug)]
struct Notify<C> {
    grouping: Grouping,
    channel: C,
}

impl<C: ChannelSettings> KindSettings for Notify<C> {
    fn check(&self, common: &Common) -> Result<(), Wrong> {
        if common.format.is_some() {
            return Err(("format", format!("is not for a sink of type {}", common.kind)));
        }
        self.grouping.check()?;
        self.channel.check(common)
    }

    fn open(&self, common: &Common, context: &SinkContext) -> Result<Box<dyn Sink>, Wrong> {
        let channel = self.channel.open(common)?;
        Ok(Box::new(Notifier::new(self.grouping.clone(), C::NATURE, channel, common, context.now.clone())))
    }

    /// What a batch costs is one write of the groups, whatever is in it.
    fn batch(&self) -> usize {
        1_000
    }

    fn notifies(&self) -> bool {
        true
    }
}

/// Reads the settings of a channel.
///
/// # Errors
/// The name of the setting that is wrong, and the hint.
pub fn read<C: ChannelSettings + 'static>(table: Table) -> Result<Arc<dyn KindSettings>, (String, String)> {
    let (grouping, own): (Table, Table) =
        table.into_iter().partition(|(key, _)| GROUPING.contains(&key.as_str()));
    Ok(Arc::new(Notify::<C> { grouping: read_part(grouping)?, channel: read_part(own)? }))
}

fn read_part<T: DeserializeOwned>(table: Table) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        (if path == "." { String::new() } else { path }, error.inner().message().to_owned())
    })
}
