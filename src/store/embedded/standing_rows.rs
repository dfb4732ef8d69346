//! The table of standings: the truth that a restart begins from, mirrored in memory for the hot path.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    memory::keep_until,
    sqlite::{failed, unreadable, unreadable_because},
};
use crate::domain::{
    Millis,
    standing::{PACKED_NUMBERS, Standing, StandingDetail, StandingState},
    subject::Subject,
};
use crate::store::{StandingRecord, StoreError};

fn pack(standing: &Standing) -> Vec<u8> {
    standing.pack().iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn unpack(bytes: &[u8]) -> Result<Standing, StoreError> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if numbers.len() != PACKED_NUMBERS || !rest.is_empty() {
        return Err(unreadable(format!("a standing of {} bytes", bytes.len())));
    }
    let mut unpacked = [0.0; PACKED_NUMBERS];
    for (to, from) in unpacked.iter_mut().zip(numbers) {
        *to = f64::from_le_bytes(*from);
    }
    Ok(Standing::unpack(&unpacked))
}

type Stored = (String, Vec<u8>, String);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((subject, packed, detail): Stored) -> Result<StandingRecord, StoreError> {
    Ok(StandingRecord {
        subject: Subject::stored(&subject).map_err(unreadable_because)?,
        standing: unpack(&packed)?,
        detail: serde_json::from_str(&detail).map_err(unreadable_because)?,
    })
}

fn collect(
    connection: &Connection,
    rest: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<StandingRecord>, StoreError> {
    let sql = format!("SELECT subject, packed, detail FROM standings {rest}");
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let rows = statement.query_map(values, stored).map_err(failed)?;
    rows.map(|row| record(row.map_err(failed)?)).collect()
}

/// The numbers of a subject's standing; version 0 when there is none.
pub(super) fn current(connection: &Connection, subject: &Subject) -> Result<Standing, StoreError> {
    let sql = "SELECT packed FROM standings WHERE subject = ?";
    let packed: Option<Vec<u8>> = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([subject.as_str()], |row| row.get(0)).optional())
        .map_err(failed)?;
    packed.map_or(Ok(Standing::default()), |packed| unpack(&packed))
}

/// The standing of a subject with its detail.
pub(super) fn find(connection: &Connection, subject: &Subject) -> Result<Option<StandingRecord>, StoreError> {
    Ok(collect(connection, "WHERE subject = ?", [subject.as_str()])?.pop())
}

/// Every standing, for the start of the store.
pub(super) fn all(connection: &Connection) -> Result<Vec<StandingRecord>, StoreError> {
    collect(connection, "", [])
}

/// Throttles and bans in force at `now`, newest first.
pub(super) fn in_force(connection: &Connection, now: Millis) -> Result<Vec<StandingRecord>, StoreError> {
    let rest = "WHERE in_force = 1 AND (until IS NULL OR until > ?) ORDER BY since DESC, subject";
    collect(connection, rest, [now])
}

/// Throttles and bans that ran out by `now` and whose end was not noted yet, earliest first.
pub(super) fn run_out(connection: &Connection, now: Millis) -> Result<Vec<StandingRecord>, StoreError> {
    collect(connection, "WHERE in_force = 1 AND until <= ? ORDER BY until, subject", [now])
}

/// When the next throttle or ban runs out whose end was not noted yet.
pub(super) fn next_end(connection: &Connection) -> Result<Option<Millis>, StoreError> {
    connection
        .prepare_cached("SELECT min(until) FROM standings WHERE in_force = 1 AND until IS NOT NULL")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed)
}

/// Writes a standing in place of the one before. Its version is the caller's to compare.
pub(super) fn put(
    connection: &Connection,
    subject: &Subject,
    standing: &Standing,
    detail: &StandingDetail,
) -> Result<(), StoreError> {
    let detail = serde_json::to_string(detail).map_err(unreadable_because)?;
    let sql = "INSERT OR REPLACE INTO standings
        (subject, version, since, until, in_force, keep_until, packed, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let values = params![
        subject.as_str(),
        i64::try_from(standing.version).unwrap_or(i64::MAX),
        standing.since,
        standing.until,
        standing.state != StandingState::Clear,
        keep_until(standing),
        pack(standing),
        detail,
    ];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
}

/// Notes that the end of a throttle or ban has been seen.
pub(super) fn note_end(connection: &Connection, subject: &Subject) -> Result<(), StoreError> {
    let sql = "UPDATE standings SET in_force = 0 WHERE subject = ?";
    connection.prepare_cached(sql).and_then(|mut s| s.execute([subject.as_str()])).map(drop).map_err(failed)
}

/// Deletes a subject's standing, with its detail.
pub(super) fn delete(connection: &Connection, subject: &Subject) -> Result<(), StoreError> {
    let sql = "DELETE FROM standings WHERE subject = ?";
    connection.prepare_cached(sql).and_then(|mut s| s.execute([subject.as_str()])).map(drop).map_err(failed)
}
