//! How events are grouped, and how many messages a channel gets.

use serde::Deserialize;

use crate::{
    domain::Millis,
    settings::{SettingError, SettingErrors},
};

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

/// The longest span, in seconds: 30 days.
const MAX_SECONDS: u64 = 2_592_000;

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
    /// Adds every setting that is out of its range.
    pub(super) fn check(&self, errors: &mut SettingErrors) {
        let interval = self.group_interval_seconds;
        let ranges = [
            ("group_wait_seconds", self.group_wait_seconds, 0, 3_600),
            ("group_interval_seconds", interval, 1, MAX_SECONDS),
            ("repeat_interval_seconds", self.repeat_interval_seconds, interval, MAX_SECONDS),
            ("resolve_after_seconds", self.resolve_after_seconds, 60, MAX_SECONDS),
            ("max_per_minute", self.max_per_minute.into(), 1, 60),
            ("burst", self.burst.into(), 1, 1_000),
        ];
        for (setting, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                let hint = format!("must be from {least} to {most}");
                errors.check(Err(SettingError::new(setting, hint)));
            }
        }
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
