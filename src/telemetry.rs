//! The service's own log and metrics. No key, address or project is ever a label.

use std::{io::stderr, sync::OnceLock, time::Duration};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{
    clock,
    config::{Log, LogFormat},
    domain::Millis,
};

/// Upper bounds of store durations in seconds: from an in-process count (tens of microseconds) over the default
/// deadline (50 ms) to the patience of background work (5 s).
const STORE_SECONDS: [f64; 15] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Histogram samples are folded into buckets this often, so that they do not pile up between scrapes.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("RUST_LOG cannot be used: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The recorder could not be built.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends the log to stderr. `RUST_LOG`, where it is set, wins over the configured level. A second call changes
/// nothing: the first log of a process stays.
///
/// # Errors
/// When the level or `RUST_LOG` is no filter.
pub fn start_log(log: &Log) -> Result<(), TelemetryError> {
    let directives = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = EnvFilter::try_new(directives.as_deref().unwrap_or(&log.level))?;
    let layer = fmt::layer().with_writer(stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&stderr());
            registry.with(layer.with_target(false).with_ansi(colours)).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// The metrics of this process: one recorder, however many services are started in it (tests start several).
///
/// # Errors
/// When the recorder cannot be built.
pub fn start_metrics(started: Millis) -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let store = Matcher::Full("keyward_store_op_duration_seconds".to_owned());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(store, &STORE_SECONDS)?.build_recorder();
    let handle = HANDLE.get_or_init(|| recorder.handle()).clone();
    if metrics::set_global_recorder(recorder).is_ok() {
        describe();
        gauge!("keyward_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        gauge!("process_start_time_seconds").set(started as f64 / 1000.0);
        gauge!("keyward_degraded").set(0.0);
    }
    Ok(handle)
}

/// Folds histogram samples until it is dropped.
pub async fn fold(handle: PrometheusHandle) {
    let mut ticks = clock::ticks(FOLD_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!(
        "keyward_records_total",
        "Records that were decided about; late ones are too old for detectors."
    );
    describe_counter!("keyward_checks_total", "Checks that were answered: requests that are to be made.");
    describe_counter!(
        "keyward_decisions_total",
        "Decisions about records, by what was done about the request."
    );
    describe_counter!("keyward_refusals_total", "Records and checks that were refused, by reason.");
    describe_counter!(
        "keyward_observed_refusals_total",
        "Records and checks that would have been refused, while the policy only observes."
    );
    describe_counter!(
        "keyward_price_fallbacks_total",
        "Requests whose model has no price; they cost the fallback price."
    );
    describe_counter!("keyward_findings_total", "Findings, by detector and severity.");
    describe_histogram!(
        "keyward_store_op_duration_seconds",
        Unit::Seconds,
        "How long the store took, by operation."
    );
    describe_counter!("keyward_store_failures_total", "Calls that the store did not answer, or not in time.");
    describe_gauge!(
        "keyward_degraded",
        "1 while the store does not answer and this instance decides by itself."
    );
    describe_gauge!("keyward_connections", "Connections of callers that are open.");
    describe_counter!(
        "keyward_connections_closed_total",
        "Connections that made room for others: idle ones, and those beyond the cap of an address."
    );
    describe_gauge!("keyward_bans_held", "Bans that this instance enforces without asking the store.");
    describe_counter!(
        "keyward_events_written_total",
        "Security events that this instance has written to the log."
    );
    describe_counter!(
        "keyward_events_lost_total",
        "Security events that were lost because the buffer was full while the store took none."
    );
    describe_gauge!("keyward_events_waiting", "Security events in the buffer, to be written to the log.");
    describe_gauge!(
        "keyward_geo_database_build_timestamp_seconds",
        Unit::Seconds,
        "When the publisher built the geo database, since the Unix epoch; none for the demo database."
    );
    describe_gauge!(
        "keyward_usage_lag_seconds",
        Unit::Seconds,
        "How long ago all usage was in the store: what a killed process would lose."
    );
    describe_gauge!("keyward_usage_series", "Series of usage in this hour: project, model and key.");
    describe_counter!(
        "keyward_usage_folded_total",
        "Additions of usage to a sum of others, beyond the cap on series."
    );
    describe_counter!(
        "keyward_usage_flush_failures_total",
        "Times that usage could not be added to the store."
    );
    describe_counter!("keyward_sink_events_sent_total", "Events that a sink has taken.");
    describe_counter!(
        "keyward_sink_events_parked_total",
        "Events that a sink refused for good: dead letters."
    );
    describe_counter!("keyward_sink_failures_total", "Times that a sink did not take what it was sent.");
    describe_gauge!(
        "keyward_sink_lag_seconds",
        Unit::Seconds,
        "How old the oldest event is that a sink has not taken; 0 on instances that do not send for it."
    );
    describe_gauge!("keyward_sink_leading", "1 while this instance sends for the sink.");
    describe_counter!("keyward_notices_sent_total", "Messages that a channel has taken.");
    describe_counter!(
        "keyward_notices_held_back_total",
        "Notices that were not sent one by one, because a message stood for them all."
    );
    describe_counter!(
        "keyward_notices_refused_total",
        "Notices that a channel refused for good; they are given up."
    );
    describe_gauge!(
        "keyward_notice_groups",
        "Groups of events that a channel has been told of and that are not over."
    );
    describe_counter!(
        "keyward_gateway_requests_total",
        "Requests through the gateway that were admitted and have ended, by interface and status."
    );
    describe_counter!("keyward_gateway_attempts_total", "Attempts at upstreams, by what came of them.");
    describe_gauge!("keyward_gateway_upstream_resting", "1 while an upstream that fails is left alone.");
    describe_gauge!("keyward_build_info", "1; the version is a label.");
    describe_gauge!(
        "process_start_time_seconds",
        Unit::Seconds,
        "When the service was started, since the Unix epoch."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_described_bucketed_and_shared_by_every_start() {
        let handle = start_metrics(1_000).unwrap();
        let again = start_metrics(2_000).unwrap();
        metrics::histogram!("keyward_store_op_duration_seconds", "op" => "observe").record(0.0007);
        let text = again.render();
        assert!(text.contains("# HELP keyward_build_info"), "{text}");
        assert!(text.contains("process_start_time_seconds 1\n"), "{text}");
        assert!(text.contains("keyward_store_op_duration_seconds_bucket"), "{text}");
        assert!(text.contains("le=\"0.001\""), "{text}");
        drop(handle);
    }
}
