//! The kinds of sinks: one file each, and one line in [`KINDS`]. Those that notify people are in `notify`.

mod elasticsearch;
mod emergency_hook;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
mod otlp;
#[cfg(test)]
mod samples;
mod splunk;
mod syslog;
mod webhook;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Table;

use super::{contract::KindSettings, notify};
use crate::settings::{SettingErrors, read_table};

/// A kind of sink.
pub struct Kind {
    /// The name in the configuration: `type`.
    pub name: &'static str,
    /// What the kind is, in a line.
    pub summary: &'static str,
    /// Reads the settings that only this kind has.
    pub read: ReadSettings,
}

/// Reads the settings of a kind; the second argument has the names of those that every sink has.
type ReadSettings = fn(Table, &[&str]) -> Result<Arc<dyn KindSettings>, SettingErrors>;

#[cfg(feature = "kafka")]
const KAFKA: ReadSettings = read::<kafka::Kafka>;
#[cfg(not(feature = "kafka"))]
const KAFKA: ReadSettings = |_, _| Err(not_built("kafka").into());

/// The error about a kind that this program was built without.
#[cfg(any(test, not(feature = "kafka")))]
fn not_built(kind: &str) -> crate::settings::SettingError {
    let hint = format!(
        "{kind} is not in this program: build it with `cargo build --release --features {kind}`, or take the \
         container image (Dockerfile), which has it"
    );
    crate::settings::SettingError::new("type", hint)
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
        read: read::<emergency_hook::EmergencyHook>,
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

fn read<T: KindSettings + DeserializeOwned + 'static>(
    table: Table,
    common: &[&str],
) -> Result<Arc<dyn KindSettings>, SettingErrors> {
    Ok(Arc::new(read_table::<T>(table, common)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_was_left_out_says_how_to_get_it() {
        let error = not_built("kafka");
        let hint = &error.hint;
        assert!(
            error.setting == "type" && hint.contains("--features kafka") && hint.contains("image"),
            "{hint}"
        );
    }
}
