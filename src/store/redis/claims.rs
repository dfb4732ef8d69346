//! Claims of requests and of work: what is done once over all instances.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    packing::doubles,
    scripts::{CLAIM, Call},
};
use crate::{
    domain::{Millis, observation::Claim, subject::Subject},
    store::{ClaimStore, StoreError, StoreResult},
};

impl ClaimStore for RedisStore {
    fn claim<'a>(&'a self, name: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move {
            let call = claim_call(self.keys.claim(name), now, "claim");
            read_claim(&self.link.call(call).await?)
        })
    }

    fn claimed<'a>(&'a self, subject: &'a Subject, claim: u128, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move {
            let call = claim_call(self.keys.request_claim(subject, claim), now, "look");
            read_claim(&self.link.call(call).await?)
        })
    }

    fn answer_claim<'a>(
        &'a self,
        subject: &'a Subject,
        claim: u128,
        answer: &'a [u8],
        now: Millis,
    ) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let call = claim_call(self.keys.request_claim(subject, claim), now, "answer").arg(answer);
            self.link.call(call).await.map(drop)
        })
    }
}

fn claim_call(key: String, now: Millis, act: &str) -> Call {
    Call::new(&CLAIM).key(key).arg(doubles([now as f64])).arg(act)
}

fn read_claim(reply: &Value) -> Result<Claim, StoreError> {
    match reply {
        Value::BulkString(held) => claim_of(held),
        _ => Err(unreadable("a claim")),
    }
}

/// What a script found of a claim.
pub(super) fn claim_of(held: &[u8]) -> Result<Claim, StoreError> {
    match held.split_first() {
        None => Ok(Claim::Fresh),
        Some((b'?', _)) => Ok(Claim::InFlight),
        Some((b'=', answer)) => Ok(Claim::Answered(answer.to_vec())),
        Some(_) => Err(unreadable("a claim")),
    }
}
