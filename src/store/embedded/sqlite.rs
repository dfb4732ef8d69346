//! The SQLite file: how it is opened, brought to the current layout, and what its errors mean to callers.

use std::{error::Error, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::profile::Profile,
    store::{StoreError, StoreFault, packed},
};

/// The steps that lead to the current layout; `user_version` counts those that were taken.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/0002_usage.sql"),
    include_str!("../../../migrations/sqlite/0003_quotas.sql"),
    include_str!("../../../migrations/sqlite/0004_sinks.sql"),
    include_str!("../../../migrations/sqlite/0005_document_changes.sql"),
    include_str!("../../../migrations/sqlite/0006_sink_health.sql"),
    include_str!("../../../migrations/sqlite/0007_reservations.sql"),
    include_str!("../../../migrations/sqlite/0008_usage_latency.sql"),
    include_str!("../../../migrations/sqlite/0009_reservation_stages.sql"),
    include_str!("../../../migrations/sqlite/0010_subjects_seen.sql"),
    include_str!("../../../migrations/sqlite/0011_claims.sql"),
];
/// The layout that this version writes: how many steps lead to it.
pub const LAYOUT: u32 = MIGRATIONS.len() as u32;
/// How long one connection waits for another; only a backup tool beside us ever makes it wait.
const BUSY: Duration = Duration::from_secs(5);
/// The first byte of every blob: how the rest is to be read.
const BLOB_VERSION: u8 = 1;

/// Opens the file for the one writer and brings it to the current layout.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // FULL: a commit has reached the disk before it is acknowledged, also through a power cut.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF;",
        )
        .map_err(failed)?;
    migrate(&mut connection)?;
    // Whoever sent for a sink has ended with the process that had the file.
    connection.execute("UPDATE sinks SET owner = '', until = 0", []).map_err(failed)?;
    Ok(connection)
}

/// A database that lives as long as the process.
pub(super) fn open_in_memory() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory().map_err(failed)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF;").map_err(failed)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the file for queries.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;").map_err(failed)?;
    Ok(connection)
}

/// The layout of a file, which is not changed.
pub(super) fn layout_of(path: &Path) -> Result<u32, StoreError> {
    layout(&open_reader(path)?)
}

fn layout(connection: &Connection) -> Result<u32, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let taken = layout(connection)? as usize;
    if taken > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return Err(unreadable(format!(
            "keyward.db has layout {taken}, this version knows {known} and none after it"
        )));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(taken) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// What a failure of SQLite means to a caller.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    use ErrorCode as Code;
    let meaning = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::OutOfMemory) => StoreError::Unavailable,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) | None => StoreError::Incompatible,
        Some(_) => StoreError::Refused,
    };
    meaning(StoreFault::of(error))
}

/// What is stored is not what it should be; `what` says what was found.
pub(super) fn unreadable(what: impl Into<StoreFault>) -> StoreError {
    StoreError::Incompatible(what.into())
}

/// What is stored cannot be read, or not be written as this version would read it.
pub(super) fn unreadable_because(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Incompatible(StoreFault::of(error))
}

/// Writes a blob: its version, then postcard.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![BLOB_VERSION]).map_err(unreadable_because)
}

/// Writes a blob of a value and of what later versions keep behind it.
pub(super) fn encode_with<T: Serialize, U: Serialize>(value: &T, more: &U) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(more, encode(value)?).map_err(unreadable_because)
}

/// A packed profile as a blob: its version, then what was packed.
pub(super) fn profile_blob(packed: &[u8]) -> Vec<u8> {
    [&[BLOB_VERSION], packed].concat()
}

/// Reads a blob that holds a profile.
pub(super) fn decode_profile(blob: &[u8]) -> Result<Profile, StoreError> {
    packed::unpack(content(blob)?).map_err(unreadable_because)
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(blob: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(content(blob)?).map_err(unreadable_because)
}

/// Reads what [`encode_with`] wrote, and what [`encode`] did: then there is nothing behind it.
pub(super) fn decode_with<T: DeserializeOwned, U: DeserializeOwned + Default>(
    blob: &[u8],
) -> Result<(T, U), StoreError> {
    let (value, behind) = postcard::take_from_bytes(content(blob)?).map_err(unreadable_because)?;
    let more = if behind.is_empty() { Ok(U::default()) } else { postcard::from_bytes(behind) };
    Ok((value, more.map_err(unreadable_because)?))
}

fn content(blob: &[u8]) -> Result<&[u8], StoreError> {
    match blob.split_first() {
        Some((&BLOB_VERSION, rest)) => Ok(rest),
        Some((version, _)) => Err(unreadable(format!("a blob of version {version}"))),
        None => Err(unreadable("an empty blob")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_the_future_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        open_writer(&path).unwrap().pragma_update(None, "user_version", 9_999).unwrap();
        let error = open_writer(&path).unwrap_err();
        assert!(
            matches!(&error, StoreError::Incompatible(why) if why.to_string().contains("9999")),
            "{error}"
        );
    }

    #[test]
    fn opening_again_takes_no_step_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        open_writer(&path).unwrap();
        open_writer(&path).unwrap();
        let error = open_reader(&path).unwrap().execute("DELETE FROM events", []).unwrap_err();
        assert!(matches!(failed(error), StoreError::Refused(_)));
    }

    #[test]
    fn a_file_of_an_older_layout_is_brought_forward_with_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute("INSERT INTO peppers (name, fingerprint) VALUES ('k1', 'abc')", []).unwrap();
        drop(old);
        let now = open_writer(&path).unwrap();
        assert_eq!(layout(&now).unwrap(), LAYOUT);
        let text = |sql: &str| now.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("SELECT fingerprint FROM peppers"), "abc");
        assert_eq!(text("SELECT CAST(count(*) AS TEXT) FROM usage"), "0");
    }

    #[test]
    fn a_blob_of_another_version_is_not_guessed_at() {
        let mut blob = encode(&(7_u64, "text")).unwrap();
        assert_eq!(decode::<(u64, String)>(&blob).unwrap(), (7, "text".to_owned()));
        blob[0] = 2;
        assert!(decode::<(u64, String)>(&blob).is_err());
        assert!(decode::<u64>(&[]).is_err());
    }
}
