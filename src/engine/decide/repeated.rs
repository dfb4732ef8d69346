//! Requests that come more than once: the answer of the first is waited for, here or from another instance, and sent to
//! the others.

use std::time::Duration;

use super::{
    decider::Decider,
    idempotency::{InFlight, Waiting},
};
use crate::{
    clock,
    domain::{Millis, decision::Decision, observation::Claim, record::Record},
    engine::policy::ActivePolicy,
};

/// How long is waited first before another instance's answer is looked for again; then twice as long each time.
const FIRST_LOOK: Duration = Duration::from_millis(1);

impl Decider {
    /// The answer to the same request that is on its way here; a plain one when that takes too long.
    pub(super) async fn wait_for(
        &self,
        record: &Record,
        mut waiting: Waiting,
        active: &ActivePolicy,
        now: Millis,
    ) -> Decision {
        let answer = clock::timeout(self.deadline, waiting.wait_for(Option::is_some)).await;
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
        let by = clock::instant() + self.deadline * 4 / 5;
        let mut pause = FIRST_LOOK;
        while claim == Claim::InFlight && clock::instant() + pause < by {
            clock::sleep(pause).await;
            pause *= 2;
            let Some(identity) = record.identity() else { break };
            let looked = clock::timeout_at(by, self.shared.store.claimed(&record.key, identity, now)).await;
            let Ok(Ok(found)) = looked else { break };
            claim = found;
        }
        match claim {
            Claim::Answered(bytes) => serde_json::from_slice(&bytes).ok(),
            Claim::Fresh | Claim::InFlight => None,
        }
    }
}
