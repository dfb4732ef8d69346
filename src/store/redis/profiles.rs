//! Profiles: a packed value per subject behind its version. A flush sends whole profiles, many of a partition in one
//! script, and reads back only those that somebody else has written since: these are merged here and sent again.

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    keys::by_partition,
    scripts::{Call, PROFILE},
};
use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::{
        ProfileChange, ProfileStore, ProfileVersion, ProfileWritten, SeenSubject, StoreError, StoreFault,
        StoreResult, StoredProfile, packed,
    },
};

/// Version of the packed form, the byte behind the version of the profile.
const FORMAT: u8 = 1;
const VERSION_BYTES: usize = 8;
/// A flush writes each subject once; this many collisions in a row mean something else.
const ATTEMPTS: usize = 16;
/// Profiles in one call of the script, so that nobody waits long for it.
const AT_ONCE: usize = 64;
/// How long news are kept: instances look once a second.
const NEWS_KEPT: Millis = 60_000;
/// News of one partition that are kept.
const MOST_NEWS: usize = 10_000;

impl ProfileStore for RedisStore {
    fn stored_profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StoredProfile>> {
        Box::pin(async move {
            let mut command = redis::cmd("GET");
            command.arg(self.keys.subject(subject).profile);
            stored(&self.link.command(command).await?)
        })
    }

    /// A lost race is only tried again.
    fn write_profiles<'a>(
        &'a self,
        changes: &'a [ProfileChange],
    ) -> StoreResult<'a, Vec<Result<ProfileWritten, StoreError>>> {
        Box::pin(async move {
            let busy = || Err(StoreError::Unavailable("others keep changing the same profile".into()));
            let mut written: Vec<_> = changes.iter().map(|_| busy()).collect();
            let mut round = changes.iter().enumerate().map(|(n, change)| Attempt::first(n, change)).collect();
            for _ in 0..ATTEMPTS {
                round = self.write_round(changes, round, &mut written).await;
                if round.is_empty() {
                    break;
                }
            }
            Ok(written)
        })
    }

    fn profile_news(&self, since: Millis) -> StoreResult<'_, Vec<(Subject, ProfileVersion)>> {
        Box::pin(async move {
            let list = |partition| {
                let mut command = redis::cmd("ZRANGEBYSCORE");
                command.arg(self.keys.profile_news(partition)).arg(since).arg("+inf");
                vec![command]
            };
            let lists = self.aside.send((0..self.keys.partitions()).map(list).collect()).await?;
            let mut subjects = Vec::new();
            for list in lists.into_iter().flatten() {
                let names: Vec<String> = self.read(list)?;
                subjects.extend(names.iter().filter_map(|name| Subject::stored(name).ok()));
            }
            self.versions(subjects).await
        })
    }

    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>> {
        Box::pin(super::seen::page(self, after, limit))
    }
}

/// One profile to be written.
struct Attempt {
    /// Which of the changes it is.
    index: usize,
    /// What it may be written over; `None`: it is only read, as nobody knows.
    over: Option<[ProfileVersion; 2]>,
    value: Vec<u8>,
    last_seen: Millis,
    /// What the value is, where it was merged here.
    merged: Option<Box<StoredProfile>>,
}

impl Attempt {
    fn first(index: usize, change: &ProfileChange) -> Self {
        let nothing = Self { index, over: None, value: Vec::new(), last_seen: 0, merged: None };
        let Some(whole) = &change.whole else { return nothing };
        let value = [&whole.version.0.to_le_bytes()[..], &[FORMAT], whole.packed.as_slice()].concat();
        Self { over: Some(whole.over), value, last_seen: whole.last_seen, ..nothing }
    }

    /// The change merged into what somebody else has written.
    fn merging(
        index: usize,
        change: &ProfileChange,
        found: Option<StoredProfile>,
    ) -> Result<Self, StoreError> {
        let StoredProfile { mut profile, version: before } = found.unwrap_or_default();
        profile.merge(&change.delta);
        let version = before.next(change.writer);
        let full = |error| StoreError::Refused(StoreFault::because("a profile cannot be packed", error));
        let header = [&version.0.to_le_bytes()[..], &[FORMAT]].concat();
        let value = packed::pack(&profile, header).map_err(full)?;
        let last_seen = profile.last_seen.unwrap_or_default();
        let merged = Some(Box::new(StoredProfile { profile, version }));
        Ok(Self { index, over: Some([before; 2]), value, last_seen, merged })
    }
}

impl RedisStore {
    /// Tries to write each, and notes what came of it; returns those that somebody else was faster with, merged.
    async fn write_round(
        &self,
        changes: &[ProfileChange],
        round: Vec<Attempt>,
        written: &mut [Result<ProfileWritten, StoreError>],
    ) -> Vec<Attempt> {
        let placed =
            round.into_iter().map(|one| (self.keys.partition(Some(&changes[one.index].subject)), one));
        let groups: Vec<(u16, Vec<Attempt>)> = by_partition(placed).into_iter().collect();
        let calls: Vec<Vec<Call>> = groups
            .iter()
            .map(|(partition, group)| {
                group.chunks(AT_ONCE).map(|chunk| self.write_call(*partition, chunk, changes)).collect()
            })
            .collect();
        let mut again = Vec::new();
        let mut note = |one: Attempt, reply: Result<Value, StoreError>| {
            let index = one.index;
            match reply.and_then(|reply| after(one, &changes[index], &reply)) {
                Ok(After::Written(what)) => written[index] = Ok(what),
                Ok(After::Again(attempt)) => again.push(attempt),
                Err(error) => written[index] = Err(error),
            }
        };
        match self.aside.call_all(&calls).await {
            Ok(replies) => {
                for ((_, group), replies) in groups.into_iter().zip(replies) {
                    let mut group = group.into_iter();
                    for reply in replies {
                        let list = match reply {
                            Ok(Value::Array(list)) => Ok(list),
                            Ok(_) => Err(unreadable("an answer about profiles")),
                            Err(error) => Err(self.aside.translate(&error)),
                        };
                        for (n, one) in group.by_ref().take(AT_ONCE).enumerate() {
                            let missing = || unreadable("an answer about a profile");
                            note(one, list.clone().and_then(|list| list.get(n).cloned().ok_or_else(missing)));
                        }
                    }
                }
            }
            Err(error) => {
                let all = groups.into_iter().flat_map(|(_, group)| group);
                all.for_each(|one| note(one, Err(error.clone())));
            }
        }
        again
    }

    fn write_call(&self, partition: u16, chunk: &[Attempt], changes: &[ProfileChange]) -> Call {
        let kept = Millis::try_from(self.options.profile_retention.as_millis()).unwrap_or(Millis::MAX);
        let last_seen = chunk.iter().map(|one| one.last_seen).max().unwrap_or_default();
        let news_at = chunk.iter().filter_map(|one| changes[one.index].news_at).max().unwrap_or_default();
        let mut call = Call::new(&PROFILE)
            .key(self.keys.seen(partition))
            .key(self.keys.profile_news(partition))
            .keys(chunk.iter().map(|one| self.keys.subject(&changes[one.index].subject).profile))
            .arg(kept.to_string())
            .arg(last_seen.saturating_sub(kept).to_string())
            .arg(news_at.saturating_sub(NEWS_KEPT).to_string())
            .arg(MOST_NEWS.to_string());
        for one in chunk {
            let change = &changes[one.index];
            // No version is as long as that: the script only reads.
            let over = one.over.map_or([vec![0; VERSION_BYTES + 1], vec![0; VERSION_BYTES + 1]], |over| {
                over.map(version_bytes)
            });
            let [first, second] = over;
            call = call
                .arg(first)
                .arg(second)
                .arg(one.value.as_slice())
                .arg(change.subject.as_str())
                .arg(one.last_seen.to_string())
                .arg(change.news_at.map_or_else(String::new, |at| at.to_string()));
        }
        call
    }

    /// The versions of profiles that are stored.
    async fn versions(&self, subjects: Vec<Subject>) -> Result<Vec<(Subject, ProfileVersion)>, StoreError> {
        let reads = subjects.iter().map(|subject| {
            let mut command = redis::cmd("GETRANGE");
            command.arg(self.keys.subject(subject).profile).arg(0).arg(VERSION_BYTES - 1);
            vec![command]
        });
        let replies = self.aside.send(reads.collect()).await?;
        let mut versions = Vec::with_capacity(subjects.len());
        for (subject, reply) in subjects.into_iter().zip(replies.into_iter().flatten()) {
            let bytes: Vec<u8> = self.read(reply)?;
            let version = bytes.try_into().map_or(0, u64::from_le_bytes);
            versions.push((subject, ProfileVersion(version)));
        }
        Ok(versions)
    }
}

/// What follows from an answer.
enum After {
    Written(ProfileWritten),
    Again(Attempt),
}

fn after(one: Attempt, change: &ProfileChange, reply: &Value) -> Result<After, StoreError> {
    match reply {
        Value::Int(_) => Ok(After::Written(one.merged.map_or(ProfileWritten::Whole, ProfileWritten::Merged))),
        found => Attempt::merging(one.index, change, stored(found)?).map(After::Again),
    }
}

/// The version as it is stored; of nothing that is stored nothing.
fn version_bytes(version: ProfileVersion) -> Vec<u8> {
    if version == ProfileVersion::default() { Vec::new() } else { version.0.to_le_bytes().to_vec() }
}

fn stored(value: &Value) -> Result<Option<StoredProfile>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => unpack(bytes).map(Some),
        _ => Err(unreadable("a profile")),
    }
}

fn unpack(bytes: &[u8]) -> Result<StoredProfile, StoreError> {
    let (version, rest) =
        bytes.split_first_chunk::<VERSION_BYTES>().ok_or_else(|| unreadable("a profile"))?;
    match rest.split_first() {
        Some((&FORMAT, bytes)) => {
            let profile: Profile = packed::unpack(bytes).map_err(unreadable_because("a profile"))?;
            Ok(StoredProfile { profile, version: ProfileVersion(u64::from_le_bytes(*version)) })
        }
        _ => Err(unreadable("a profile of another version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_profile_comes_back_and_a_newer_format_does_not() {
        let delta = Profile { requests: 3, first_seen: Some(5), ..Profile::default() };
        let change = ProfileChange::merging(&Subject::key("k1:1"), &delta);
        let mut written = Attempt::merging(0, &change, None).unwrap();
        let back = unpack(&written.value).unwrap();
        assert_eq!((back.version, &back.profile), (ProfileVersion(1 << 16), &delta));
        assert_eq!(Some(Box::new(back)), written.merged);
        written.value[VERSION_BYTES] = FORMAT + 1;
        assert!(matches!(unpack(&written.value), Err(StoreError::Incompatible(_))));
    }
}
