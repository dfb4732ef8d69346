//! What is normal for a subject, as far as it was learned.

use crate::{
    domain::{profile::Profile, subject::Subject},
    store::StoreResult,
};

/// Keeps a profile per subject. [`StandingStore::forget`](super::StandingStore::forget) deletes it.
pub trait ProfileStore: Send + Sync + 'static {
    /// The profile of a subject; `None` if none was learned.
    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>>;

    /// Merges a delta into the stored profile and returns the result. Merging is commutative, so deltas of several
    /// instances may come in any order.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](crate::store::StoreError::Unavailable) also when others keep changing the same
    /// profile.
    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile>;
}
