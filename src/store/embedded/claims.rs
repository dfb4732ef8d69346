//! Claims of request ids: in memory, and as they are written with the counters that they belong to.

use super::{EmbeddedStore, memory::request_name};
use crate::{
    domain::{Millis, observation::Claim, subject::Subject},
    store::{ClaimStore, StoreResult},
};

impl ClaimStore for EmbeddedStore {
    fn claim<'a>(&'a self, name: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move { Ok(self.memory.claims.claim(name, now)) })
    }

    fn claimed<'a>(&'a self, _subject: &'a Subject, claim: u128, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move { Ok(self.memory.claims.look(&request_name(claim), now)) })
    }

    fn answer_claim<'a>(
        &'a self,
        _subject: &'a Subject,
        claim: u128,
        answer: &'a [u8],
        now: Millis,
    ) -> StoreResult<'a, ()> {
        Box::pin(async move {
            self.memory.claims.finish(&request_name(claim), answer, now);
            Ok(())
        })
    }
}
