//! The kinds of sinks: one file each, and one line in [`KINDS`].
//!
//! A sink is told which events to send, in order, and says what became of them. When to try again, what to do with
//! an event that is refused, and where to go on after a restart is decided in `sender`, once for all.

mod elasticsearch;
mod file;
mod hook;
#[cfg(feature = "kafka")]
mod kafka;
mod otlp;
#[cfg(test)]
mod samples;
mod splunk;
mod syslog;
pub(super) mod webhook;

use std::{fmt::Debug, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use toml::Table;

use super::{Common, SettingError, SinkContext, notify};
use crate::domain::{Millis, event::Event};

/// A kind of sink.
pub struct Kind {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Reads its own settings.
    pub read: Read,
}

/// Reads the settings of a kind; or names the one that is wrong, and says the hint.
type Read = fn(Table) -> Result<Arc<dyn KindSettings>, (String, String)>;

#[cfg(feature = "kafka")]
const KAFKA: Read = read::<kafka::Kafka>;
#[cfg(not(feature = "kafka"))]
const KAFKA: Read = |_| Err(not_built("kafka"));

/// A kind that this program was built without.
#[cfg(any(test, not(feature = "kafka")))]
fn not_built(kind: &str) -> (String, String) {
    let hint = format!(
        "{kind} is not in this program: build it with `cargo build --release --features {kind}`, or take the \
         container image (Dockerfile), which has it"
    );
    ("type".to_owned(), hint)
}

/// Every kind of sink.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "webhook",
        summary: "JSON over HTTPS, signed as Standard Webhooks",
        read: read::<webhook::Webhook>,
    },
    Kind {
        name: "emergency_hook",
        summary: "asks a provider to disable or rotate a key that was cut off",
        read: read::<hook::EmergencyHook>,
    },
    Kind { name: "syslog", summary: "RFC 5424 over TLS, TCP or UDP", read: read::<syslog::Syslog> },
    Kind { name: "splunk", summary: "the HTTP Event Collector of Splunk", read: read::<splunk::Splunk> },
    Kind {
        name: "elasticsearch",
        summary: "an index or a data stream of Elasticsearch or OpenSearch",
        read: read::<elasticsearch::Elasticsearch>,
    },
    Kind { name: "kafka", summary: "messages in a topic of Apache Kafka", read: KAFKA },
    Kind { name: "otlp", summary: "OpenTelemetry logs over HTTP", read: read::<otlp::Otlp> },
    Kind { name: "file", summary: "lines at the end of a file", read: read::<file::File> },
    Kind { name: "stdout", summary: "lines on standard output", read: read::<file::Stdout> },
    Kind {
        name: "slack",
        summary: "notices to a Slack-compatible webhook",
        read: notify::read::<notify::Slack>,
    },
    Kind {
        name: "pagerduty",
        summary: "incidents by PagerDuty Events v2",
        read: notify::read::<notify::PagerDuty>,
    },
    Kind {
        name: "alertmanager",
        summary: "alerts in Prometheus Alertmanager",
        read: notify::read::<notify::Alertmanager>,
    },
    Kind { name: "email", summary: "notices by SMTP", read: notify::read::<notify::Email> },
    Kind {
        name: "notify_webhook",
        summary: "notices as JSON over HTTPS, signed as Standard Webhooks",
        read: notify::read::<notify::NotifyWebhook>,
    },
];

/// The settings of one kind of sink.
pub trait KindSettings: Debug + Send + Sync {
    /// What is wrong with them together with those that all sinks have.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    fn check(&self, common: &Common) -> Result<(), (&'static str, String)>;

    /// Makes ready to send; reads secrets.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    fn open(&self, common: &Common, context: &SinkContext) -> Result<Box<dyn Sink>, (&'static str, String)>;

    /// Whether it could be opened, without leaving anything behind.
    ///
    /// # Errors
    /// The name of the setting and the hint.
    fn probe(&self, common: &Common, context: &SinkContext) -> Result<(), (&'static str, String)> {
        self.open(common, context).map(drop)
    }

    /// The file that it alone must write.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Events in a batch unless `batch` is set.
    fn batch(&self) -> usize {
        100
    }

    /// Whether it tells people: then it takes high and worse events unless `min_severity` is set, and always those that
    /// end what was told.
    fn notifies(&self) -> bool {
        false
    }
}

/// Sends.
pub trait Sink: Send + Sync {
    /// Sends these, in their order. `Ok`: the sink has them, but for those that it refused for good.
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>>;

    /// Takes up what an earlier sender left.
    fn restore(&mut self, _state: &[u8]) {}

    /// What the next sender must know; kept with the cursor.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Does what is due by now though no event came; called every second. Says whether [`Sink::state`] changed.
    fn tick(&mut self, _now: Millis) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async { Ok(false) })
    }

    /// What went wrong at a tick and is not solved yet, though the last tick had nothing to do: it waits to try again, or
    /// gave something up.
    fn trouble(&self) -> Option<&str> {
        None
    }

    /// Called when this instance stops to send: ends in good order what is open.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Sends one event right now, to see what comes back.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Sent, Failure>> {
        self.send(std::slice::from_ref(event))
    }
}

/// What became of a batch that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The places in the batch of events that will never be taken, and why.
    pub refused: Vec<(usize, String)>,
    /// What the other side said, for people.
    pub answer: String,
}

/// Why nothing of a batch is known to have been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was not reached, or broke off: the same again later.
    #[error("{0}")]
    Unreachable(String),
    /// It asked for patience.
    #[error("{why}")]
    Busy {
        /// What it said.
        why: String,
        /// For how long.
        after: Option<Duration>,
    },
    /// It failed by itself. That may be because of what is in the batch.
    #[error("{0}")]
    Broken(String),
    /// It does not let us in, or is another place than was thought: somebody must correct the settings.
    #[error("{0}")]
    Denied(String),
    /// It will never take this batch as it is.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// Whether it may be what is in the batch that made it fail.
    pub fn is_perhaps_about_the_event(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Unreachable(_) | Self::Denied(_))
    }
}

/// Reads the settings of one kind; names the one that is wrong, and says the hint.
fn read<T: KindSettings + DeserializeOwned + 'static>(
    table: Table,
) -> Result<Arc<dyn KindSettings>, (String, String)> {
    let settings: T = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        (if path == "." { String::new() } else { path }, error.inner().message().to_owned())
    })?;
    Ok(Arc::new(settings))
}

impl From<(&'static str, String)> for SettingError {
    fn from((setting, hint): (&'static str, String)) -> Self {
        Self { setting: setting.to_owned(), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_was_left_out_says_how_to_get_it() {
        let (setting, hint) = not_built("kafka");
        assert!(setting == "type" && hint.contains("--features kafka") && hint.contains("image"), "{hint}");
    }
}
