//! Who works on a request id, so that a retry gets the first answer, on any instance.

use crate::{domain::Millis, store::StoreResult};

/// What was claimed for a request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has it: the caller goes on and calls [`ClaimStore::finish_claim`].
    Fresh,
    /// Another caller has it and has not finished.
    InFlight,
    /// The request was answered with these bytes.
    Answered(Vec<u8>),
}

/// Keeps claims on request ids, and the answers to claimed requests.
pub trait ClaimStore: Send + Sync + 'static {
    /// Claims a request for two minutes from `now`.
    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim>;

    /// Keeps the answer to a claimed request for the rest of its two minutes. A claim that has run out gets none.
    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()>;
}
