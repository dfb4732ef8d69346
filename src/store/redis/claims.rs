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
    store::{Claim, ClaimStore, StoreResult},
};

impl ClaimStore for RedisStore {
    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move {
            let Value::BulkString(held) = self.link.call(self.claim_call(request, now)).await? else {
                return Err(unreadable("a claim"));
            };
            match held.split_first() {
                None => Ok(Claim::Fresh),
                Some((b'?', _)) => Ok(Claim::InFlight),
                Some((b'=', answer)) => Ok(Claim::Answered(answer.to_vec())),
                Some(_) => Err(unreadable("a claim")),
            }
        })
    }

    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move { self.link.call(self.claim_call(request, now).arg(answer)).await.map(drop) })
    }
}

impl RedisStore {
    fn claim_call(&self, request: &str, now: Millis) -> Call {
        Call::new(&CLAIM).key(self.keys.claim(request)).arg(doubles([now as f64]))
    }
}
