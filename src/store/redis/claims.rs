//! Claims on request ids: idempotency over all instances.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    packing::doubles,
    scripts::{CLAIM, Call},
};
use crate::{
    domain::Millis,
    store::{Claim, StoreError},
};

impl RedisStore {
    /// Claims `request`, or tells what became of another's claim.
    pub(super) async fn claim_request(&self, request: &str, now: Millis) -> Result<Claim, StoreError> {
        let Value::BulkString(held) = self.link.call(self.claim_call(request, now)).await? else {
            return Err(unreadable("a claim"));
        };
        match held.split_first() {
            None => Ok(Claim::Fresh),
            Some((b'?', _)) => Ok(Claim::InFlight),
            Some((b'=', answer)) => Ok(Claim::Answered(answer.to_vec())),
            Some(_) => Err(unreadable("a claim")),
        }
    }

    /// Keeps the answer as long as the claim lasts; a claim that has run out gets none.
    pub(super) async fn answer_claim(
        &self,
        request: &str,
        answer: &[u8],
        now: Millis,
    ) -> Result<(), StoreError> {
        self.link.call(self.claim_call(request, now).arg(answer)).await.map(drop)
    }

    fn claim_call(&self, request: &str, now: Millis) -> Call {
        Call::new(&CLAIM).key(self.keys.claim(request)).arg(doubles([now as f64]))
    }
}
