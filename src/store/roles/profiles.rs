//! What is normal for a subject, as far as it was learned, and which subjects there are.

use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::StoreResult,
};

/// A subject that has a profile, and when a request of it was learned last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSubject {
    /// Whom it is about.
    pub subject: Subject,
    /// When its profile learned last, milliseconds since 1970.
    pub last_seen: Millis,
}

impl SeenSubject {
    /// Whether it comes before another in lists: the one seen last first; of two seen at once, the later name.
    pub fn precedes(&self, other: &Self) -> bool {
        (self.last_seen, self.subject.as_str()) > (other.last_seen, other.subject.as_str())
    }
}

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

    /// Subjects that have a profile, in the order of [`SeenSubject::precedes`], behind `after`: `limit` of them, and
    /// fewer only where there are no more. One that is seen meanwhile moves to the front of the list.
    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>>;
}
