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
    store::{ProfileStore, SeenSubject, StoreError, StoreResult},
};

impl ProfileStore for EmbeddedStore {
    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>> {
        Box::pin(async move {
            let mark = match self.memory.profiles.get(subject) {
                Ok(profile) => return Ok(Some(profile)),
                Err(mark) => mark,
            };
            let loaded = self.load_profile(subject).await?;
            if let Some(profile) = &loaded {
                self.memory.profiles.keep_loaded(subject, mark, profile);
            }
            Ok(loaded)
        })
    }

    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile> {
        Box::pin(async move {
            loop {
                let mark = match self.memory.profiles.merge(subject, delta) {
                    Ok(merged) => return Ok(merged),
                    Err(mark) => mark,
                };
                let loaded = self.load_profile(subject).await?;
                if let Some(merged) = self.memory.profiles.merge_loaded(subject, mark, loaded, delta) {
                    return Ok(merged);
                }
            }
        })
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
