//! Profiles in memory, packed: those that wait to be written, and of the others which writing of them is on the disk.
//!
//! An entry that was changed stays until it is written. Then its bytes leave, and its version stays for as long as
//! there is room: whoever wrote it may write over it without reading it first.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    domain::{Millis, subject::Subject},
    store::{ProfileVersion, SeenSubject, WholeProfile},
};

const SHARDS: u16 = 16;

struct Entry {
    /// The packed profile, until it is on the disk.
    packed: Option<Box<[u8]>>,
    last_seen: Millis,
    version: ProfileVersion,
    dirty: bool,
    /// The shard's tick when it was last used.
    used: u64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Subject, Entry>,
    dirty: Vec<Subject>,
    /// Those that were given to be written since the last [`Profiles::shrink`].
    written: Vec<Subject>,
    tick: u64,
    /// Entries that have left. What was read from SQLite before one left may be older than what it held.
    left: u64,
}

/// A packed profile in memory with its version; or the mark to bring along with what SQLite has.
pub(in crate::store::embedded) type Lookup = Result<(Box<[u8]>, ProfileVersion), Mark>;

/// The moment at which a profile was not in memory: what SQLite has is of this version, or of none that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::embedded) struct Mark {
    version: Option<ProfileVersion>,
    left: u64,
}

/// What is known of profiles, spread over locks by subject.
pub(in crate::store::embedded) struct Profiles {
    shards: Vec<Mutex<Shard>>,
    per_shard: usize,
    /// Versions that were given to what SQLite had.
    given: AtomicU64,
}

impl Profiles {
    /// Keeps about `capacity` entries between two calls of [`Profiles::shrink`].
    pub(in crate::store::embedded) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let per_shard = capacity.div_ceil(usize::from(SHARDS)).max(1);
        Self { shards, per_shard, given: AtomicU64::new(0) }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(subject.partition(SHARDS))].lock()
    }

    /// The profile, if it is in memory.
    pub(in crate::store::embedded) fn get(&self, subject: &Subject) -> Lookup {
        let mut shard = self.shard(subject);
        let left = shard.left;
        let Some(entry) = shard.touch(subject) else { return Err(Mark { version: None, left }) };
        let mark = Mark { version: Some(entry.version), left };
        entry.packed.as_ref().map(|packed| (packed.clone(), entry.version)).ok_or(mark)
    }

    /// Stores a whole profile, if it is written over what is stored.
    pub(in crate::store::embedded) fn swap(&self, subject: &Subject, whole: &WholeProfile) -> bool {
        let mut shard = self.shard(subject);
        let known = shard.touch(subject).is_some_and(|entry| whole.over.contains(&entry.version));
        if known {
            shard.store(subject, whole);
        }
        known
    }

    /// Stores what was merged with a profile that was found at `found`: its version, or the mark at which it was read
    /// from SQLite. False when it has changed since: read again.
    pub(in crate::store::embedded) fn replace(
        &self,
        subject: &Subject,
        found: Result<ProfileVersion, Mark>,
        whole: &WholeProfile,
    ) -> bool {
        let mut shard = self.shard(subject);
        let unchanged = shard.is_at(subject, found);
        if unchanged {
            shard.store(subject, whole);
        }
        unchanged
    }

    /// The version of what SQLite had when the profile was missing at `mark`, so that it may be written over without
    /// being read again. `None`: SQLite had nothing.
    pub(in crate::store::embedded) fn version_of_loaded(
        &self,
        subject: &Subject,
        mark: Mark,
        last_seen: Option<Millis>,
    ) -> ProfileVersion {
        if let Some(version) = mark.version {
            return version;
        }
        let mut shard = self.shard(subject);
        let version = last_seen.map_or(ProfileVersion::default(), |_| self.new_version());
        // A flood of look-ups must not fill memory: only writing may exceed the capacity for a while.
        if shard.is_at(subject, Err(mark)) && shard.entries.len() < self.per_shard {
            let (last_seen, used) = (last_seen.unwrap_or_default(), shard.tick);
            let entry = Entry { packed: None, last_seen, version, dirty: false, used };
            shard.entries.insert(subject.clone(), entry);
        }
        version
    }

    /// A version that no writer gives.
    fn new_version(&self) -> ProfileVersion {
        ProfileVersion(self.given.fetch_add(1, Relaxed) << 16).next(0)
    }

    /// When the profiles in memory learned last, of those that `wanted` takes.
    pub(in crate::store::embedded) fn seen(&self, wanted: impl Fn(&SeenSubject) -> bool) -> Vec<SeenSubject> {
        let mut seen = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let held = shard.entries.iter().filter(|(_, entry)| entry.packed.is_some());
            let all = held
                .map(|(subject, entry)| SeenSubject { subject: subject.clone(), last_seen: entry.last_seen });
            seen.extend(all.filter(&wanted));
        }
        seen
    }

    /// Whether a profile is in memory, where it is newer than in SQLite.
    pub(in crate::store::embedded) fn holds(&self, subject: &Subject) -> bool {
        self.shard(subject).entries.get(subject).is_some_and(|entry| entry.packed.is_some())
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
            shard.entries.retain(|_, entry| entry.dirty || entry.last_seen >= cutoff);
            shard.left += 1;
        }
    }

    /// The subjects whose profiles changed since the last call.
    pub(in crate::store::embedded) fn take_dirty(&self) -> Vec<Subject> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().dirty)).collect()
    }

    /// Reads a packed profile to write it, and when it learned last; it counts as unchanged from here on.
    pub(in crate::store::embedded) fn save<T>(
        &self,
        subject: &Subject,
        read: impl FnOnce(&[u8], Millis) -> T,
    ) -> Option<T> {
        let mut guard = self.shard(subject);
        let shard = &mut *guard;
        let entry = shard.entries.get_mut(subject)?;
        let answer = read(entry.packed.as_deref()?, entry.last_seen);
        entry.dirty = false;
        shard.written.push(subject.clone());
        Some(answer)
    }

    /// Notes that a profile could not be written. It may wait twice after this, which does no harm.
    pub(in crate::store::embedded) fn wait_again(&self, subject: &Subject) {
        let mut guard = self.shard(subject);
        let shard = &mut *guard;
        if let Some(entry) = shard.entries.get_mut(subject).filter(|entry| entry.packed.is_some()) {
            entry.dirty = true;
            shard.dirty.push(subject.clone());
        }
    }

    /// Lets the bytes of profiles go that are on the disk, and beyond the capacity the entries that were not used for
    /// longest. To be called between transactions.
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

    /// Whether what was found then is what is stored now.
    fn is_at(&self, subject: &Subject, found: Result<ProfileVersion, Mark>) -> bool {
        let entry = self.entries.get(subject);
        match found {
            Ok(version) | Err(Mark { version: Some(version), .. }) => {
                entry.is_some_and(|entry| entry.version == version)
            }
            Err(mark) => entry.is_none() && mark.left == self.left,
        }
    }

    fn store(&mut self, subject: &Subject, whole: &WholeProfile) {
        self.tick += 1;
        let was_dirty = self.entries.get(subject).is_some_and(|entry| entry.dirty);
        let packed = Some(whole.packed.as_slice().into());
        let (last_seen, version, used) = (whole.last_seen, whole.version, self.tick);
        self.entries.insert(subject.clone(), Entry { packed, last_seen, version, dirty: true, used });
        if !was_dirty {
            self.dirty.push(subject.clone());
        }
    }

    fn shrink(&mut self, capacity: usize) {
        for subject in std::mem::take(&mut self.written) {
            if let Some(entry) = self.entries.get_mut(&subject).filter(|entry| !entry.dirty) {
                entry.packed = None;
            }
        }
        if self.entries.len() <= capacity {
            return;
        }
        // Some more than must, so that not each call has to sort.
        let excess = self.entries.len() - (capacity - capacity / 8);
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

    /// A packed profile that says `what`, of version `version`, over what is of version `over`.
    fn whole(what: u8, over: u64, version: u64) -> WholeProfile {
        let over = vec![ProfileVersion(over)];
        WholeProfile { packed: vec![what], last_seen: 1, over, version: ProfileVersion(version) }
    }

    /// Writes what stands in memory, as a snapshot does, and lets it go.
    fn written(profiles: &Profiles) {
        for subject in profiles.take_dirty() {
            profiles.save(&subject, |_, _| ()).unwrap();
        }
        profiles.shrink();
    }

    #[test]
    fn what_was_read_before_an_entry_left_is_not_trusted() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let early = profiles.get(&subject).unwrap_err();
        assert!(profiles.replace(&subject, Err(early), &whole(5, 0, 7)));
        profiles.remove(&subject);
        assert!(!profiles.replace(&subject, Err(early), &whole(1, 0, 8)));
        let now = profiles.get(&subject).unwrap_err();
        assert!(profiles.replace(&subject, Err(now), &whole(6, 0, 9)));
    }

    #[test]
    fn of_two_who_missed_at_once_one_reads_again() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let mark = profiles.get(&subject).unwrap_err();
        assert!(profiles.replace(&subject, Err(mark), &whole(1, 0, 7)));
        assert!(!profiles.replace(&subject, Err(mark), &whole(2, 0, 8)));
        assert_eq!(&*profiles.get(&subject).unwrap().0, [1]);
    }

    #[test]
    fn what_is_on_the_disk_leaves_memory_and_is_written_over_by_who_knows_its_version() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let mark = profiles.get(&subject).unwrap_err();
        assert_eq!(profiles.version_of_loaded(&subject, mark, None), ProfileVersion(0));
        assert!(profiles.swap(&subject, &whole(1, 0, 7)));
        assert!(profiles.holds(&subject));
        written(&profiles);
        assert!(!profiles.holds(&subject));
        assert!(!profiles.swap(&subject, &whole(2, 6, 8)), "somebody has written since version 6");
        assert!(profiles.swap(&subject, &whole(3, 7, 9)));
        assert_eq!(&*profiles.get(&subject).unwrap().0, [3]);
    }

    #[test]
    fn what_is_read_from_the_disk_is_of_the_version_that_was_written() {
        let profiles = Profiles::new(16);
        let subject = Subject::key("k1:1");
        let mark = profiles.get(&subject).unwrap_err();
        assert!(profiles.replace(&subject, Err(mark), &whole(1, 0, 7)));
        written(&profiles);
        let mark = profiles.get(&subject).unwrap_err();
        assert_eq!(profiles.version_of_loaded(&subject, mark, Some(1)), ProfileVersion(7));
        assert!(profiles.swap(&subject, &whole(2, 7, 8)));
        assert!(!profiles.replace(&subject, Err(mark), &whole(3, 7, 9)), "it was changed since");
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
            let mark = profiles.get(subject).unwrap_err();
            assert!(profiles.replace(subject, Err(mark), &whole(1, 0, 7)));
        }
        profiles.shrink();
        assert!(shard_mates.iter().all(|subject| profiles.get(subject).is_ok()));
        for subject in profiles.take_dirty() {
            profiles.save(&subject, |_, _| ()).unwrap();
        }
        profiles.get(&shard_mates[0]).unwrap();
        profiles.shrink();
        assert!(profiles.swap(&shard_mates[0], &whole(2, 7, 8)));
        assert!(!profiles.swap(&shard_mates[1], &whole(2, 7, 8)));
    }
}
