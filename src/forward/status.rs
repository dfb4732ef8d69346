//! How a sink is doing, as this instance knows it: for `/readyz`, the API and the metrics.

use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::{Millis, event::rfc3339_millis};

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
    /// Seconds since the oldest event that is not sent was made; 0 when all are. `null` on an instance that does not
    /// send for it and so does not know.
    pub lag_seconds: Option<u64>,
    /// Why it does not take events now; `null` when it does.
    pub error: Option<String>,
    /// When it last took something.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sent: Option<Millis>,
}

impl SinkStatus {
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

    /// As it is shown.
    pub fn show(&self, now: Millis) -> SinkStatus {
        let known = self.known.lock();
        SinkStatus {
            name: self.name.clone(),
            kind: self.kind.clone(),
            leading: known.leading,
            lag_seconds: known.leading.then(|| lag(&known, now).try_into().unwrap_or_default()),
            error: known.error.clone().or_else(|| known.overdue.clone()),
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
        let lag = lag(&self.known.lock(), now);
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

    /// It did what was due by time, or could not. That events are taken meanwhile does not mend this.
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

fn lag(known: &Known, now: Millis) -> Millis {
    known.waiting_since.map_or(0, |since| (now - since).max(0) / 1000)
}
