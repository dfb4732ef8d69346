//! Profiles: those used lately are in memory and written in snapshots; others are read from SQLite when they are
//! needed.

use rusqlite::{Connection, OptionalExtension};

use super::{
    Backing, EmbeddedStore,
    readers::Size,
    sqlite::{decode_profile, failed, unreadable_because},
};
use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::{
        ProfileChange, ProfileNews, ProfileStore, ProfileWritten, SeenSubject, StoreError, StoreResult,
        StoredProfile, WholeProfile, pack_profile, unpack_profile,
    },
};

impl ProfileStore for EmbeddedStore {
    fn stored_profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StoredProfile>> {
        Box::pin(async move {
            let mark = match self.memory.profiles.get(subject) {
                Ok((packed, version)) => {
                    let profile = unpack_profile(&packed).map_err(unreadable_because)?;
                    return Ok(Some(StoredProfile { profile, version }));
                }
                Err(mark) => mark,
            };
            let loaded = self.load_profile(subject).await?;
            let last_seen = loaded.as_ref().map(|profile| profile.last_seen.unwrap_or_default());
            let version = self.memory.profiles.version_of_loaded(subject, mark, last_seen);
            Ok(loaded.map(|profile| StoredProfile { profile, version }))
        })
    }

    fn write_profiles<'a>(
        &'a self,
        changes: &'a [ProfileChange],
    ) -> StoreResult<'a, Vec<Result<ProfileWritten, StoreError>>> {
        Box::pin(async move {
            let mut written = Vec::with_capacity(changes.len());
            for change in changes {
                let whole = change.whole.as_ref();
                let is_stored = whole.is_some_and(|whole| self.memory.profiles.swap(&change.subject, whole));
                written.push(match is_stored {
                    true => Ok(ProfileWritten::Whole),
                    false => self.merge(change).await.map(|stored| ProfileWritten::Merged(Box::new(stored))),
                });
            }
            Ok(written)
        })
    }

    /// No other process has the directory.
    fn profile_news(&self, _: Millis) -> StoreResult<'_, Vec<Result<ProfileNews, StoreError>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// From memory, and from SQLite what is not there.
    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>> {
        Box::pin(async move {
            let stored = self.stored_seen(after.cloned(), limit).await?;
            // Behind the last row of a full page there may be others that come before what memory has.
            let end = stored.last().filter(|_| stored.len() >= limit).cloned();
            let behind = |one: &SeenSubject| {
                after.is_none_or(|after| after.precedes(one))
                    && end.as_ref().is_none_or(|end| !end.precedes(one))
            };
            let mut seen = self.memory.profiles.seen(behind);
            seen.extend(stored.into_iter().filter(|one| !self.memory.profiles.holds(&one.subject)));
            seen.sort_by(|a, b| (b.last_seen, b.subject.as_str()).cmp(&(a.last_seen, a.subject.as_str())));
            seen.truncate(limit);
            Ok(seen)
        })
    }
}

impl EmbeddedStore {
    /// Merges a delta into what is stored, wherever that is.
    async fn merge(&self, change: &ProfileChange) -> Result<StoredProfile, StoreError> {
        let (subject, profiles) = (&change.subject, &self.memory.profiles);
        loop {
            let (mut profile, found) = match profiles.get(subject) {
                Ok((packed, version)) => (unpack_profile(&packed).map_err(unreadable_because)?, Ok(version)),
                Err(mark) => (self.load_profile(subject).await?.unwrap_or_default(), Err(mark)),
            };
            profile.merge(&change.delta);
            let last_seen = profile.last_seen.unwrap_or_default();
            let before =
                found.unwrap_or_else(|mark| profiles.version_of_loaded(subject, mark, Some(last_seen)));
            let version = before.merged(change.writer);
            let packed = pack_profile(&profile, Vec::new()).map_err(unreadable_because)?;
            let whole = WholeProfile { packed, last_seen, over: vec![before], version };
            if profiles.swap(subject, &whole) || profiles.replace(subject, found, &whole) {
                return Ok(StoredProfile { profile, version });
            }
        }
    }

    async fn stored_seen(
        &self,
        after: Option<SeenSubject>,
        limit: usize,
    ) -> Result<Vec<SeenSubject>, StoreError> {
        if matches!(self.backing, Backing::Memory(_)) {
            return Ok(Vec::new());
        }
        self.read(move |connection| read_seen(connection, after.as_ref(), limit)).await
    }

    async fn load_profile(&self, subject: &Subject) -> Result<Option<Profile>, StoreError> {
        if matches!(self.backing, Backing::Memory(_)) {
            return Ok(None);
        }
        let subject = subject.clone();
        self.read_sized(Size::Small, move |connection| {
            let sql = "SELECT profile FROM profiles WHERE subject = ?";
            let blob: Option<Vec<u8>> = connection
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    statement.query_row([subject.as_str()], |row| row.get(0)).optional()
                })
                .map_err(failed)?;
            blob.map(|blob| decode_profile(&blob)).transpose()
        })
        .await
    }
}

/// Rows behind `after`, by the index alone.
fn read_seen(
    connection: &Connection,
    after: Option<&SeenSubject>,
    limit: usize,
) -> Result<Vec<SeenSubject>, StoreError> {
    let sql = "SELECT last_seen, subject FROM profiles WHERE (last_seen, subject) < (?, ?)
        ORDER BY last_seen DESC, subject DESC LIMIT ?";
    let (time, name) = after.map_or((Millis::MAX, ""), |seen| (seen.last_seen, seen.subject.as_str()));
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement
        .query_map(rusqlite::params![time, name, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, Millis>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(failed)?;
    rows.map(|row| {
        let (last_seen, name) = row.map_err(failed)?;
        Ok(SeenSubject { subject: Subject::stored(&name).map_err(unreadable_because)?, last_seen })
    })
    .collect()
}
