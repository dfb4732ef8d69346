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
    /// The version that the store gave it if it took it.
    version: ProfileVersion,
    /// Whether others are to look at it.
    is_news: bool,
}

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
        let before = entry.version.unwrap_or_default();
        let lost = lost.map_or(before, |sent| sent.version);
        let version = before.max(lost).next(writer);
        let whole = entry.version.and_then(|_| WholeProfile::of(&entry.view, [before, lost], version));
        entry.sent = Some(Sent { delta: delta.clone(), version, is_news });
        let news_at = is_news.then_some(now);
        Some(ProfileChange { subject: subject.clone(), delta, whole, writer, news_at })
    }

    /// Takes in what came of what was sent; `None`: the store did not take it, or did not answer. `end` is asked with
    /// whether something waits still, and whether that presses.
    pub(super) fn written(&self, written: Option<ProfileWritten>, end: impl FnOnce(bool, bool)) {
        let mut guard = self.0.lock();
        let entry = &mut *guard;
        match written {
            Some(ProfileWritten::Whole) => {
                entry.version = entry.sent.take().map(|sent| sent.version).or(entry.version);
            }
            Some(ProfileWritten::Merged(stored)) => {
                entry.sent = None;
                entry.take_stored(*stored);
            }
            None => {}
        }
        entry.waits = entry.pending.is_some() || entry.sent.is_some();
        end(entry.waits, entry.presses);
    }

    /// Takes in what is stored now, which somebody else has written.
    pub(super) fn read_again(&self, stored: StoredProfile) {
        self.0.lock().take_stored(stored);
    }

    /// Whether something newer than what is at hand is stored under this version.
    pub(super) fn lacks(&self, version: ProfileVersion) -> bool {
        let entry = self.0.lock();
        let is_own = entry.sent.as_ref().is_some_and(|sent| sent.version == version);
        !is_own && entry.version.is_some_and(|known| known < version)
    }

    /// All that the store may lack, taken.
    pub(super) fn leave(&self) -> Profile {
        let mut entry = self.0.lock();
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
        if self.sent.as_ref().is_some_and(|sent| sent.version == version) {
            self.sent = None;
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
