//! Who sends for one sink.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::leader::SinkLeader;
use crate::{
    clock,
    domain::event::Event,
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{SendReport, Sink},
        error::SendError,
        status::Status,
    },
    store::DeadLetter,
};

/// Sends for one sink. Its loop is in `run`.
pub struct Sender {
    pub(super) leader: Arc<SinkLeader>,
    pub(super) sink: Box<dyn Sink>,
}

impl Sender {
    /// A sender for an open sink; it ends soon after `stop` was cancelled.
    pub fn new(
        common: CommonSettings,
        sink: Box<dyn Sink>,
        context: SinkContext,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Self {
        Self { leader: Arc::new(SinkLeader::new(common, context, status, stop)), sink }
    }

    /// Sends a batch, for as long as one attempt may take.
    pub(super) async fn send(&mut self, events: &[Event]) -> Result<SendReport, SendError> {
        let limit = self.leader.common.timeout();
        clock::timeout(limit, self.sink.send(events))
            .await
            .unwrap_or_else(|_| Err(SendError::timed_out(limit)))
    }

    /// The dead letter of an event that the sink will not take.
    pub(super) fn dead_letter(&self, event: &Event, reason: &str, attempts: u32) -> DeadLetter {
        DeadLetter {
            sink: self.leader.common.name.clone(),
            event: event.clone(),
            reason: reason.to_owned(),
            attempts,
            parked_at: (self.leader.context.now)(),
            again: false,
        }
    }
}
