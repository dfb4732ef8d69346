//! How a sink is doing: for `/readyz`, the API and the metrics. The instance that sends for a sink knows, and reports
//! it to the others through the store when it renews its lease.

use parking_lot::Mutex;
use serde::Serialize;

use super::error::Problem;
use crate::{
    domain::{Millis, event::rfc3339_millis},
    store::{SinkHealth, SinkRecord},
};

/// Most characters of an error that is reported to other instances.
const MAX_REPORTED_ERROR: usize = 500;

/// How a sink is doing, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SinkStatus {
    /// The sink's name in the configuration.
    pub name: String,
    /// The kind of the sink, such as `webhook`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether this instance sends for it now.
    pub leading: bool,
    /// Seconds since the oldest event that is not sent was made; 0 when all are. `null` where nobody knows: no
    /// instance sends for it now.
    pub lag_seconds: Option<u64>,
    /// Why it does not take events now; `null` when it does.
    pub error: Option<String>,
    /// Since when, within a second, as the instance knows it that sends for it.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Millis>,
    /// When it last took something.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sent: Option<Millis>,
}

impl SinkStatus {
    /// The same status with what the store holds of it, where another instance sends for it. An error of this instance
    /// stays.
    pub fn or_as_reported(mut self, record: &SinkRecord, now: Millis) -> Self {
        let Some(reported) = record.health.as_ref().filter(|_| !self.leading) else { return self };
        // While nobody sends for it, nobody knows whether something waits that did not before.
        let known = record.sender(now).is_some() || reported.waiting_since.is_some();
        self.lag_seconds = known.then(|| lag_seconds(reported.waiting_since, now));
        self.last_sent = self.last_sent.max(reported.last_sent);
        if self.error.is_none() {
            self.error.clone_from(&reported.error);
            self.failing_since = reported.failing_since;
        }
        self
    }
}

#[derive(Debug, Default)]
struct State {
    leading: bool,
    /// When the oldest event that waits was made.
    waiting_since: Option<Millis>,
    /// Why the last batch was not taken.
    failure: Option<Problem>,
    /// Why what was due by time was not done, or was given up.
    overdue: Option<Problem>,
    /// Since when one of the two is so; found out within a second.
    failing_since: Option<Millis>,
    last_sent: Option<Millis>,
}

/// How a sink is doing, as this instance knows it.
#[derive(Debug)]
pub struct Status {
    name: String,
    kind: String,
    state: Mutex<State>,
}

impl Status {
    /// The status of a sink of which nothing is known yet. Makes its metrics.
    pub fn new(name: &str, kind: &str) -> Self {
        let labels = [("sink", name.to_owned())];
        metrics::counter!("keyward_sink_events_sent_total", &labels).increment(0);
        metrics::counter!("keyward_sink_events_parked_total", &labels).increment(0);
        metrics::counter!("keyward_sink_failures_total", &labels).increment(0);
        metrics::gauge!("keyward_sink_leading", &labels).set(0.0);
        metrics::gauge!("keyward_sink_lag_seconds", &labels).set(0.0);
        Self { name: name.to_owned(), kind: kind.to_owned(), state: Mutex::default() }
    }

    /// The sink's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What this instance knows by itself.
    pub fn show(&self, now: Millis) -> SinkStatus {
        self.shown(now, |problem| problem.text.clone())
    }

    /// The same for readers who need no token: without what the receiver said.
    pub fn show_in_short(&self, now: Millis) -> SinkStatus {
        self.shown(now, |problem| problem.summary.clone())
    }

    fn shown(&self, now: Millis, words: impl Fn(&Problem) -> String) -> SinkStatus {
        let mut state = self.state.lock();
        SinkStatus {
            name: self.name.clone(),
            kind: self.kind.clone(),
            leading: state.leading,
            lag_seconds: state.leading.then(|| lag_seconds(state.waiting_since, now)),
            failing_since: state.failing_since(now),
            error: state.problem().map(words),
            last_sent: state.last_sent,
        }
    }

    /// What is reported to other instances.
    pub(super) fn health(&self, now: Millis) -> SinkHealth {
        let mut state = self.state.lock();
        let short = |problem: &Problem| problem.text.chars().take(MAX_REPORTED_ERROR).collect();
        SinkHealth {
            waiting_since: state.waiting_since,
            failing_since: state.failing_since(now),
            error: state.problem().map(short),
            last_sent: state.last_sent,
        }
    }

    /// Notes that this instance sends for the sink, or no longer does.
    pub(super) fn leads(&self, leading: bool) {
        let mut state = self.state.lock();
        *state = State { leading, last_sent: state.last_sent, ..State::default() };
        drop(state);
        metrics::gauge!("keyward_sink_leading", "sink" => self.name.clone())
            .set(f64::from(u8::from(leading)));
        metrics::gauge!("keyward_sink_lag_seconds", "sink" => self.name.clone()).set(0.0);
    }

    /// Notes when the oldest event was made that waits; `None`: none waits.
    pub(super) fn waits_since(&self, time: Option<Millis>) {
        self.state.lock().waiting_since = time;
    }

    /// Updates the lag, which grows while nothing else happens.
    pub(super) fn measure(&self, now: Millis) {
        let lag = lag_seconds(self.state.lock().waiting_since, now);
        metrics::gauge!("keyward_sink_lag_seconds", "sink" => self.name.clone()).set(lag as f64);
    }

    /// Notes that the sink takes events.
    pub(super) fn recovered(&self) {
        let before = self.state.lock().failure.take();
        if before.is_some() {
            tracing::info!(sink = self.name, "the sink takes events again");
        }
    }

    /// Notes that the sink took so many events.
    pub(super) fn sent(&self, count: usize, now: Millis) {
        self.recovered();
        if count == 0 {
            return;
        }
        self.state.lock().last_sent = Some(now);
        metrics::counter!("keyward_sink_events_sent_total", "sink" => self.name.clone())
            .increment(count as u64);
    }

    /// Notes that the sink did what was due by time, or could not. That it takes events meanwhile does not end this.
    pub(super) fn ticked(&self, done: Result<(), Problem>) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.overdue, done.err());
        let overdue = state.overdue.clone();
        drop(state);
        match overdue {
            None if before.is_some() => tracing::info!(sink = self.name, "the sink sends again"),
            None => {}
            Some(problem) => {
                if before.as_ref() != Some(&problem) {
                    tracing::warn!(
                        sink = self.name,
                        why = problem.text,
                        "the sink could not send what was due"
                    );
                }
                metrics::counter!("keyward_sink_failures_total", "sink" => self.name.clone()).increment(1);
            }
        }
    }

    /// Notes that the sink refused so many events for good.
    pub(super) fn parked(&self, count: usize) {
        if count > 0 {
            tracing::warn!(
                sink = self.name,
                count,
                "events that the sink will not take are dead letters now"
            );
        }
        metrics::counter!("keyward_sink_events_parked_total", "sink" => self.name.clone())
            .increment(count as u64);
    }

    /// Notes that the sink does not take events now. Logged when the reason is another one than before.
    pub(super) fn failed(&self, problem: &Problem) {
        let before = self.state.lock().failure.replace(problem.clone());
        if before.as_ref() != Some(problem) {
            let why = &problem.text;
            tracing::warn!(sink = self.name, why, "the sink does not take events; they wait in the log");
        }
        metrics::counter!("keyward_sink_failures_total", "sink" => self.name.clone()).increment(1);
    }
}

impl State {
    fn problem(&self) -> Option<&Problem> {
        self.failure.as_ref().or(self.overdue.as_ref())
    }

    fn failing_since(&mut self, now: Millis) -> Option<Millis> {
        self.failing_since = self.problem().is_some().then(|| self.failing_since.unwrap_or(now));
        self.failing_since
    }
}

/// How long ago, in seconds, the oldest event that waits was made; 0 if none waits.
fn lag_seconds(waiting_since: Option<Millis>, now: Millis) -> u64 {
    let waits = waiting_since.map_or(0, |since| (now - since).max(0) / 1000);
    waits.try_into().unwrap_or_default()
}
