//! Which profiles wait for a flush, and for how long: those that change a judgement soon go first, each of the others
//! within a minute, spread over it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use parking_lot::Mutex;

use super::profile_entry::{Asks, ProfileHandle};
use crate::{
    domain::{Millis, SECOND, stable_hash, subject::Subject},
    store::ProfileWritten,
};

/// What changes no judgement soon waits for at least half, and at most all of this.
const LONGEST: Millis = 60 * SECOND;

/// When it is the turn of a profile: then, and among those of one moment in the order in which they came.
type Turn = (Millis, u64);

#[derive(Debug)]
struct Waiting {
    handle: ProfileHandle,
    /// `None` while it is being flushed.
    turn: Option<Turn>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<Subject, Waiting>,
    /// Subjects that go first, the earliest in front; some may have been flushed meanwhile.
    pressing: VecDeque<Subject>,
    turns: BTreeMap<Turn, Subject>,
    /// Profiles of subjects of which another one waits already.
    strays: Vec<(Subject, ProfileHandle)>,
    came: u64,
}

/// The profiles that wait.
#[derive(Debug, Default)]
pub(super) struct ProfileQueue(Mutex<Inner>);

/// Profiles that are being flushed. Those that are left when it is dropped wait again.
pub(super) struct Taken<'a> {
    queue: &'a ProfileQueue,
    left: Vec<(Subject, ProfileHandle)>,
    now: Millis,
}

impl ProfileQueue {
    /// Has a profile wait, or go first.
    pub(super) fn ask(&self, subject: &Subject, handle: &ProfileHandle, asks: Asks, now: Millis) {
        let mut inner = self.0.lock();
        if asks.joins {
            // A request may hold a profile that has left the cache, while another one was read for the next request.
            if inner.waiting.get(subject).is_some_and(|other| !other.handle.is(handle)) {
                inner.strays.push((subject.clone(), handle.clone()));
                return;
            }
            let turn = inner.give_turn(subject, due(subject, now));
            inner.waiting.insert(subject.clone(), Waiting { handle: handle.clone(), turn: Some(turn) });
        }
        if asks.presses {
            inner.pressing.push_back(subject.clone());
        }
    }

    /// The profile of a subject, if it waits: it may have left the cache.
    pub(super) fn get(&self, subject: &Subject) -> Option<ProfileHandle> {
        self.0.lock().waiting.get(subject).map(|waiting| waiting.handle.clone())
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Takes up to `most` profiles: those that press, then those whose turn it is at `until`. Those that fail have
    /// their next turn at `now`.
    pub(super) fn take(&self, now: Millis, until: Millis, most: usize) -> Taken<'_> {
        let mut inner = self.0.lock();
        let mut left = Vec::new();
        while left.len() < most {
            let subject = match inner.pressing.pop_front() {
                Some(subject) => subject,
                None => match inner.turns.first_entry().filter(|first| first.key().0 <= until) {
                    Some(first) => first.get().clone(),
                    None => break,
                },
            };
            left.extend(inner.begin(&subject).map(|handle| (subject, handle)));
        }
        Taken { queue: self, left, now }
    }

    /// Takes one profile, if it waits.
    pub(super) fn take_one(&self, subject: &Subject, now: Millis) -> Taken<'_> {
        let handle = self.0.lock().begin(subject);
        let left = handle.map(|handle| (subject.clone(), handle)).into_iter().collect();
        Taken { queue: self, left, now }
    }

    /// Takes the profiles of subjects of which another one waits.
    pub(super) fn take_strays(&self) -> Vec<(Subject, ProfileHandle)> {
        std::mem::take(&mut self.0.lock().strays)
    }

    /// Lets a profile go, with what was learned and not flushed.
    pub(super) fn forget(&self, subject: &Subject) {
        let mut inner = self.0.lock();
        if let Some(Waiting { turn: Some(turn), .. }) = inner.waiting.remove(subject) {
            inner.turns.remove(&turn);
        }
        inner.strays.retain(|(stray, _)| stray != subject);
    }

    /// All that wait, taken for good.
    pub(super) fn drain(&self) -> Vec<(Subject, ProfileHandle)> {
        let inner = std::mem::take(&mut *self.0.lock());
        let waiting = inner.waiting.into_iter().map(|(subject, waiting)| (subject, waiting.handle));
        waiting.chain(inner.strays).collect()
    }

    /// Has a profile that was flushed wait for its next turn, or no longer. One that was forgotten meanwhile stays so.
    fn end(&self, (subject, handle): (&Subject, &ProfileHandle), waits: bool, presses: bool, at: Millis) {
        let mut inner = self.0.lock();
        if inner.waiting.get(subject).is_none_or(|waiting| !waiting.handle.is(handle)) {
            return;
        }
        if !waits {
            inner.waiting.remove(subject);
            return;
        }
        let turn = inner.give_turn(subject, at);
        if let Some(waiting) = inner.waiting.get_mut(subject) {
            waiting.turn = Some(turn);
        }
        if presses {
            inner.pressing.push_back(subject.clone());
        }
    }
}

impl Inner {
    fn give_turn(&mut self, subject: &Subject, at: Millis) -> Turn {
        self.came += 1;
        let turn = (at, self.came);
        self.turns.insert(turn, subject.clone());
        turn
    }

    /// Takes a profile off the lists, but keeps it at hand. `None`: it does not wait, or is taken already.
    fn begin(&mut self, subject: &Subject) -> Option<ProfileHandle> {
        let waiting = self.waiting.get_mut(subject)?;
        self.turns.remove(&waiting.turn.take()?);
        Some(waiting.handle.clone())
    }
}

impl Taken<'_> {
    /// The profiles, in their order.
    pub(super) fn all(&self) -> &[(Subject, ProfileHandle)] {
        &self.left
    }

    /// Notes what came of each profile, in their order. Those that have learned meanwhile wait for another turn. What
    /// was not taken (`None`) comes back.
    pub(super) fn end(mut self, came: Vec<Option<ProfileWritten>>) -> Self {
        let mut failed = Vec::new();
        for ((subject, handle), written) in std::mem::take(&mut self.left).into_iter().zip(came) {
            let Some(written) = written else {
                failed.push((subject, handle));
                continue;
            };
            let at = due(&subject, self.now);
            handle.written(written, |waits, presses| {
                self.queue.end((&subject, &handle), waits, presses, at);
            });
        }
        self.left = failed;
        self
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for (subject, handle) in std::mem::take(&mut self.left) {
            self.queue.end((&subject, &handle), true, false, self.now);
        }
    }
}

/// When a profile that was changed at `now` is to be flushed at the latest.
fn due(subject: &Subject, now: Millis) -> Millis {
    let half = LONGEST / 2;
    now + half + (stable_hash(subject.as_str().as_bytes()) % half as u64) as Millis
}
