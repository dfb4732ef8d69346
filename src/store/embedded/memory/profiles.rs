//! Profiles in memory: those that were used lately, and which of them wait to be written.
//!
//! An entry that was changed stays until it is written; clean ones may leave, and are read from SQLite again.

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};

use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::SeenSubject,
};

const SHARDS: u16 = 16;

struct Entry {
    profile: Profile,
    dirty: bool,
    /// The shard's tick when it was last used.
    used: u64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Subject, Entry>,
    dirty: Vec<Subject>,
    tick: u64,
    /// Entries that have left. What was read from SQLite before one left may be older than what it held.
    left: u64,
}

/// A profile in memory; or the mark to bring along with what SQLite has.
pub(in crate::store::embedded) type Lookup = Result<Profile, Mark>;

/// The moment at which a profile was not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::embedded) struct Mark(u64);

/// The cache of profiles, spread over locks by subject.
pub(in crate::store::embedded) struct Profiles {
    shards: Vec<Mutex<Shard>>,
    per_shard: usize,
}

impl Profiles {
    /// Keeps about `capacity` profiles between two calls of [`Profiles::shrink`].
    pub(in crate::store::embedded) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, per_shard: capacity.div_ceil(usize::from(SHARDS)).max(1) }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(subject.partition(SHARDS))].lock()
    }

    /// The profile, if it is in memory.
    pub(in crate::store::embedded) fn get(&self, subject: &Subject) -> Lookup {
        let mut shard = self.shard(subject);
        let mark = Mark(shard.left);
        shard.touch(subject).map(|entry| entry.profile.clone()).ok_or(mark)
    }

    /// Merges a delta into the profile, if it is in memory.
    pub(in crate::store::embedded) fn merge(&self, subject: &Subject, delta: &Profile) -> Lookup {
        let mut shard = self.shard(subject);
        let mark = Mark(shard.left);
        shard.merge(subject, delta).ok_or(mark)
    }

    /// Takes what SQLite had (nothing: an empty profile) when the profile was missing at `mark`, and merges a
    /// delta into it. `None` when an entry has left since: read again.
    pub(in crate::store::embedded) fn merge_loaded(
        &self,
        subject: &Subject,
        mark: Mark,
        loaded: Option<Profile>,
        delta: &Profile,
    ) -> Option<Profile> {
        let mut shard = self.shard(subject);
        shard.take(subject, mark, loaded.unwrap_or_default());
        shard.merge(subject, delta)
    }

    /// Takes what SQLite had when the profile was missing at `mark`, so that it need not be read again.
    pub(in crate::store::embedded) fn keep_loaded(&self, subject: &Subject, mark: Mark, loaded: &Profile) {
        let mut shard = self.shard(subject);
        // A flood of look-ups must not fill memory: only merges may exceed the capacity for a while.
        if shard.entries.len() < self.per_shard {
            shard.take(subject, mark, loaded.clone());
        }
    }

    /// When the profiles in memory learned last, of those that `wanted` takes.
    pub(in crate::store::embedded) fn seen(&self, wanted: impl Fn(&SeenSubject) -> bool) -> Vec<SeenSubject> {
        let mut seen = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let all = shard.entries.iter().map(|(subject, entry)| SeenSubject {
                subject: subject.clone(),
                last_seen: entry.profile.last_seen.unwrap_or_default(),
            });
            seen.extend(all.filter(&wanted));
        }
        seen
    }

    /// Whether a profile is in memory, where it is newer than in SQLite.
    pub(in crate::store::embedded) fn holds(&self, subject: &Subject) -> bool {
        self.shard(subject).entries.contains_key(subject)
    }

    /// Forgets a profile, and what is being read of one from SQLite.
    pub(in crate::store::embedded) fn remove(&self, subject: &Subject) {
        let mut shard = self.shard(subject);
        shard.entries.remove(subject);
        shard.left += 1;
    }

    /// Forgets profiles that learned nothing since `cutoff`.
    pub(in crate::store::embedded) fn remove_silent(&self, cutoff: Millis) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard
                .entries
                .retain(|_, entry| entry.dirty || entry.profile.last_seen.is_none_or(|t| t >= cutoff));
            shard.left += 1;
        }
    }

    /// The subjects whose profiles changed since the last call.
    pub(in crate::store::embedded) fn take_dirty(&self) -> Vec<Subject> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().dirty)).collect()
    }

    /// Reads a profile to write it; it counts as unchanged from here on.
    pub(in crate::store::embedded) fn save<T>(
        &self,
        subject: &Subject,
        read: impl FnOnce(&Profile) -> T,
    ) -> Option<T> {
        self.shard(subject).entries.get_mut(subject).map(|entry| {
            entry.dirty = false;
            read(&entry.profile)
        })
    }

    /// Notes that a profile could not be written. It may wait twice after this, which does no harm.
    pub(in crate::store::embedded) fn wait_again(&self, subject: &Subject) {
        let mut guard = self.shard(subject);
        let shard = &mut *guard;
        if let Some(entry) = shard.entries.get_mut(subject) {
            entry.dirty = true;
            shard.dirty.push(subject.clone());
        }
    }

    /// Lets the clean profiles go that were not used for longest, down to the capacity.
    pub(in crate::store::embedded) fn shrink(&self) {
        for shard in &self.shards {
            shard.lock().shrink(self.per_shard);
        }
    }
}

impl Shard {
    fn touch(&mut self, subject: &Subject) -> Option<&mut Entry> {
        self.tick += 1;
        let entry = self.entries.get_mut(subject)?;
        entry.used = self.tick;
        Some(entry)
    }

    fn merge(&mut self, subject: &Subject, delta: &Profile) -> Option<Profile> {
        let entry = self.touch(subject)?;
        entry.profile.merge(delta);
        let merged = entry.profile.clone();
        self.mark_dirty(subject);
        Some(merged)
    }

    fn mark_dirty(&mut self, subject: &Subject) {
        if let Some(entry) = self.entries.get_mut(subject).filter(|entry| !entry.dirty) {
            entry.dirty = true;
            self.dirty.push(subject.clone());
        }
    }

    fn take(&mut self, subject: &Subject, mark: Mark, loaded: Profile) {
        if mark == Mark(self.left) {
            let used = self.tick;
            self.entries.entry(subject.clone()).or_insert(Entry { profile: loaded, dirty: false, used });
        }
    }

    fn shrink(&mut self, capacity: usize) {
        let excess = self.entries.len().saturating_sub(capacity);
        if excess == 0 {
            return;
        }
        let clean = self.entries.iter().filter(|(_, entry)| !entry.dirty);
        let mut clean: Vec<_> = clean.map(|(subject, entry)| (entry.used, subject.clone())).collect();
        clean.sort_unstable_by_key(|(used, _)| *used);
        for (_, subject) in clean.into_iter().take(excess) {
            self.entries.remove(&subject);
        }
        self.left += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(requests: u64) -> Profile {
        Profile { requests, last_seen: Some(1), ..Profile::default() }
    }

    #[test]
    fn what_was_read_before_an_entry_left_is_not_trusted() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let early = profiles.get(&subject).unwrap_err();
        profiles.merge_loaded(&subject, early, None, &delta(5)).unwrap();
        profiles.remove(&subject);
        assert!(profiles.merge_loaded(&subject, early, Some(delta(1)), &delta(1)).is_none());
        let now = profiles.get(&subject).unwrap_err();
        assert_eq!(profiles.merge_loaded(&subject, now, Some(delta(5)), &delta(1)).unwrap().requests, 6);
    }

    #[test]
    fn two_who_missed_at_once_both_count() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let mark = profiles.get(&subject).unwrap_err();
        profiles.merge_loaded(&subject, mark, Some(delta(10)), &delta(1)).unwrap();
        assert_eq!(profiles.merge_loaded(&subject, mark, Some(delta(10)), &delta(1)).unwrap().requests, 12);
    }

    #[test]
    fn only_written_profiles_leave_and_the_least_used_first() {
        let profiles = Profiles::new(1);
        let shard_mates: Vec<_> = (0..)
            .map(|id| Subject::key(&format!("k1:{id}")))
            .filter(|subject| subject.partition(SHARDS) == 0)
            .take(3)
            .collect();
        for subject in &shard_mates {
            profiles.merge_loaded(subject, profiles.get(subject).unwrap_err(), None, &delta(1)).unwrap();
        }
        profiles.shrink();
        assert!(shard_mates.iter().all(|subject| profiles.get(subject).is_ok()));
        for subject in profiles.take_dirty() {
            profiles.save(&subject, |_| ()).unwrap();
        }
        profiles.get(&shard_mates[0]).unwrap();
        profiles.shrink();
        assert!(profiles.get(&shard_mates[0]).is_ok());
        assert!(profiles.get(&shard_mates[1]).is_err());
    }
}
