//! Claims of request ids, in memory alone: a retry after a restart is judged anew.

use super::EmbeddedStore;
use crate::{
    domain::Millis,
    store::{Claim, ClaimStore, StoreResult},
};

impl ClaimStore for EmbeddedStore {
    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(async move { Ok(self.memory.claims.claim(request, now)) })
    }

    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(async move {
            self.memory.claims.finish(request, answer, now);
            Ok(())
        })
    }
}
