//! Who sends for a sink: the lease that one instance has at a time, and keeps while it sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    domain::{
        Millis,
        event::{Event, EventGap, EventType},
        finding::Severity,
    },
    forward::{
        common::{CommonSettings, StartAt},
        context::SinkContext,
        error::Problem,
        status::Status,
    },
    store::{LogPosition, SinkLead, StoreError, patient},
};

/// How long a lease lasts: the longest that nobody sends when an instance dies.
pub const LEASE: Duration = Duration::from_secs(4);

/// Takes the lease of a sink and keeps it. Shared by whoever sends and whoever renews the lease.
pub(super) struct SinkLeader {
    pub common: CommonSettings,
    pub context: SinkContext,
    pub status: Arc<Status>,
    /// Whether dead letters wait to be sent again.
    pub redeliver: AtomicBool,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

impl SinkLeader {
    /// Leads nothing yet: see [`SinkLeader::lead`].
    pub(super) fn new(
        common: CommonSettings,
        context: SinkContext,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Self {
        Self { common, context, status, redeliver: AtomicBool::new(false), stop }
    }

    /// Waits, unless the process ends.
    pub(super) async fn pause(&self, time: Duration) {
        let _ = clock::timeout(time, self.stop.cancelled()).await;
    }

    /// Takes the lease; `None` while another instance has it.
    pub(super) async fn lead(&self) -> Result<Option<SinkLead>, StoreError> {
        let (now, until) = self.lease();
        let SinkContext { store, instance, .. } = &self.context;
        let lead = patient(store.lead_sink(&self.common.name, instance, now, until)).await?;
        self.redeliver.store(lead.as_ref().is_some_and(|lead| lead.again), Relaxed);
        Ok(lead)
    }

    fn lease(&self) -> (Millis, Millis) {
        let now = (self.context.now)();
        (now, now + LEASE.as_millis() as Millis)
    }

    /// Renews the lease; returns when it is lost, or may be.
    pub(super) async fn keep_leading(&self, epoch: u64) {
        let mut renewed = clock::instant();
        loop {
            clock::sleep(LEASE / 4).await;
            let now = (self.context.now)();
            self.status.measure(now);
            let health = self.status.health(now);
            let asked = clock::instant();
            let left = LEASE.saturating_sub(renewed.elapsed());
            let renewing = self.context.store.renew_sink(&self.common.name, epoch, self.lease().1, &health);
            match clock::timeout(left, renewing).await {
                Ok(Ok(Some(redeliver))) => {
                    self.redeliver.fetch_or(redeliver, Relaxed);
                    renewed = asked;
                }
                Ok(Ok(None)) => return,
                Ok(Err(_)) if renewed.elapsed() < LEASE => {}
                Ok(Err(error)) => {
                    self.status.failed(&Problem::because("its lease cannot be renewed", &error));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Gives the lease back, so that another instance need not wait for its end.
    pub(super) async fn leave(&self) {
        let SinkContext { store, instance, .. } = &self.context;
        if let Err(error) = patient(store.leave_sink(&self.common.name, instance)).await {
            tracing::warn!(sink = self.common.name, %error, "the sink's lease was not given back; it will run out");
        }
    }

    /// Where a sink begins that the store does not know.
    pub(super) async fn first_position(&self) -> Result<LogPosition, StoreError> {
        match self.common.start {
            StartAt::Now => patient(self.context.store.log_end()).await,
            StartAt::Beginning => Ok(LogPosition::default()),
        }
    }

    /// The event that says that events were deleted before they were sent.
    pub(super) fn gap_event(&self) -> Event {
        deleted_before_sent(&self.common.name, (self.context.now)())
    }
}

fn deleted_before_sent(sink: &str, now: Millis) -> Event {
    let summary = format!(
        "Events were deleted from the log before the sink {sink} had taken them: it was behind for too long."
    );
    let details = EventGap { lost_events: None, sink: Some(sink.to_owned()), summary: Some(summary) };
    let event = Event::new(now, EventType::EventGap, Severity::High, None).with(&details);
    Event { detector: Some(format!("forward:{sink}")), ..event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::golden;

    #[test]
    fn the_gap_of_a_sink_is_written_as_its_golden_file_says() {
        golden::check("sink", &deleted_before_sent("siem", 1_772_442_000_000));
    }
}
