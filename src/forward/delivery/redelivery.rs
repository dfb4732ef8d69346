//! Dead letters that somebody wants sent again: each alone, beside what is new, and no faster than the sink likes.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    progress::{Progress, Redelivery, Stop},
    sender::Sender,
};
use crate::{
    forward::error::{Problem, SendError, SendErrorKind},
    store::{DeadLetter, Stepped, patient},
};

/// Letters that are sent before what is new has its turn.
const LETTERS_AT_ONCE: usize = 100;

impl Sender {
    /// Sends dead letters that are marked. What fails keeps its mark; what is refused loses it. The cursor stays.
    pub(super) async fn redeliver(&mut self, progress: &mut Progress) -> Result<(), Stop> {
        if progress.redelivery.must_wait() || !self.leader.redeliver.swap(false, Relaxed) {
            return Ok(());
        }
        let max_backoff = self.leader.common.max_backoff;
        let letters = match patient(self.leader.context.store.dead_letters(&self.leader.common.name)).await {
            Ok(letters) => letters,
            Err(error) => {
                self.leader.status.failed(&Problem::because("dead letters cannot be read", &error));
                progress.redelivery.failed(max_backoff, None);
                return Ok(());
            }
        };
        for letter in letters.into_iter().filter(|letter| letter.again).take(LETTERS_AT_ONCE) {
            let refused = match self.send_letter(&letter).await {
                Ok(refused) => refused,
                Err(error) => {
                    self.leader.status.failed(&Problem::from(&error));
                    progress.redelivery.failed(max_backoff, error.kind.retry_after());
                    return Ok(());
                }
            };
            self.finish_letter(progress, &letter, refused).await?;
        }
        Ok(())
    }

    /// Sends a letter; says why it was refused, if it was.
    async fn send_letter(&mut self, letter: &DeadLetter) -> Result<Option<String>, SendError> {
        match self.send(std::slice::from_ref(&letter.event)).await {
            Ok(report) => Ok(report.refused.into_iter().next().map(|(_, why)| why)),
            Err(error) if matches!(error.kind, SendErrorKind::Refused | SendErrorKind::Broken) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    async fn finish_letter(
        &mut self,
        progress: &mut Progress,
        letter: &DeadLetter,
        refused: Option<String>,
    ) -> Result<(), Stop> {
        let again = |why: String| self.dead_letter(&letter.event, &why, letter.attempts + 1);
        let parked: Vec<DeadLetter> = refused.map(again).into_iter().collect();
        let done = vec![letter.event.id.clone()];
        match self.write_step(progress.epoch, &progress.saved, &parked, done).await? {
            Stepped::NotLeading => return Err(Stop::NotLeading),
            Stepped::Done | Stepped::Full => {}
        }
        if parked.is_empty() {
            self.leader.status.sent(1, (self.leader.context.now)());
        }
        progress.redelivery = Redelivery::default();
        Ok(())
    }
}
