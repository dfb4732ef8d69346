//! Requests that come more than once: the answer of the first is waited for, here or from another instance, and sent to
//! the others.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::idempotency::{IdempotencyCache, InFlight, Waiting};
use crate::{
    clock,
    domain::{Millis, decision::Decision, observation::Claim, record::Record, subject::Subject},
    engine::{ActivePolicy, Engine},
    store::{StoreError, patient},
};

/// Answers that wait to be sent to other instances, at most; the oldest are dropped: a retry elsewhere then gets a
/// plain answer, and is counted once all the same.
const MOST_WAITING: usize = 50_000;
/// How long is waited first before another instance's answer is looked for again; then twice as long each time.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// An answer for a retry on another instance.
#[derive(Debug)]
struct AnswerForOthers {
    subject: Subject,
    claim: u128,
    answer: Vec<u8>,
}

/// Answers on their way to other instances.
#[derive(Debug, Default)]
pub(in crate::engine) struct AnswersForOthers {
    waiting: Mutex<VecDeque<AnswerForOthers>>,
    news: Notify,
}

impl AnswersForOthers {
    /// Returns when there is an answer to tell.
    pub(in crate::engine) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Engine {
    /// The answer to the same request that is on its way here; a plain one when that takes too long.
    pub(super) async fn wait_for(
        &self,
        record: &Record,
        mut waiting: Waiting,
        active: &ActivePolicy,
        now: Millis,
    ) -> Decision {
        let answer = clock::timeout(self.deadline(), waiting.wait_for(Option::is_some)).await;
        let answer = answer.ok().and_then(Result::ok).and_then(|answer| answer.clone());
        answer.map_or_else(|| self.plain_decision(record, active, now), |answer| (*answer).clone())
    }

    /// The decision about a request that another instance has: its answer, or a plain one, which is not remembered.
    pub(super) async fn repeat(
        &self,
        record: &Record,
        claim: Claim,
        in_flight: InFlight<'_>,
        active: &ActivePolicy,
        now: Millis,
    ) -> Decision {
        let answer = self.answered_elsewhere(record, claim, now).await;
        let remembered = answer.is_some();
        let decision = answer.unwrap_or_else(|| self.plain_decision(record, active, now));
        in_flight.answer(&decision, remembered, now);
        decision
    }

    /// The answer that another instance gave to the same request, or gives within the deadline.
    async fn answered_elsewhere(&self, record: &Record, mut claim: Claim, now: Millis) -> Option<Decision> {
        let by = clock::instant() + self.deadline() * 4 / 5;
        let mut pause = FIRST_LOOK;
        while claim == Claim::InFlight && clock::instant() + pause < by {
            clock::sleep(pause).await;
            pause *= 2;
            let Some(identity) = IdempotencyCache::identity(record) else { break };
            let looked = clock::timeout_at(by, self.shared.store.claimed(&record.key, identity, now)).await;
            let Ok(Ok(found)) = looked else { break };
            claim = found;
        }
        match claim {
            Claim::Answered(bytes) => serde_json::from_slice(&bytes).ok(),
            Claim::Fresh | Claim::InFlight => None,
        }
    }

    /// Has other instances know the answer to a request that may be sent to them again. Nobody waits for it.
    pub(super) fn tell_others(&self, record: &Record, decision: &Decision) {
        let Some(claim) = IdempotencyCache::identity(record).filter(|_| self.options.shares_store) else {
            return;
        };
        let Ok(answer) = serde_json::to_vec(decision) else { return };
        let mut waiting = self.answers.waiting.lock();
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(AnswerForOthers { subject: record.key.clone(), claim, answer });
        self.answers.news.notify_one();
    }

    /// Writes the answers that wait to the store, all at once.
    pub(in crate::engine) async fn write_answers(&self, now: Millis) -> Result<(), StoreError> {
        let answers = std::mem::take(&mut *self.answers.waiting.lock());
        let writes = answers
            .iter()
            .map(|one| patient(self.shared.store.answer_claim(&one.subject, one.claim, &one.answer, now)));
        futures::future::try_join_all(writes).await.map(drop)
    }
}
