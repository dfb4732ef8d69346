//! Dead letters that somebody wants sent again: each alone, beside what is new, and no faster than the sink likes.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use super::{
    Failure, Sender,
    backoff::{random, wait},
    sender::{Ended, Progress},
};
use crate::store::{DeadLetter, Stepped, patient};

/// Letters sent before what is new has its turn.
const AT_ONCE: usize = 100;

/// When it goes on.
#[derive(Default)]
pub(super) struct Redelivery {
    /// Not before.
    after: Option<Instant>,
    /// In a row.
    failures: u32,
}

impl Redelivery {
    /// Whether nothing stands in its way.
    pub fn is_well(&self) -> bool {
        self.failures == 0
    }

    fn fails(&mut self, longest: Duration, asked: Option<Duration>) {
        self.failures += 1;
        self.after = Some(Instant::now() + wait(self.failures, longest, asked, random()));
    }
}

impl Sender {
    /// Sends dead letters that are marked. What fails keeps its mark; what is refused loses it. The cursor stays.
    pub(super) async fn redeliver(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        if progress.redelivery.after.is_some_and(|after| Instant::now() < after)
            || !self.leader.again.swap(false, Relaxed)
        {
            return Ok(());
        }
        let longest = self.leader.common.max_backoff;
        let letters = match patient(self.leader.context.store.dead_letters(&self.leader.common.name)).await {
            Ok(letters) => letters,
            Err(error) => {
                self.leader.status.failed(&format!("dead letters cannot be read: {error}"));
                progress.redelivery.fails(longest, None);
                return Ok(());
            }
        };
        for letter in letters.into_iter().filter(|letter| letter.again).take(AT_ONCE) {
            let parked = match self.send(std::slice::from_ref(&letter.event)).await {
                Ok(sent) => sent.refused.into_iter().next().map(|(_, why)| why),
                Err(Failure::Refused(why) | Failure::Broken(why)) => Some(why),
                Err(failure) => {
                    let asked = if let Failure::Busy { after, .. } = failure { after } else { None };
                    self.leader.status.failed(&failure.to_string());
                    progress.redelivery.fails(longest, asked);
                    return Ok(());
                }
            };
            let parked: Vec<DeadLetter> = parked
                .map(|reason| self.letter(&letter.event, &reason, letter.attempts + 1))
                .into_iter()
                .collect();
            let done = vec![letter.event.id.clone()];
            match self.write(progress.epoch, &progress.noted, &parked, done).await? {
                Stepped::NotLeading => return Err(Ended::NotLeading),
                Stepped::Done | Stepped::Full => {}
            }
            if parked.is_empty() {
                self.leader.status.sent(1, (self.leader.context.now)());
            }
            progress.redelivery = Redelivery::default();
        }
        Ok(())
    }
}
