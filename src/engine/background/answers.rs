//! Answers on their way to other instances, for retries that come there.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    domain::{Millis, decision::Decision, record::Record, subject::Subject},
    engine::shared::Shared,
    store::{StoreError, patient},
};

/// Answers that wait to be sent to other instances, at most; the oldest are dropped: a retry elsewhere then gets a
/// plain answer, and is counted once all the same.
const MOST_WAITING: usize = 50_000;
/// An answer for a retry on another instance.
#[derive(Debug)]
struct AnswerForOthers {
    subject: Subject,
    claim: u128,
    answer: Vec<u8>,
}

/// Answers on their way to other instances.
pub(in crate::engine) struct AnswersForOthers {
    shared: Arc<Shared>,
    /// Whether there may be other instances.
    shares_store: bool,
    waiting: Mutex<VecDeque<AnswerForOthers>>,
    news: Notify,
}

impl AnswersForOthers {
    /// None are kept unless other instances share the store.
    pub(in crate::engine) fn new(shared: Arc<Shared>, shares_store: bool) -> Self {
        Self { shared, shares_store, waiting: Mutex::default(), news: Notify::new() }
    }

    /// Returns when there is an answer to tell.
    pub(in crate::engine) async fn news(&self) {
        self.news.notified().await;
    }

    /// Has other instances know the answer to a request that may be sent to them again. Nobody waits for it.
    pub(in crate::engine) fn add(&self, record: &Record, decision: &Decision) {
        let Some(claim) = record.identity().filter(|_| self.shares_store) else {
            return;
        };
        let Ok(answer) = serde_json::to_vec(decision) else { return };
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(AnswerForOthers { subject: record.key.clone(), claim, answer });
        self.news.notify_one();
    }

    /// Writes the answers that wait to the store, all at once.
    pub(in crate::engine) async fn write(&self, now: Millis) -> Result<(), StoreError> {
        let answers = std::mem::take(&mut *self.waiting.lock());
        let writes = answers
            .iter()
            .map(|one| patient(self.shared.store.answer_claim(&one.subject, one.claim, &one.answer, now)));
        futures::future::try_join_all(writes).await.map(drop)
    }
}
