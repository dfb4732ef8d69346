//! Profiles at hand: a bounded cache of what is stored, with what this instance has learned since laid over it.
//! Learning never waits for the store. What changes a judgement soon is flushed within about a second, and other
//! instances look at it then; the rest within a minute, in a bounded part of the time.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::{
    profile_entry::ProfileHandle,
    profile_queue::{ProfileQueue, Taken},
};
use crate::{
    clock,
    domain::{
        Millis, SECOND,
        finding::Finding,
        profile::{PartSighting, Profile, Sample},
        subject::Subject,
    },
    store::{ProfileChange, ProfileStore, ProfileWritten, StoreError},
};

/// Most profiles in memory. A mature profile takes 16 KB at most.
const CACHE_CAP: usize = 100_000;
/// Profiles of one trip: some megabytes at most.
const AT_ONCE: usize = 512;
/// What the flushes of a second may take before those that are left wait for the next one: a tenth of the time.
const BUDGET: Duration = Duration::from_millis(100);
/// News are read again for so long: instances do not write them in the order of their times.
const OVERLAP: Millis = 5 * SECOND;
/// Profiles that others have changed are read so many at once.
const READ_WIDTH: usize = 16;
/// Profiles that others have changed are read so many a second at most; the others then.
const MOST_READ: usize = 2_000;

/// The profiles at hand.
#[derive(Debug)]
pub(super) struct ProfileBook {
    cache: Cache<Subject, ProfileHandle>,
    queue: ProfileQueue,
    /// What another run had learned and not flushed.
    adopted: Mutex<Vec<ProfileChange>>,
    /// One flush, or one reading of what others have written, at a time.
    turn: tokio::sync::Mutex<()>,
    /// Until when news were read.
    heard: Mutex<Option<Millis>>,
    /// Tells the versions of this book from those of others.
    writer: u16,
    /// Whether anybody flushes. In replay nobody does, and the view is all there is.
    flushes: bool,
}

impl ProfileBook {
    /// A book for at most `capacity` profiles.
    pub(super) fn new(capacity: usize, flushes: bool) -> Self {
        let capacity = if flushes { capacity.min(CACHE_CAP) } else { capacity };
        Self {
            cache: Cache::new(capacity.max(1)),
            queue: ProfileQueue::default(),
            adopted: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            heard: Mutex::default(),
            writer: RandomState::new().build_hasher().finish() as u16 | 1,
            flushes,
        }
    }

    /// The profile of a subject, if it is at hand.
    pub(super) fn get(&self, subject: &Subject) -> Option<ProfileHandle> {
        if let Some(handle) = self.cache.get(subject) {
            return Some(handle);
        }
        // What has left the cache and is not flushed must not be read from the store.
        let waiting = self.queue.get(subject)?;
        self.cache.insert(subject.clone(), waiting.clone());
        Some(waiting)
    }

    /// Puts a profile at hand, unless there is one already.
    pub(super) fn put(&self, subject: &Subject, profile: ProfileHandle) -> ProfileHandle {
        if let Some(there) = self.get(subject) {
            return there;
        }
        self.cache.insert(subject.clone(), profile.clone());
        profile
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
        if let Some(handle) = self.get(subject).filter(|_| !self.flushes) {
            // What is stored lacks all that was learned here, so it must not take its place.
            handle.change(|profile| profile.merge(delta));
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let change = ProfileChange { writer: self.writer, ..ProfileChange::merging(subject, delta) };
        match store.write_profiles(&[change]).await?.pop() {
            Some(Ok(ProfileWritten::Merged(stored))) => {
                if let Some(handle) = self.get(subject) {
                    handle.read_again(*stored);
                }
                Ok(())
            }
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
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
        let Some(handle) = self.get(subject).filter(|_| self.flushes) else { return Ok(()) };
        let _turn = self.turn.lock().await;
        if let Some(stored) = store.stored_profile(subject).await? {
            handle.read_again(stored);
        }
        Ok(())
    }

    /// Reads the profiles at hand again in which another instance has changed what changes a judgement soon: some of
    /// them, where there are very many.
    ///
    /// # Errors
    /// When the store does not answer: it is asked for the same again then.
    pub(super) async fn read_news(&self, store: &dyn ProfileStore, now: Millis) -> Result<usize, StoreError> {
        use futures::{StreamExt, TryStreamExt};
        let since = self.heard.lock().unwrap_or(now) - OVERLAP;
        let news = store.profile_news(since).await?.into_iter();
        let lacking = news.filter_map(|(subject, version)| {
            self.cache.peek(&subject).filter(|handle| handle.lacks(version)).map(|handle| (subject, handle))
        });
        let lacking: Vec<_> = lacking.take(MOST_READ).collect();
        let count = lacking.len();
        let _turn = self.turn.lock().await;
        let reads = lacking.into_iter().map(|(subject, handle)| async move {
            let stored = store.stored_profile(&subject).await?;
            stored.into_iter().for_each(|stored| handle.read_again(stored));
            Ok::<(), StoreError>(())
        });
        futures::stream::iter(reads.collect::<Vec<_>>())
            .buffer_unordered(READ_WIDTH)
            .try_collect::<Vec<()>>()
            .await?;
        if count < MOST_READ {
            *self.heard.lock() = Some(now);
        }
        Ok(count)
    }

    /// Lets a subject's profile go, with what was learned and not flushed.
    pub(super) fn forget(&self, subject: &Subject) {
        self.cache.remove(subject);
        self.queue.forget(subject);
    }

    /// Learns one request, in memory; a flush takes it to the store.
    pub(super) fn learn(
        &self,
        subject: &Subject,
        handle: &ProfileHandle,
        sample: &Sample<'_>,
        sighting: Option<&PartSighting>,
    ) {
        let accuses = sighting.is_some_and(accuses);
        self.change((subject, handle), accuses, sample.now, |profile| {
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
        self.change((subject, handle), true, now, |profile| profile.later.parts.see(accused, now));
    }

    /// Learns what became of a request that was learned when it was seen on its way.
    pub(super) fn complete(&self, subject: &Subject, handle: &ProfileHandle, sample: &Sample<'_>) {
        self.change((subject, handle), false, sample.now, |profile| profile.complete(sample));
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
        let alarms = || findings.iter().filter(|finding| finding.bars_learning());
        let presses = alarms().next().is_some() || sighting.is_some_and(accuses);
        self.change((subject, handle), presses, sample.now, |profile| {
            profile.count_flagged(sample.now, sample.tokens, sample.cost_nanos);
            sighting.iter().for_each(|sighting| profile.later.parts.see(sighting, sample.now));
            for finding in alarms() {
                profile.later.alarms.raise(finding.kind, finding.about, sample.now);
            }
        });
    }

    fn change(
        &self,
        (subject, handle): (&Subject, &ProfileHandle),
        presses: bool,
        now: Millis,
        change: impl Fn(&mut Profile),
    ) {
        if self.flushes {
            handle.learn(presses, change, |asks| self.queue.ask(subject, handle, asks, now));
        } else {
            handle.change(change);
        }
    }

    /// What was learned and not flushed, taken.
    pub(super) fn leave(&self) -> Vec<(Subject, Profile)> {
        let adopted = std::mem::take(&mut *self.adopted.lock()).into_iter();
        let adopted = adopted.map(|change| (change.subject, Arc::unwrap_or_clone(change.delta)));
        adopted
            .chain(self.queue.drain().into_iter().map(|(subject, handle)| (subject, handle.leave())))
            .collect()
    }

    /// Takes over what another run had learned and not flushed.
    pub(super) fn take_over(&self, learned: Vec<(Subject, Profile)>) {
        let changes = learned.iter().map(|(subject, profile)| ProfileChange {
            writer: self.writer,
            ..ProfileChange::merging(subject, profile)
        });
        self.adopted.lock().extend(changes);
    }

    /// Flushes all that was learned. What cannot be flushed is kept for the next time.
    ///
    /// # Errors
    /// The first error of the store.
    pub(super) async fn flush(&self, store: &dyn ProfileStore, now: Millis) -> Result<usize, StoreError> {
        self.flush_within(store, now, Millis::MAX, Duration::MAX).await
    }

    /// Flushes what changes a judgement soon, and what has waited for its time at `now`; what would take more than the
    /// budget waits for the next time.
    ///
    /// # Errors
    /// The first error of the store.
    pub(super) async fn flush_due(&self, store: &dyn ProfileStore, now: Millis) -> Result<usize, StoreError> {
        self.flush_within(store, now, now, BUDGET).await
    }

    /// Flushes what was learned of one subject.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(super) async fn flush_one(
        &self,
        store: &dyn ProfileStore,
        subject: &Subject,
        now: Millis,
    ) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.write(store, self.queue.take_one(subject), now).await.map(drop)
    }

    /// Flushes what changes a judgement soon and what has its turn `until` then, for about as long as `budget` says,
    /// and one trip at least.
    pub(super) async fn flush_within(
        &self,
        store: &dyn ProfileStore,
        now: Millis,
        until: Millis,
        budget: Duration,
    ) -> Result<usize, StoreError> {
        let _turn = self.turn.lock().await;
        self.write_adopted(store).await?;
        let (began, mut count) = (clock::instant(), 0);
        // What is learned meanwhile has its turn with the next flush.
        let mut left = self.queue.len();
        loop {
            let taken = self.queue.take(until, AT_ONCE.min(left));
            if taken.all().is_empty() {
                return Ok(count);
            }
            left -= taken.all().len();
            count += self.write(store, taken, now).await?;
            if began.elapsed() >= budget {
                return Ok(count);
            }
        }
    }

    /// Writes what was learned of some; says how many those were.
    async fn write(
        &self,
        store: &dyn ProfileStore,
        taken: Taken<'_>,
        now: Millis,
    ) -> Result<usize, StoreError> {
        let sent = taken.all().iter().map(|(subject, handle)| handle.send(subject, self.writer, now));
        let (sent, changes): (Vec<bool>, Vec<Option<ProfileChange>>) =
            sent.map(|change| (change.is_some(), change)).unzip();
        let changes: Vec<ProfileChange> = changes.into_iter().flatten().collect();
        let answers = match store.write_profiles(&changes).await {
            Ok(answers) => answers,
            Err(error) => changes.iter().map(|_| Err(error.clone())).collect(),
        };
        let (mut answers, mut failed) = (answers.into_iter(), None);
        let came = sent.into_iter().map(|sent| match sent.then(|| answers.next()).flatten() {
            // There was nothing to send: nothing came between what is at hand and what is stored.
            None if !sent => Some(ProfileWritten::Whole),
            None => {
                failed.get_or_insert(StoreError::Incompatible("answers about profiles are missing".into()));
                None
            }
            Some(Ok(written)) => Some(written),
            Some(Err(error)) => {
                failed.get_or_insert(error);
                None
            }
        });
        taken.end(came.collect(), now);
        failed.map_or(Ok(changes.len()), Err)
    }

    async fn write_adopted(&self, store: &dyn ProfileStore) -> Result<(), StoreError> {
        let changes = self.adopted.lock().clone();
        if changes.is_empty() {
            return Ok(());
        }
        let answers = store.write_profiles(&changes).await?;
        let mut left = Vec::new();
        let mut failed = None;
        for (change, answer) in changes.into_iter().zip(answers) {
            match answer {
                Ok(ProfileWritten::Merged(stored)) => {
                    if let Some(handle) = self.get(&change.subject) {
                        handle.read_again(*stored);
                    }
                }
                Ok(ProfileWritten::Whole) => {}
                Err(error) => {
                    failed.get_or_insert(error);
                    left.push(change);
                }
            }
        }
        *self.adopted.lock() = left;
        failed.map_or(Ok(()), Err)
    }
}

/// Whether what a request says about its part changes a judgement soon.
fn accuses(sighting: &PartSighting) -> bool {
    sighting.accused || sighting.stopped_as.is_some() || sighting.new_values != 0
}
