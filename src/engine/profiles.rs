//! Profiles at hand: a bounded cache of what is stored, with what this instance has learned since laid over it.
//! Learning never waits for the store. What changes a judgement soon is flushed within about a second, and other
//! instances look at it then; the rest within a minute, in a bounded part of the time.

use std::{
    collections::HashSet,
    convert::Infallible,
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
    store::{ProfileChange, ProfileStore, ProfileWritten, StoreError, patient},
};

/// Most profiles in memory. A profile of a busy key takes some 20 to 60 KB.
const CACHE_CAP: usize = 100_000;
/// Profiles of one trip: some megabytes at most, packed in a few milliseconds.
const AT_ONCE: usize = 128;
/// What the flushes of a second may take before those that are left wait for the next one: a tenth of the time.
const BUDGET: Duration = Duration::from_millis(100);
/// Where more profiles than that wait, memory is dearer than time: a flush may take half of it.
const MOST_WAITING: usize = 50_000;
/// The budget of a flush where too many wait.
const BUDGET_OF_MANY: Duration = Duration::from_millis(500);
/// News are read again for so long: instances do not write them in the order of their times.
const OVERLAP: Millis = 5 * SECOND;
/// Profiles that others have changed are read so many at once.
const READ_WIDTH: usize = 64;

/// The profiles at hand.
#[derive(Debug)]
pub(super) struct ProfileBook {
    cache: Cache<Subject, ProfileHandle>,
    queue: ProfileQueue,
    /// Learned beside what is at hand: by another run, or by a request that had a profile which has left the cache.
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
        let put = self.cache.get_or_insert_with(subject, || Ok::<_, Infallible>(profile.clone()));
        put.unwrap_or(profile)
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
        let stored = store.merge_change(self.merging(subject, delta)).await?;
        if let Some(handle) = self.get(subject) {
            handle.read_again(stored);
        }
        Ok(())
    }

    fn merging(&self, subject: &Subject, delta: &Profile) -> ProfileChange {
        ProfileChange { writer: self.writer, ..ProfileChange::merging(subject, delta) }
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

    /// Reads the profiles at hand again in which another instance has changed what changes a judgement soon; says how
    /// many those were. What would take more than the budget is read the next time.
    ///
    /// # Errors
    /// The first error of the store: it is asked for the same again then.
    pub(super) async fn read_news(&self, store: &dyn ProfileStore, now: Millis) -> Result<usize, StoreError> {
        use futures::StreamExt;
        let since = self.heard.lock().unwrap_or(now) - OVERLAP;
        let (mut lacking, mut failed) = (Vec::new(), None);
        for news in store.profile_news(since).await? {
            match news {
                Ok(news) => lacking.extend(news.into_iter().filter_map(|(subject, at)| {
                    let handle = self.cache.peek(&subject).filter(|handle| handle.lacks_news(at))?;
                    Some((subject, handle, at))
                })),
                Err(error) => failed = Some(error),
            }
        }
        let _turn = self.turn.lock().await;
        let (began, mut count) = (clock::instant(), 0);
        let reads = lacking.iter().map(|(subject, handle, at)| async move {
            handle.hear(store.stored_profile(subject).await?, *at);
            Ok::<(), StoreError>(())
        });
        let mut reads = futures::stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READ_WIDTH);
        while let Some(read) = reads.next().await {
            match read {
                Ok(()) => count += 1,
                Err(error) => failed = Some(error),
            }
            if began.elapsed() >= BUDGET {
                break;
            }
        }
        if count == lacking.len() && failed.is_none() {
            *self.heard.lock() = Some(now);
        }
        failed.map_or(Ok(count), Err)
    }

    /// Lets a subject's profile go, with what was learned and not flushed.
    pub(super) fn forget(&self, subject: &Subject) {
        self.cache.remove(subject);
        self.queue.forget(subject);
        self.adopted.lock().retain(|change| change.subject != *subject);
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
        let waiting = self.queue.drain().into_iter().map(|(subject, handle)| (subject, handle.leave()));
        adopted.chain(waiting).filter(|(_, left)| *left != Profile::default()).collect()
    }

    /// Takes over what another run had learned and not flushed.
    pub(super) fn take_over(&self, learned: Vec<(Subject, Profile)>) {
        let changes = learned.iter().map(|(subject, profile)| self.merging(subject, profile));
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
    /// The first error of the store; what it did take is not sent again.
    pub(super) async fn flush_due(&self, store: &dyn ProfileStore, now: Millis) -> Result<usize, StoreError> {
        let budget = if self.queue.len() > MOST_WAITING { BUDGET_OF_MANY } else { BUDGET };
        self.flush_within(store, now, now, budget).await
    }

    /// What the store holds of a subject once all that was learned of it here is flushed.
    ///
    /// # Errors
    /// When the store does not answer; what could not be flushed is kept for the next time.
    pub(super) async fn flushed(
        &self,
        store: &dyn ProfileStore,
        subject: &Subject,
        now: Millis,
    ) -> Result<Option<Profile>, StoreError> {
        let _turn = self.turn.lock().await;
        self.adopt_strays();
        self.write_adopted(store, |change| change.subject == *subject).await?;
        let (_, _failed, error) = self.write(store, self.queue.take_one(subject, now), now).await;
        error.map_or(Ok(()), Err)?;
        patient(store.profile(subject)).await
    }

    /// Flushes what changes a judgement soon and what has its turn `until` then, for about as long as `budget` says,
    /// and one trip at least. A trip of which nothing came through is the last.
    pub(super) async fn flush_within(
        &self,
        store: &dyn ProfileStore,
        now: Millis,
        until: Millis,
        budget: Duration,
    ) -> Result<usize, StoreError> {
        let _turn = self.turn.lock().await;
        self.adopt_strays();
        let mut first = self.write_adopted(store, |_| true).await.err();
        let (began, mut count) = (clock::instant(), 0);
        // What is learned meanwhile has its turn with the next flush; and so has what failed, when this one is over.
        let (mut left, mut all_failed) = (self.queue.len(), Vec::new());
        loop {
            let taken = self.queue.take(now, until, AT_ONCE.min(left));
            let tried = taken.all().len();
            if tried == 0 {
                break;
            }
            left -= tried;
            let (written, failed, error) = self.write(store, taken, now).await;
            all_failed.push(failed);
            (first, count) = (first.or(error), count + written);
            if written == 0 || began.elapsed() >= budget {
                break;
            }
        }
        first.map_or(Ok(count), Err)
    }

    /// Writes what was learned of some. Says how many those were, which of them failed, and the first reason.
    async fn write<'q>(
        &self,
        store: &dyn ProfileStore,
        taken: Taken<'q>,
        now: Millis,
    ) -> (usize, Taken<'q>, Option<StoreError>) {
        let sent = taken.all().iter().map(|(subject, handle)| handle.send(subject, self.writer, now));
        let sent: Vec<Option<ProfileChange>> = sent.collect();
        let is_sent: Vec<bool> = sent.iter().map(Option::is_some).collect();
        let changes: Vec<ProfileChange> = sent.into_iter().flatten().collect();
        let mut answers = write_all(store, &changes).await.into_iter();
        let (mut written, mut first) = (0, None);
        let came = is_sent.into_iter().map(|is_sent| {
            if !is_sent {
                // There was nothing to send: nothing came between what is at hand and what is stored.
                written += 1;
                return Some(ProfileWritten::Whole);
            }
            match answers.next().unwrap_or_else(missing) {
                Ok(answer) => {
                    written += 1;
                    Some(answer)
                }
                Err(error) => {
                    first.get_or_insert(error);
                    None
                }
            }
        });
        let failed = taken.end(came.collect());
        (written, failed, first)
    }

    /// What was learned by profiles that are not at hand goes to the store as it is.
    fn adopt_strays(&self) {
        for (subject, handle) in self.queue.take_strays() {
            let change = self.merging(&subject, &handle.leave());
            self.adopted.lock().push(change);
        }
    }

    /// Writes what was adopted and is `wanted`; what fails stays.
    async fn write_adopted(
        &self,
        store: &dyn ProfileStore,
        wanted: impl Fn(&ProfileChange) -> bool,
    ) -> Result<(), StoreError> {
        let all: Vec<ProfileChange> = self.adopted.lock().iter().filter(|one| wanted(one)).cloned().collect();
        let mut first = None;
        for changes in all.chunks(AT_ONCE) {
            let answers = write_all(store, changes).await;
            let mut done = HashSet::new();
            for (change, answer) in changes.iter().zip(answers) {
                match answer {
                    Ok(written) => {
                        done.insert(Arc::as_ptr(&change.delta));
                        self.take_in(&change.subject, written);
                    }
                    Err(error) => {
                        first.get_or_insert(error);
                    }
                }
            }
            self.adopted.lock().retain(|one| !done.contains(&Arc::as_ptr(&one.delta)));
            if done.is_empty() {
                break;
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// What is at hand of a subject follows what is stored of it now.
    fn take_in(&self, subject: &Subject, written: ProfileWritten) {
        if let (ProfileWritten::Merged(stored), Some(handle)) = (written, self.get(subject)) {
            handle.read_again(*stored);
        }
    }
}

/// Writes all, as long as a background call may take: an answer for each.
async fn write_all(
    store: &dyn ProfileStore,
    changes: &[ProfileChange],
) -> Vec<Result<ProfileWritten, StoreError>> {
    if changes.is_empty() {
        return Vec::new();
    }
    match patient(store.write_profiles(changes)).await {
        Ok(answers) => answers,
        Err(error) => changes.iter().map(|_| Err(error.clone())).collect(),
    }
}

fn missing() -> Result<ProfileWritten, StoreError> {
    Err(StoreError::Incompatible("an answer about a profile is missing".into()))
}

/// Whether what a request says about its part changes a judgement soon.
fn accuses(sighting: &PartSighting) -> bool {
    sighting.accused || sighting.stopped_as.is_some() || sighting.new_values != 0
}
