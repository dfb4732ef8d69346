//! Who sends for a sink: the lease that one instance has at a time, and keeps while it sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Common, Start, Status, Surroundings};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
    },
    store::{LogPosition, SinkLead, SinkStep, StoreError},
};

/// How long a lease lasts: the longest that nobody sends when an instance dies.
pub const LEASE: Duration = Duration::from_secs(4);
/// What a call of the store may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the one who sends and the one who renews the lease share.
pub(super) struct Desk {
    pub common: Common,
    pub around: Surroundings,
    pub status: Arc<Status>,
    /// Dead letters wait to be sent again.
    pub again: AtomicBool,
    /// The process ends.
    pub stop: CancellationToken,
}

impl Desk {
    /// Waits, unless the process ends.
    pub async fn pause(&self, time: Duration) {
        let _ = timeout(time, self.stop.cancelled()).await;
    }

    /// Takes the lease, or renews it; `None` while somebody else has it.
    pub async fn lead(&self) -> Result<Option<SinkLead>, StoreError> {
        let now = (self.around.now)();
        let until = now + LEASE.as_millis() as Millis;
        let led = patient(self.around.store.lead_sink(&self.common.name, &self.around.instance, now, until))
            .await?;
        if let Some(lead) = &led {
            self.again.fetch_or(lead.again, Relaxed);
        }
        Ok(led)
    }

    /// Renews the lease; ends when it is lost, or may be.
    pub async fn keep_leading(&self, epoch: u64) {
        let mut renewed = tokio::time::Instant::now();
        loop {
            sleep(LEASE / 4).await;
            self.status.measure((self.around.now)());
            let asked = tokio::time::Instant::now();
            match self.lead().await {
                Ok(Some(lead)) if lead.epoch == epoch => renewed = asked,
                Ok(_) => return,
                Err(_) if renewed.elapsed() < LEASE => {}
                Err(error) => {
                    self.status.failed(&format!("its lease cannot be renewed: {error}"));
                    return;
                }
            }
        }
    }

    /// Notes where a new sink begins.
    pub async fn begin(&self, epoch: u64, state: Vec<u8>) -> Result<LogPosition, StoreError> {
        let position = match self.common.start {
            Start::Now => patient(self.around.store.log_end()).await?,
            Start::Beginning => LogPosition::default(),
        };
        let (sink, at) = (self.common.name.clone(), position.clone());
        let step = SinkStep { sink, epoch, position: at, state, parked: vec![], done: vec![] };
        patient(self.around.store.step_sink(&step)).await?;
        Ok(position)
    }

    /// Events were deleted before they were sent.
    pub fn gap(&self) -> Event {
        let mut event = Event::new((self.around.now)(), EventType::EventGap, Severity::High, None);
        event.detector = Some("forward".to_owned());
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

/// Bounds a call of the store.
pub(super) async fn patient<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::Unavailable("no answer within 5 s".to_owned());
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(late()))
}
