//! One attempt to send a batch, and what follows when it fails: another one later, a smaller one, or a dead letter.
//!
//! A batch that is refused is halved at once, until one event is refused alone, which is parked. A batch that fails
//! for other reasons is halved after a few failures: it may be too large, or too slow to digest. An event that fails
//! alone again and again is suspected, which `poison` looks into.

use super::{
    progress::{Progress, Stop},
    sender::Sender,
};
use crate::{
    domain::event::Event,
    forward::{
        error::{Problem, SendError, SendErrorKind},
        retry::{backoff, random},
    },
    store::LogPage,
};

/// Failures in a row after which smaller batches are tried.
const HALVE_AFTER: u32 = 3;

impl Sender {
    /// Sends a batch; `batch` has the indexes of its events in the page. Says how many events of the page are done
    /// with, or `None` if it failed; then it has waited.
    pub(super) async fn attempt(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
    ) -> Result<Option<usize>, Stop> {
        let events: Vec<Event> = batch.iter().map(|n| page.events[*n].clone()).collect();
        match self.send(&events).await {
            Ok(report) => {
                let refused =
                    report.refused.iter().filter_map(|(n, why)| Some((events.get(*n)?, why.as_str())));
                let parked = refused.map(|(event, why)| self.dead_letter(event, why, 1)).collect();
                self.finish_batch(progress, page, batch, parked).await?;
                Ok(Some(batch.len()))
            }
            Err(error) => self.after_failure(progress, page, batch, &events, &error).await,
        }
    }

    /// Parks an event that is refused alone, makes smaller batches, or waits before the next attempt.
    async fn after_failure(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
        events: &[Event],
        error: &SendError,
    ) -> Result<Option<usize>, Stop> {
        progress.failures += 1;
        let half = (events.len() / 2).max(1);
        match (error.kind, events) {
            (SendErrorKind::Refused, [event]) => {
                let letter = self.dead_letter(event, &error.to_string(), progress.failures);
                self.finish_batch(progress, page, batch, vec![letter]).await?;
                return Ok(Some(1));
            }
            (SendErrorKind::Refused, _) => {
                progress.batch = half;
                return Ok(Some(0));
            }
            (kind, [event]) if kind.may_be_about_the_event() => {
                if let Some(done) = self.suspect(progress, event, page, batch[0]).await? {
                    return Ok(Some(done));
                }
            }
            (SendErrorKind::Broken | SendErrorKind::Unreachable, _) if progress.failures >= HALVE_AFTER => {
                progress.batch = half;
            }
            _ => {}
        }
        self.leader.status.failed(&Problem::from(error));
        let retry_after = error.kind.retry_after();
        let wait = backoff(progress.failures, self.leader.common.max_backoff, retry_after, random());
        self.leader.pause(wait).await;
        Ok(None)
    }
}
