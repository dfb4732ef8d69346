//! Who works on what, so that it is done once over all instances, and a retry gets the first answer.

pub use crate::domain::observation::Claim;
use crate::{
    domain::{Millis, subject::Subject},
    store::StoreResult,
};

/// Keeps claims: of work by its name for two minutes, of requests for as long as the store's `retry_span` says, and the
/// answers to claimed requests.
///
/// A request is claimed in the step that charges for it:
/// [`LedgerEntry::claim`](crate::domain::observation::LedgerEntry::claim).
pub trait ClaimStore: Send + Sync + 'static {
    /// Claims a piece of work by its name.
    fn claim<'a>(&'a self, name: &'a str, now: Millis) -> StoreResult<'a, Claim>;

    /// What became of a request of a subject; [`Claim::Fresh`] where nobody has it.
    fn claimed<'a>(&'a self, subject: &'a Subject, claim: u128, now: Millis) -> StoreResult<'a, Claim>;

    /// Keeps the answer to a claimed request for the rest of its claim. A claim that has run out gets none.
    fn answer_claim<'a>(
        &'a self,
        subject: &'a Subject,
        claim: u128,
        answer: &'a [u8],
        now: Millis,
    ) -> StoreResult<'a, ()>;
}
