//! Who sends for a sink: the lease that one instance has at a time, and keeps while it sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Common, SinkContext, Start, Status};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
    },
    store::{LogPosition, SinkLead, StoreError, patient},
};

/// How long a lease lasts: the longest that nobody sends when an instance dies.
pub const LEASE: Duration = Duration::from_secs(4);

/// What the one who sends and the one who renews the lease share.
pub(super) struct SinkLeader {
    pub common: Common,
    pub context: SinkContext,
    pub status: Arc<Status>,
    /// Dead letters wait to be sent again.
    pub again: AtomicBool,
    /// The process ends.
    pub stop: CancellationToken,
}

impl SinkLeader {
    /// For one sink.
    pub fn new(common: Common, context: SinkContext, status: Arc<Status>, stop: CancellationToken) -> Self {
        Self { common, context, status, again: AtomicBool::new(false), stop }
    }

    /// Waits, unless the process ends.
    pub async fn pause(&self, time: Duration) {
        let _ = timeout(time, self.stop.cancelled()).await;
    }

    /// Takes the lease; `None` while somebody else has it.
    pub async fn lead(&self) -> Result<Option<SinkLead>, StoreError> {
        let (now, until) = self.lease();
        let SinkContext { store, instance, .. } = &self.context;
        let led = patient(store.lead_sink(&self.common.name, instance, now, until)).await?;
        self.again.store(led.as_ref().is_some_and(|lead| lead.again), Relaxed);
        Ok(led)
    }

    fn lease(&self) -> (Millis, Millis) {
        let now = (self.context.now)();
        (now, now + LEASE.as_millis() as Millis)
    }

    /// Renews the lease; ends when it is lost, or may be.
    pub async fn keep_leading(&self, epoch: u64) {
        let mut renewed = Instant::now();
        loop {
            sleep(LEASE / 4).await;
            let now = (self.context.now)();
            self.status.measure(now);
            let health = self.status.health(now);
            let asked = Instant::now();
            let left = LEASE.saturating_sub(renewed.elapsed());
            let renewing = self.context.store.renew_sink(&self.common.name, epoch, self.lease().1, &health);
            match timeout(left, renewing).await {
                Ok(Ok(Some(again))) => {
                    self.again.fetch_or(again, Relaxed);
                    renewed = asked;
                }
                Ok(Ok(None)) => return,
                Ok(Err(_)) if renewed.elapsed() < LEASE => {}
                Ok(Err(error)) => {
                    self.status.failed(&format!("its lease cannot be renewed: {error}"));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Where a sink begins of which the store knows nothing.
    pub async fn begin(&self) -> Result<LogPosition, StoreError> {
        match self.common.start {
            Start::Now => patient(self.context.store.log_end()).await,
            Start::Beginning => Ok(LogPosition::default()),
        }
    }

    /// Events were deleted before they were sent.
    pub fn gap(&self) -> Event {
        let mut event = Event::new((self.context.now)(), EventType::EventGap, Severity::High, None);
        event.detector = Some(format!("forward:{}", self.common.name));
        event.evidence = serde_json::json!({
            "sink": self.common.name,
            "summary": format!(
                "Events were deleted from the log before the sink {} had taken them: it was behind for too long.",
                self.common.name,
            ),
        });
        event
    }
}
