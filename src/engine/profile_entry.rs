//! One profile in memory: what is stored, as it was last read or written, and what was learned here since laid over it.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{
    detect::{Recent, Seen},
    domain::{Millis, profile::Profile, subject::Subject},
    store::{ProfileChange, ProfileVersion, ProfileWritten, StoredProfile, WholeProfile},
};

/// What was learned and is on its way to the store, or may have come there: its answer was lost.
#[derive(Debug)]
struct Sent {
    delta: Arc<Profile>,
    /// The versions that were given to it, the latest last: the store has one of them if it took any.
    versions: Vec<ProfileVersion>,
    /// Whether others are to look at it.
    is_news: bool,
}

/// Versions that are remembered of what is sent again and again without an answer.
const MOST_VERSIONS: usize = 8;

#[derive(Debug, Default)]
struct Entry {
    /// What is stored, and everything learned here.
    view: Profile,
    /// Learned here since something was sent last.
    pending: Option<Box<Profile>>,
    sent: Option<Sent>,
    /// Which writing of the stored profile the view has all of; `None`: it may lack what is stored.
    version: Option<ProfileVersion>,
    /// Whether it waits for a flush.
    waits: bool,
    /// Whether what was learned since changes a judgement soon.
    presses: bool,
    /// Of when the latest news are that were sent from here or read.
    heard: Millis,
    /// The last requests seen here.
    recent: Recent,
}

/// What a change of a profile asks of the flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asks {
    /// It did not wait for a flush before.
    pub joins: bool,
    /// It may not wait for long any more.
    pub presses: bool,
}

/// A profile in memory, shared by all requests of its subject.
#[derive(Debug, Clone)]
pub(super) struct ProfileHandle(Arc<Mutex<Entry>>);

impl ProfileHandle {
    /// A profile of which nobody knows whether more is stored.
    pub(super) fn of(profile: Profile) -> Self {
        Self(Arc::new(Mutex::new(Entry { view: profile, ..Entry::default() })))
    }

    /// A profile as it is stored; `None`: nothing is.
    pub(super) fn stored(stored: Option<StoredProfile>) -> Self {
        let StoredProfile { profile, version } = stored.unwrap_or_default();
        let entry = Entry { view: profile, version: Some(version), ..Entry::default() };
        Self(Arc::new(Mutex::new(entry)))
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

    /// Changes the profile in memory alone.
    pub(super) fn change(&self, change: impl FnOnce(&mut Profile)) {
        change(&mut self.0.lock().view);
    }

    /// Changes the profile, notes the change for the next flush, and asks for that where it must; `presses`: the change
    /// itself says that it changes a judgement soon.
    pub(super) fn learn(&self, presses: bool, change: impl Fn(&mut Profile), ask: impl FnOnce(Asks)) {
        let mut entry = self.0.lock();
        let known = entry.view.things_known();
        change(&mut entry.view);
        let presses = presses || entry.view.things_known() != known;
        change(entry.pending.get_or_insert_default());
        let presses = presses || entry.has_doubled();
        let asks = Asks { joins: !entry.waits, presses: presses && !entry.presses };
        if asks.joins || asks.presses {
            (entry.waits, entry.presses) = (true, entry.presses || presses);
            // With the entry locked, so that the end of a flush does not come between.
            ask(asks);
        }
    }

    /// All that the store may lack, to be sent; `None`: there is nothing.
    pub(super) fn send(&self, subject: &Subject, writer: u16, now: Millis) -> Option<ProfileChange> {
        let mut guard = self.0.lock();
        let entry = &mut *guard;
        let pending = entry.pending.take().map(|pending| *pending);
        let lost = entry.sent.take();
        let is_news = std::mem::take(&mut entry.presses) || lost.as_ref().is_some_and(|sent| sent.is_news);
        let delta = match (&lost, pending) {
            (None, None) => return None,
            (None, Some(pending)) => Arc::new(pending),
            (Some(sent), None) => sent.delta.clone(),
            (Some(sent), Some(pending)) => {
                let mut delta = (*sent.delta).clone();
                delta.merge(&pending);
                Arc::new(delta)
            }
        };
        let mut versions = lost.map(|sent| sent.versions).unwrap_or_default();
        let before = entry.version.unwrap_or_default();
        let over: Vec<ProfileVersion> = std::iter::once(before).chain(versions.iter().copied()).collect();
        let version = over.iter().max().copied().unwrap_or_default().next(writer);
        versions.push(version);
        versions.drain(..versions.len().saturating_sub(MOST_VERSIONS));
        let whole = entry.version.and_then(|_| WholeProfile::of(&entry.view, over, version));
        entry.sent = Some(Sent { delta: delta.clone(), versions, is_news });
        let news_at = is_news.then_some(now);
        entry.heard = news_at.unwrap_or(entry.heard);
        Some(ProfileChange { subject: subject.clone(), delta, whole, writer, news_at })
    }

    /// Takes in what came of what was sent. `end` gets whether something waits still, and whether that presses.
    pub(super) fn written(&self, written: ProfileWritten, end: impl FnOnce(bool, bool)) {
        let mut guard = self.0.lock();
        let entry = &mut *guard;
        match written {
            ProfileWritten::Whole => {
                let latest = entry.sent.take().and_then(|sent| sent.versions.last().copied());
                entry.version = latest.or(entry.version);
            }
            ProfileWritten::Merged(stored) => {
                entry.sent = None;
                entry.take_stored(*stored);
            }
        }
        entry.waits = entry.pending.is_some();
        // With the entry locked, so that what is learned next asks after this.
        end(entry.waits, entry.presses);
    }

    /// Takes in what is stored now, which somebody else has written.
    pub(super) fn read_again(&self, stored: StoredProfile) {
        self.0.lock().take_stored(stored);
    }

    /// Whether it lacks news of then. Of two instances that have news in the same millisecond one may take the other's
    /// for its own: it knows them with its next flush.
    pub(super) fn lacks_news(&self, of: Millis) -> bool {
        self.0.lock().heard != of
    }

    /// Takes in what is stored, which has news of then.
    pub(super) fn hear(&self, stored: Option<StoredProfile>, of: Millis) {
        let mut entry = self.0.lock();
        entry.heard = of;
        stored.into_iter().for_each(|stored| entry.take_stored(stored));
    }

    /// Whether it is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// All that the store may lack, taken: it waits for no flush any more.
    pub(super) fn leave(&self) -> Profile {
        let mut entry = self.0.lock();
        (entry.waits, entry.presses) = (false, false);
        let sent = entry.sent.take().map(|sent| Arc::unwrap_or_clone(sent.delta));
        let mut left = sent.unwrap_or_default();
        if let Some(pending) = entry.pending.take() {
            left.merge(&pending);
        }
        left
    }
}

impl Entry {
    /// Whether at least half of what is known was learned since the last flush: of a young profile each request counts.
    fn has_doubled(&self) -> bool {
        let pending = self.pending.as_ref().map_or(0, |pending| pending.requests);
        let sent = self.sent.as_ref().map_or(0, |sent| sent.delta.requests);
        pending > 0 && (pending + sent) * 2 >= self.view.requests
    }

    /// Lays what was learned here, and may not be stored yet, over what is stored.
    fn take_stored(&mut self, stored: StoredProfile) {
        let StoredProfile { mut profile, version } = stored;
        if let Some(sent) = self.sent.take_if(|sent| sent.versions.contains(&version)) {
            // It is what was sent from here, though no answer came, and the view has all of it. Of what was sent more
            // than once, an earlier sending lacks what was learned before the latest.
            self.version = Some(version);
            self.sent = Some(sent).filter(|sent| sent.versions.last() != Some(&version));
            return;
        }
        if let Some(sent) = &self.sent {
            profile.merge(&sent.delta);
        }
        if let Some(pending) = &self.pending {
            profile.merge(pending);
        }
        (self.view, self.version) = (profile, Some(version));
    }
}
