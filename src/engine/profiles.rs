//! Profiles at hand: a bounded cache of what is stored, with what this instance has learned since laid over it.
//! Learning never waits for the store; deltas are flushed every second or so and merge in any order.

use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::{
    detect::{Recent, Seen},
    domain::{
        Millis,
        finding::Finding,
        profile::{PartSighting, Profile, Sample},
        subject::Subject,
    },
    store::{ProfileStore, StoreError, patient},
};

/// Most profiles in memory. A profile of a busy key takes some 20 to 60 KB.
const CACHE_CAP: usize = 100_000;
/// Most profiles flushed side by side.
const FLUSH_WIDTH: usize = 16;

#[derive(Debug, Default)]
struct Entry {
    /// What is stored, as last read, and everything learned here.
    view: Profile,
    /// Learned here and not yet flushed.
    pending: Profile,
    /// The last requests seen here.
    recent: Recent,
}

/// A profile in memory, shared by all requests of its subject.
#[derive(Debug, Clone)]
pub(super) struct ProfileHandle(Arc<Mutex<Entry>>);

impl ProfileHandle {
    /// A profile that nobody else will see.
    pub(super) fn of(profile: Profile) -> Self {
        Self(Arc::new(Mutex::new(Entry { view: profile, ..Entry::default() })))
    }

    /// The profile, to be looked at for a while.
    pub(super) fn read(&self) -> impl std::ops::Deref<Target = Profile> + '_ {
        parking_lot::MutexGuard::map(self.0.lock(), |entry| &mut entry.view)
    }

    /// Looks at the profile.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Profile) -> T) -> T {
        look(&self.0.lock().view)
    }

    /// Judges a request by the profile and the last requests, and remembers it among these, if it is to be.
    pub(super) fn judge<T>(&self, remembered: bool, judge: impl FnOnce(&Profile, &Recent) -> (T, Seen)) -> T {
        let mut entry = self.0.lock();
        let (answer, seen) = judge(&entry.view, &entry.recent);
        if remembered {
            entry.recent.push(seen);
        }
        answer
    }
}

/// The profiles at hand.
#[derive(Debug)]
pub(super) struct ProfileBook {
    cache: Cache<Subject, ProfileHandle>,
    dirty: Mutex<Vec<(Subject, ProfileHandle)>>,
    /// Held while it is flushed: what is on its way to the store is in neither.
    flushing: tokio::sync::Mutex<()>,
    /// Whether anybody flushes. In replay nobody does, and the view is all there is.
    flushes: bool,
}

impl ProfileBook {
    /// A book for at most `capacity` profiles.
    pub(super) fn new(capacity: usize, flushes: bool) -> Self {
        let capacity = if flushes { capacity.min(CACHE_CAP) } else { capacity };
        let (cache, flushing) = (Cache::new(capacity.max(1)), tokio::sync::Mutex::default());
        Self { cache, dirty: Mutex::default(), flushing, flushes }
    }

    /// The profile of a subject, if it is at hand.
    pub(super) fn get(&self, subject: &Subject) -> Option<ProfileHandle> {
        self.cache.get(subject)
    }

    /// Puts what the store had at hand (an empty profile if it had nothing).
    pub(super) fn put(&self, subject: &Subject, stored: Profile) -> ProfileHandle {
        if let Some(there) = self.cache.get(subject) {
            return there;
        }
        let handle = ProfileHandle::of(stored);
        self.cache.insert(subject.clone(), handle.clone());
        handle
    }

    /// Adds what somebody else has learned of a subject: to what is stored, and to what is at hand.
    ///
    /// # Errors
    /// When it could not be written.
    pub(super) async fn add(
        &self,
        store: &dyn ProfileStore,
        subject: &Subject,
        delta: &Profile,
    ) -> Result<(), StoreError> {
        if let Some(handle) = self.cache.get(subject).filter(|_| !self.flushes) {
            // What is stored lacks all that was learned here, so it must not take its place.
            handle.0.lock().view.merge(delta);
            return Ok(());
        }
        let mut stored = store.merge_profile(subject, delta).await?;
        if let Some(handle) = self.cache.get(subject) {
            let mut entry = handle.0.lock();
            stored.merge(&entry.pending);
            entry.view = stored;
        }
        Ok(())
    }

    /// Reads what is stored of a subject again, if its profile is at hand: another instance has changed it. What was
    /// learned here and not flushed stays.
    ///
    /// # Errors
    /// When the store does not answer: what is at hand stays as it is.
    pub(super) async fn read_again(
        &self,
        store: &dyn ProfileStore,
        subject: &Subject,
    ) -> Result<(), StoreError> {
        let Some(handle) = self.cache.get(subject).filter(|_| self.flushes) else { return Ok(()) };
        let Some(mut stored) = store.profile(subject).await? else { return Ok(()) };
        let mut entry = handle.0.lock();
        stored.merge(&entry.pending);
        // What is just being flushed may be in neither; of parts, that would let a stopped one through.
        stored.later.parts.merge(&entry.view.later.parts);
        entry.view = stored;
        Ok(())
    }

    /// Lets a subject's profile go, with what was learned and not flushed.
    pub(super) fn forget(&self, subject: &Subject) {
        self.cache.remove(subject);
        self.dirty.lock().retain(|(s, _)| s != subject);
    }

    /// Learns one request, in memory; the next flush takes it to the store.
    pub(super) fn learn(
        &self,
        subject: &Subject,
        handle: &ProfileHandle,
        sample: &Sample<'_>,
        sighting: Option<&PartSighting>,
    ) {
        self.change(subject, handle, |profile| {
            profile.learn(sample);
            let Some(sighting) = sighting else { return };
            profile.later.parts.see(sighting, sample.now);
            if let Some(pair) = sighting.lag {
                profile.later.lag.add(pair, sample.now);
            }
            if sighting.repeats {
                profile.later.repeats.add(sample.now);
            }
        });
    }

    /// Notes what a part of the key's traffic is accused of by a request that was refused.
    pub(super) fn accuse(
        &self,
        subject: &Subject,
        handle: &ProfileHandle,
        accused: &PartSighting,
        now: Millis,
    ) {
        self.change(subject, handle, |profile| profile.later.parts.see(accused, now));
    }

    /// Learns what became of a request that was learned when it was seen on its way.
    pub(super) fn complete(&self, subject: &Subject, handle: &ProfileHandle, sample: &Sample<'_>) {
        self.change(subject, handle, |profile| profile.complete(sample));
    }

    /// Counts a request that teaches nothing, and the alarms that it raised.
    pub(super) fn count_flagged(
        &self,
        subject: &Subject,
        handle: &ProfileHandle,
        sample: &Sample<'_>,
        findings: &[Finding],
        sighting: Option<&PartSighting>,
    ) {
        self.change(subject, handle, |profile| {
            profile.count_flagged(sample.now, sample.tokens, sample.cost_nanos);
            sighting.iter().for_each(|sighting| profile.later.parts.see(sighting, sample.now));
            for finding in findings.iter().filter(|finding| finding.bars_learning()) {
                profile.later.alarms.raise(finding.kind, finding.about, sample.now);
            }
        });
    }

    fn change(&self, subject: &Subject, handle: &ProfileHandle, change: impl Fn(&mut Profile)) {
        let mut entry = handle.0.lock();
        change(&mut entry.view);
        if self.flushes {
            let first = entry.pending.is_empty();
            change(&mut entry.pending);
            drop(entry);
            if first {
                self.dirty.lock().push((subject.clone(), handle.clone()));
            }
        }
    }

    /// What was learned and not flushed, taken.
    pub(super) fn leave(&self) -> Vec<(Subject, Profile)> {
        let dirty = std::mem::take(&mut *self.dirty.lock());
        dirty
            .into_iter()
            .map(|(subject, handle)| (subject, std::mem::take(&mut handle.0.lock().pending)))
            .collect()
    }

    /// Takes over what another run had learned and not flushed.
    pub(super) fn take_over(&self, learned: Vec<(Subject, Profile)>) {
        let pending =
            |profile| ProfileHandle(Arc::new(Mutex::new(Entry { pending: profile, ..Entry::default() })));
        let learned = learned.into_iter().map(|(subject, profile)| (subject, pending(profile)));
        self.dirty.lock().extend(learned);
    }

    /// Flushes what was learned. What cannot be flushed is kept for the next time.
    ///
    /// # Errors
    /// The first error of the store.
    pub(super) async fn flush(&self, store: &dyn ProfileStore) -> Result<usize, StoreError> {
        use futures::StreamExt;
        let _alone = self.flushing.lock().await;
        let dirty = std::mem::take(&mut *self.dirty.lock());
        let count = dirty.len();
        let results = futures::stream::iter(dirty)
            .map(|(subject, handle)| async move { self.flush_one(store, subject, handle).await })
            .buffer_unordered(FLUSH_WIDTH)
            .collect::<Vec<_>>()
            .await;
        results.into_iter().collect::<Result<Vec<()>, _>>().map(|_| count)
    }

    /// What the store holds of a subject once all that was learned of it here is flushed.
    ///
    /// # Errors
    /// When the store does not answer; what could not be flushed is kept for the next time.
    pub(super) async fn flushed(
        &self,
        store: &dyn ProfileStore,
        subject: &Subject,
    ) -> Result<Option<Profile>, StoreError> {
        let _alone = self.flushing.lock().await;
        let ours: Vec<_> = self.dirty.lock().extract_if(.., |(dirty, _)| dirty == subject).collect();
        for (subject, handle) in ours {
            self.flush_one(store, subject, handle).await?;
        }
        patient(store.profile(subject)).await
    }

    async fn flush_one(
        &self,
        store: &dyn ProfileStore,
        subject: Subject,
        handle: ProfileHandle,
    ) -> Result<(), StoreError> {
        let delta = std::mem::take(&mut handle.0.lock().pending);
        // Bounded here: whoever waits no longer would lose what was taken.
        match patient(store.merge_profile(&subject, &delta)).await {
            Ok(mut merged) => {
                let mut entry = handle.0.lock();
                merged.merge(&entry.pending);
                entry.view = merged;
                Ok(())
            }
            Err(error) => {
                let mut entry = handle.0.lock();
                let listed = !entry.pending.is_empty();
                entry.pending.merge(&delta);
                drop(entry);
                if !listed {
                    self.dirty.lock().push((subject, handle));
                }
                Err(error)
            }
        }
    }
}
