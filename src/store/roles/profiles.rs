//! What is normal for a subject, as far as it was learned, and which subjects there are.

use std::sync::Arc;

use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::{StoreError, StoreResult, pack_profile},
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

/// Which writing of a profile it is: it grows with each, no two writers give the same one, and what a writer knows to
/// be stored is told from what was merged on its way. 0 stands for a subject of which nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ProfileVersion(pub u64);

impl ProfileVersion {
    /// Bits below the count of writings: 15 tell writers apart, the lowest is set of what was merged.
    const LOW_BITS: u32 = 16;

    /// The version that `writer` (of 15 bits) gives to a whole profile that it writes over this one.
    pub fn next(self, writer: u16) -> Self {
        let count = (self.0 >> Self::LOW_BITS).wrapping_add(1);
        Self((count << Self::LOW_BITS) | u64::from(writer << 1))
    }

    /// The version of this one with a delta of `writer` merged into it.
    pub fn merged(self, writer: u16) -> Self {
        Self(self.next(writer).0 | 1)
    }
}

/// A profile as it is stored; by default that of a subject of which nothing is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredProfile {
    /// What was learned.
    pub profile: Profile,
    /// Which writing of it that is.
    pub version: ProfileVersion,
}

/// What was learned of a subject, to be added to what is stored of it.
#[derive(Debug, Clone)]
pub struct ProfileChange {
    /// Whom it is about.
    pub subject: Subject,
    /// What was learned since the profile was last stored or read.
    pub delta: Arc<Profile>,
    /// What that comes to, where the writer knows what is stored; else it is read and merged.
    pub whole: Option<WholeProfile>,
    /// Tells versions of writers apart: 15 bits.
    pub writer: u16,
    /// Since when others are to look at it, milliseconds since 1970, where it changes a judgement soon.
    pub news_at: Option<Millis>,
}

impl ProfileChange {
    /// A delta to what may be stored, of a writer that does not know it.
    pub fn merging(subject: &Subject, delta: &Profile) -> Self {
        let delta = Arc::new(delta.clone());
        Self { subject: subject.clone(), delta, whole: None, writer: 0, news_at: None }
    }
}

/// A whole profile, to be stored in place of one that it has all of.
#[derive(Debug, Clone)]
pub struct WholeProfile {
    /// It, in packed form.
    pub packed: Vec<u8>,
    /// When it learned last, milliseconds since 1970; 0 for never.
    pub last_seen: Millis,
    /// What it is written over: the version that was read or written last, and those that writings whose answers were
    /// lost may have given. Over any other the delta is merged.
    pub over: Vec<ProfileVersion>,
    /// The version that it has then.
    pub version: ProfileVersion,
}

impl WholeProfile {
    /// A profile to be written over one of the versions `over`, as `version`; `None` where it cannot be packed.
    pub fn of(profile: &Profile, over: Vec<ProfileVersion>, version: ProfileVersion) -> Option<Self> {
        let packed = pack_profile(profile, Vec::new()).ok()?;
        Some(Self { packed, last_seen: profile.last_seen.unwrap_or_default(), over, version })
    }
}

/// Subjects whose profiles others are to look at, each once, and since when: the latest [`ProfileChange::news_at`].
pub type ProfileNews = Vec<(Subject, Millis)>;

/// What came of a [`ProfileChange`].
#[derive(Debug, Clone, PartialEq)]
pub enum ProfileWritten {
    /// The whole was stored, under its version.
    Whole,
    /// Somebody else had written: the delta was merged into this, which is stored now.
    Merged(Box<StoredProfile>),
}

/// Keeps a profile per subject. [`StandingStore::forget`](super::StandingStore::forget) deletes it.
pub trait ProfileStore: Send + Sync + 'static {
    /// The profile of a subject with its version; `None` if none was learned.
    fn stored_profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StoredProfile>>;

    /// Writes what was learned of many subjects, each of them once, in as few trips as it takes. Nothing is read back
    /// of what nobody else has written. Merging is commutative, so changes of several instances may come in any order.
    /// Answers in the order of `changes`, one by one: what failed is to be tried again.
    ///
    /// # Errors
    /// Inside of the answer [`StoreError::Unavailable`] also when others keep changing the same profile.
    fn write_profiles<'a>(
        &'a self,
        changes: &'a [ProfileChange],
    ) -> StoreResult<'a, Vec<Result<ProfileWritten, StoreError>>>;

    /// Profiles in which something has changed that changes a judgement soon: those with [`ProfileChange::news_at`]
    /// since `since`, of the last minute at most, part of the store by part, each of which may fail. Empty where no
    /// other process writes.
    fn profile_news(&self, since: Millis) -> StoreResult<'_, Vec<Result<ProfileNews, StoreError>>>;

    /// Subjects that have a profile, in the order of [`SeenSubject::precedes`], behind `after`: `limit` of them, and
    /// fewer only where there are no more. One that is seen meanwhile moves to the front of the list.
    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>>;

    /// The profile of a subject; `None` if none was learned.
    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>> {
        Box::pin(async move { Ok(self.stored_profile(subject).await?.map(|stored| stored.profile)) })
    }

    /// Merges a delta into the stored profile and returns the result.
    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile> {
        Box::pin(async move { Ok(self.merge_change(ProfileChange::merging(subject, delta)).await?.profile) })
    }

    /// Merges a change, of a writer that does not know what is stored, and returns the result with its version.
    fn merge_change(&self, change: ProfileChange) -> StoreResult<'_, StoredProfile> {
        Box::pin(async move {
            match self.write_profiles(&[ProfileChange { whole: None, ..change }]).await?.pop() {
                Some(Ok(ProfileWritten::Merged(stored))) => Ok(*stored),
                Some(Err(error)) => Err(error),
                _ => Err(StoreError::Incompatible("a merged profile is missing".into())),
            }
        })
    }
}
