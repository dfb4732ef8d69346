//! Profiles: a packed value per subject behind its version. A flush sends whole profiles, many of a partition in one
//! script, and reads back only those that somebody else has written since: these are merged here and sent again.

use futures::future::join_all;
use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    keys::by_partition,
    link::Reply,
    reply::read_value,
    scripts::{Call, PROFILE},
};
use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::{
        ProfileChange, ProfileNews, ProfileStore, ProfileVersion, ProfileWritten, SeenSubject, StoreError,
        StoreFault, StoreResult, StoredProfile, packed,
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

    /// Partition by partition: where a part of a Cluster is away, the others answer.
    fn profile_news(&self, since: Millis) -> StoreResult<'_, Vec<Result<ProfileNews, StoreError>>> {
        Box::pin(async move {
            let partitions = (0..self.keys.partitions()).map(|partition| self.news_of(partition, since));
            Ok(join_all(partitions).await)
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
    /// What it may be written over; empty: it is only read, as nobody knows.
    over: Vec<ProfileVersion>,
    value: Vec<u8>,
    last_seen: Millis,
    /// What the value is, where it was merged here.
    merged: Option<Box<StoredProfile>>,
}

impl Attempt {
    fn first(index: usize, change: &ProfileChange) -> Self {
        let nothing = Self { index, over: Vec::new(), value: Vec::new(), last_seen: 0, merged: None };
        let Some(whole) = &change.whole else { return nothing };
        let value = [&whole.version.0.to_le_bytes()[..], &[FORMAT], whole.packed.as_slice()].concat();
        Self { over: whole.over.clone(), value, last_seen: whole.last_seen, ..nothing }
    }

    /// The change merged into what somebody else has written.
    fn merging(
        index: usize,
        change: &ProfileChange,
        found: Option<StoredProfile>,
    ) -> Result<Self, StoreError> {
        let StoredProfile { mut profile, version: before } = found.unwrap_or_default();
        profile.merge(&change.delta);
        let version = before.merged(change.writer);
        let full = |error| StoreError::Refused(StoreFault::because("a profile cannot be packed", error));
        let header = [&version.0.to_le_bytes()[..], &[FORMAT]].concat();
        let value = packed::pack(&profile, header).map_err(full)?;
        let last_seen = profile.last_seen.unwrap_or_default();
        let merged = Some(Box::new(StoredProfile { profile, version }));
        Ok(Self { index, over: vec![before], value, last_seen, merged })
    }
}

impl RedisStore {
    /// Tries to write each, and notes what came of it; returns those that somebody else was faster with, merged. What a
    /// part of a Cluster does not take holds up nothing else.
    async fn write_round(
        &self,
        changes: &[ProfileChange],
        round: Vec<Attempt>,
        written: &mut [Result<ProfileWritten, StoreError>],
    ) -> Vec<Attempt> {
        let placed =
            round.into_iter().map(|one| (self.keys.partition(Some(&changes[one.index].subject)), one));
        let sent = by_partition(placed)
            .into_iter()
            .map(|(partition, group)| self.write_group(partition, group, changes))
            .collect::<Vec<_>>();
        let mut again = Vec::new();
        for (one, answer) in join_all(sent).await.into_iter().flatten() {
            let index = one.index;
            match answer.and_then(|answer| after(one, &changes[index], &answer)) {
                Ok(After::Written(what)) => written[index] = Ok(what),
                Ok(After::Again(attempt)) => again.push(attempt),
                Err(error) => written[index] = Err(error),
            }
        }
        again
    }

    /// Tries to write those of one partition: each with its answer.
    async fn write_group(
        &self,
        partition: u16,
        group: Vec<Attempt>,
        changes: &[ProfileChange],
    ) -> Vec<(Attempt, Result<Value, StoreError>)> {
        let calls = group.chunks(AT_ONCE).map(|chunk| self.write_call(partition, chunk, changes)).collect();
        let replies = self.aside.call_all(&[calls]).await;
        let answers = self.answers(replies.map(|replies| replies.concat()), group.len());
        group.into_iter().zip(answers).collect()
    }

    /// The answers about so many profiles, from the replies of the scripts that took [`AT_ONCE`] each.
    fn answers(
        &self,
        replies: Result<Vec<Reply>, StoreError>,
        count: usize,
    ) -> Vec<Result<Value, StoreError>> {
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => return vec![Err(error); count],
        };
        let mut answers = Vec::with_capacity(count);
        for reply in replies {
            let length = AT_ONCE.min(count - answers.len());
            match reply {
                Ok(Value::Array(list)) if list.len() == length => answers.extend(list.into_iter().map(Ok)),
                Ok(_) => answers.extend(vec![Err(unreadable("an answer about profiles")); length]),
                Err(error) => answers.extend(vec![Err(self.aside.translate(&error)); length]),
            }
        }
        answers.resize_with(count, || Err(unreadable("an answer about profiles that is missing")));
        answers
    }

    async fn news_of(&self, partition: u16, since: Millis) -> Result<ProfileNews, StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(self.keys.profile_news(partition)).arg(since).arg("+inf").arg("WITHSCORES");
        let entries: Vec<(String, f64)> = read_value(self.aside.command(command).await?)?;
        let news = entries.into_iter().map(|(name, at)| Subject::stored(&name).map(|s| (s, at as Millis)));
        Ok(news.filter_map(Result::ok).collect())
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
            call = call
                .arg(one.over.iter().flat_map(|version| version.0.to_le_bytes()).collect::<Vec<u8>>())
                .arg(one.value.as_slice())
                .arg(change.subject.as_str())
                .arg(one.last_seen.to_string())
                .arg(change.news_at.map_or_else(String::new, |at| at.to_string()));
        }
        call
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
        assert_eq!((back.version, &back.profile), (ProfileVersion((1 << 16) | 1), &delta));
        assert_eq!(Some(Box::new(back)), written.merged);
        written.value[VERSION_BYTES] = FORMAT + 1;
        assert!(matches!(unpack(&written.value), Err(StoreError::Incompatible(_))));
    }

    #[test]
    fn what_an_earlier_version_stored_behind_a_plain_counter_is_read_and_written_over() {
        let former = Profile { requests: 3, first_seen: Some(5), ..Profile::default() };
        let header = [&7_u64.to_le_bytes()[..], &[FORMAT]].concat();
        let StoredProfile { profile, version } = unpack(&packed::pack(&former, header).unwrap()).unwrap();
        assert_eq!((profile, version), (former, ProfileVersion(7)));
        assert!(version.next(9) > version && version.merged(9) > version);
        assert_ne!(version.next(9), version.merged(9));
    }
}
