//! How far a sink has come: written to the store together with dead letters and the sink's own state, in one step.

use super::{
    progress::{Progress, STORE_RETRY, Stop},
    sender::Sender,
};
use crate::{
    forward::error::Problem,
    store::{DeadLetter, LogPage, LogPosition, SinkStep, Stepped, StoreError, patient},
};

impl Sender {
    /// Moves the cursor behind a batch that is done with; `batch` has the indexes of its events in the page.
    pub(super) async fn finish_batch(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
        parked: Vec<DeadLetter>,
    ) -> Result<(), Stop> {
        let mut position = progress.position.clone();
        // Everything before is done with, also what was not wanted.
        let end = batch.last().map_or(0, |last| last + 1);
        for event in &page.events[..end] {
            position = self.leader.context.store.advance(&position, &event.id)?;
        }
        let (sent, refused) = (batch.len() - parked.len(), parked.len());
        progress.position = position;
        self.save_cursor(progress, parked).await?;
        self.leader.status.parked(refused);
        self.leader.status.sent(sent, (self.leader.context.now)());
        progress.failures = 0;
        progress.suspect = None;
        progress.batch = (progress.batch * 2).min(self.leader.common.batch);
        Ok(())
    }

    /// Writes the cursor. While there is no room for dead letters it waits for somebody to make some.
    pub(super) async fn save_cursor(
        &mut self,
        progress: &mut Progress,
        parked: Vec<DeadLetter>,
    ) -> Result<(), Stop> {
        loop {
            match self.write_step(progress.epoch, &progress.position, &parked, Vec::new()).await {
                Ok(Stepped::Done) => break,
                Ok(Stepped::NotLeading) => return Err(Stop::NotLeading),
                Ok(Stepped::Full) => {
                    let problem =
                        Problem::with_hint("it has too many dead letters", "redeliver or discard some");
                    self.leader.status.failed(&problem);
                    self.redeliver(progress).await?;
                }
                // What was sent is sent: asking again is better than sending again.
                Err(error) => {
                    self.leader.status.failed(&Problem::because("the cursor cannot be written", &error));
                }
            }
            if self.leader.stop.is_cancelled() {
                return Err(Stop::Stopped);
            }
            self.leader.pause(STORE_RETRY).await;
        }
        progress.saved.clone_from(&progress.position);
        progress.unsaved_since = None;
        Ok(())
    }

    /// Writes one step to the store, once.
    pub(super) async fn write_step(
        &self,
        epoch: u64,
        position: &LogPosition,
        parked: &[DeadLetter],
        done: Vec<String>,
    ) -> Result<Stepped, StoreError> {
        let step = SinkStep {
            sink: self.leader.common.name.clone(),
            epoch,
            position: position.clone(),
            state: self.sink.state(),
            parked: parked.to_vec(),
            done,
        };
        patient(self.leader.context.store.step_sink(&step)).await
    }
}
