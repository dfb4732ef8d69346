//! How a sink is doing: for `/readyz`, the API and the metrics. Who sends for it knows, and tells the others through the
//! store when it renews its lease.

use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    domain::{Millis, event::rfc3339_millis},
    store::{SinkHealth, SinkRecord},
};

/// Most of an error that other instances are told, in characters.
const LONGEST_ERROR: usize = 500;

/// A sink as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// What it is.
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
    /// With what the store holds of it, where another instance sends for it. What is wrong here stays said.
    pub fn or_as_told(mut self, record: &SinkRecord, now: Millis) -> Self {
        let Some(told) = record.health.as_ref().filter(|_| !self.leading) else { return self };
        // While nobody sends for it, nobody knows whether something waits that did not before.
        let known = record.sender(now).is_some() || told.waiting_since.is_some();
        self.lag_seconds = known.then(|| lag(told.waiting_since, now));
        self.last_sent = self.last_sent.max(told.last_sent);
        if self.error.is_none() {
            self.error.clone_from(&told.error);
            self.failing_since = told.failing_since;
        }
        self
    }

    /// Without what the other side said in words of its own.
    pub fn in_short(mut self) -> Self {
        let short = |error: &String| error.split(": ").next().unwrap_or_default().to_owned();
        self.error = self.error.as_ref().map(short);
        self
    }
}

#[derive(Debug, Default)]
struct Known {
    leading: bool,
    /// When the oldest event that waits was made.
    waiting_since: Option<Millis>,
    error: Option<String>,
    /// Why what was due by time was not done, or was given up.
    overdue: Option<String>,
    /// Since when one of the two is so; found out within a second.
    failing_since: Option<Millis>,
    last_sent: Option<Millis>,
}

/// How a sink is doing.
#[derive(Debug)]
pub struct Status {
    name: String,
    kind: String,
    known: Mutex<Known>,
}

impl Status {
    /// Of a sink of which nothing is known yet.
    pub fn new(name: &str, kind: &str) -> Self {
        let labels = [("sink", name.to_owned())];
        metrics::counter!("keyward_sink_events_sent_total", &labels).increment(0);
        metrics::counter!("keyward_sink_events_parked_total", &labels).increment(0);
        metrics::counter!("keyward_sink_failures_total", &labels).increment(0);
        metrics::gauge!("keyward_sink_leading", &labels).set(0.0);
        metrics::gauge!("keyward_sink_lag_seconds", &labels).set(0.0);
        Self { name: name.to_owned(), kind: kind.to_owned(), known: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it is shown, of what this instance knows by itself.
    pub fn show(&self, now: Millis) -> SinkStatus {
        let mut known = self.known.lock();
        SinkStatus {
            name: self.name.clone(),
            kind: self.kind.clone(),
            leading: known.leading,
            lag_seconds: known.leading.then(|| lag(known.waiting_since, now)),
            failing_since: known.failing_since(now),
            error: known.error().cloned(),
            last_sent: known.last_sent,
        }
    }

    /// What other instances are told.
    pub(super) fn health(&self, now: Millis) -> SinkHealth {
        let mut known = self.known.lock();
        SinkHealth {
            waiting_since: known.waiting_since,
            failing_since: known.failing_since(now),
            error: known.error().map(|error| error.chars().take(LONGEST_ERROR).collect()),
            last_sent: known.last_sent,
        }
    }

    /// This instance sends for it, or no longer does.
    pub(super) fn leads(&self, leading: bool) {
        let mut known = self.known.lock();
        *known = Known { leading, last_sent: known.last_sent, ..Known::default() };
        drop(known);
        metrics::gauge!("keyward_sink_leading", "sink" => self.name.clone())
            .set(f64::from(u8::from(leading)));
        metrics::gauge!("keyward_sink_lag_seconds", "sink" => self.name.clone()).set(0.0);
    }

    /// The oldest event that waits was made then.
    pub(super) fn waits_since(&self, time: Option<Millis>) {
        self.known.lock().waiting_since = time;
    }

    /// The lag goes on while nothing else happens.
    pub(super) fn measure(&self, now: Millis) {
        let lag = lag(self.known.lock().waiting_since, now);
        metrics::gauge!("keyward_sink_lag_seconds", "sink" => self.name.clone()).set(lag as f64);
    }

    /// Nothing is wrong, or no longer.
    pub(super) fn fine(&self) {
        let before = self.known.lock().error.take();
        if before.is_some() {
            tracing::info!(sink = self.name, "the sink takes events again");
        }
    }

    /// It took so many events.
    pub(super) fn sent(&self, count: usize, now: Millis) {
        self.fine();
        if count == 0 {
            return;
        }
        self.known.lock().last_sent = Some(now);
        metrics::counter!("keyward_sink_events_sent_total", "sink" => self.name.clone())
            .increment(count as u64);
    }

    /// It did what was due by time, or could not. That events are taken meanwhile does not end this.
    pub(super) fn ticked(&self, done: Result<(), &str>) {
        let mut known = self.known.lock();
        let before = std::mem::replace(&mut known.overdue, done.err().map(str::to_owned));
        drop(known);
        match done {
            Ok(()) if before.is_some() => tracing::info!(sink = self.name, "the sink sends again"),
            Ok(()) => {}
            Err(why) => {
                if before.as_deref() != Some(why) {
                    tracing::warn!(sink = self.name, why, "the sink could not send what was due");
                }
                metrics::counter!("keyward_sink_failures_total", "sink" => self.name.clone()).increment(1);
            }
        }
    }

    /// It refused some for good.
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

    /// It does not take anything now. Said in the log when it is news.
    pub(super) fn failed(&self, why: &str) {
        let mut known = self.known.lock();
        let is_news = known.error.as_deref() != Some(why);
        known.error = Some(why.to_owned());
        drop(known);
        if is_news {
            tracing::warn!(sink = self.name, why, "the sink does not take events; they wait in the log");
        }
        metrics::counter!("keyward_sink_failures_total", "sink" => self.name.clone()).increment(1);
    }
}

impl Known {
    fn error(&self) -> Option<&String> {
        self.error.as_ref().or(self.overdue.as_ref())
    }

    fn failing_since(&mut self, now: Millis) -> Option<Millis> {
        self.failing_since = self.error().is_some().then(|| self.failing_since.unwrap_or(now));
        self.failing_since
    }
}

/// In seconds.
fn lag(waiting_since: Option<Millis>, now: Millis) -> u64 {
    let waits = waiting_since.map_or(0, |since| (now - since).max(0) / 1000);
    waits.try_into().unwrap_or_default()
}
