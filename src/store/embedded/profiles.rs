//! Profiles: those used lately are in memory and written in snapshots; others are read from SQLite when they are
//! needed.

use rusqlite::OptionalExtension;

use super::{
    Backing, EmbeddedStore,
    readers::Size,
    sqlite::{decode_profile, failed},
};
use crate::{
    domain::{profile::Profile, subject::Subject},
    store::{ProfileStore, StoreError, StoreResult},
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
}

impl EmbeddedStore {
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
