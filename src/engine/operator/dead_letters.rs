//! People decide on dead letters of sinks.

use std::sync::Arc;

use crate::{
    domain::{Millis, actor::Actor},
    engine::{events, shared::Shared},
    store::{DeadLetterAct, StoreError},
};

/// What sinks did not take.
pub struct DeadLetters {
    shared: Arc<Shared>,
}

impl DeadLetters {
    /// Those that the store keeps.
    pub(in crate::engine) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Has dead letters of a sink sent again, or gives them up: those with these event ids, or all without any. Returns
    /// how many.
    ///
    /// # Errors
    /// When it could not be written: nothing is done then.
    pub async fn decide(
        &self,
        sink: &str,
        act: DeadLetterAct,
        ids: &[String],
        by: &Actor,
        now: Millis,
    ) -> Result<usize, StoreError> {
        self.shared.answering()?;
        // Which they are is known only before, and the event must say it.
        let letters = self.shared.store.dead_letters(sink).await?;
        let there = letters.into_iter().map(|letter| letter.event.id);
        let meant: Vec<String> = there.filter(|id| ids.is_empty() || ids.contains(id)).collect();
        let count = self.shared.store.act_on_dead_letters(sink, act, ids).await?;
        if count > 0 {
            let event = events::dead_letters(sink, act, (&meant, count), by, now);
            match self.shared.store.append(std::slice::from_ref(&event)).await {
                Ok(_) => self.shared.metrics.events_written.increment(1),
                // It is done, so it is logged as soon as the store takes it.
                Err(_) => self.shared.outbox.push_apart(event),
            }
        }
        Ok(count)
    }
}
