//! Roll-ups of usage in SQLite: a row per roll-up and series. A batch is one transaction, and the number of the last
//! one of each instance is written in it, so that one that is sent again changes nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    EmbeddedStore,
    sqlite::{failed, unreadable},
};
use crate::{
    domain::{
        DAY, Millis,
        usage::{Bucket, Detail, Keep, Totals, UsageBatch, UsageKey, UsageQuery, UsageTable},
    },
    store::{StoreError, StoreResult, UsageStore},
};

/// Most rows of one kind that are deleted along with a batch.
const DELETED_AT_ONCE: usize = 1_000;
/// An instance that was silent for so long does not send its last batch again.
const SILENT: Millis = 7 * DAY;

impl UsageStore for EmbeddedStore {
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        let (batch, keep) = (batch.clone(), self.keep);
        Box::pin(self.write(move |connection, _| add_usage(connection, &batch, keep)))
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable> {
        let (query, keep) = (query.clone(), self.keep);
        Box::pin(self.read(move |connection| usage(connection, &query, keep)))
    }
}

fn add_usage(connection: &Connection, batch: &UsageBatch, keep: Keep) -> Result<(), StoreError> {
    let sql = "INSERT INTO usage_batches (instance, seq, at) VALUES (?1, ?2, ?3)
               ON CONFLICT (instance) DO UPDATE SET seq = ?2, at = ?3 WHERE seq < ?2";
    let seq = i64::try_from(batch.seq).unwrap_or(i64::MAX);
    let values = params![&*batch.instance, seq, batch.now];
    let fresh = connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(failed)?;
    if fresh == 0 {
        return Ok(());
    }
    add_cells(connection, batch, keep)?;
    forget(connection, keep, batch.now)
}

/// Adds a batch to the roll-ups, whatever was added before.
pub(super) fn add_cells(connection: &Connection, batch: &UsageBatch, keep: Keep) -> Result<(), StoreError> {
    let read = "SELECT totals FROM usage WHERE bucket = ? AND detail = ? AND start = ? AND series = ?";
    let write = "INSERT OR REPLACE INTO usage (bucket, detail, start, series, totals) VALUES (?, ?, ?, ?, ?)";
    let mut read = connection.prepare_cached(read).map_err(failed)?;
    let mut write = connection.prepare_cached(write).map_err(failed)?;
    for (cell, series) in batch.cells(keep) {
        let (bucket, detail) = (bucket_number(cell.bucket), detail_number(cell.detail));
        for (key, mut totals) in series {
            let key = key.encode();
            let place = params![bucket, detail, cell.start, key];
            let held: Option<Vec<u8>> = read.query_row(place, |row| row.get(0)).optional().map_err(failed)?;
            if let Some(held) = held {
                totals.merge(&unpack(&held)?);
            }
            let values = params![bucket, detail, cell.start, key, totals.pack()];
            write.execute(values).map_err(failed)?;
        }
    }
    Ok(())
}

/// Deletes some of what is no longer kept.
fn forget(connection: &Connection, keep: Keep, now: Millis) -> Result<(), StoreError> {
    let old = "SELECT bucket, detail, start, series FROM usage WHERE bucket = ? AND detail = ? AND start < ?";
    let sql =
        format!("DELETE FROM usage WHERE (bucket, detail, start, series) IN ({old} LIMIT {DELETED_AT_ONCE})");
    let mut delete = connection.prepare_cached(&sql).map_err(failed)?;
    for bucket in Bucket::ALL {
        for detail in Detail::ALL {
            let place = params![bucket_number(bucket), detail_number(detail), keep.first(bucket, now)];
            delete.execute(place).map_err(failed)?;
        }
    }
    let sql = "DELETE FROM usage_batches WHERE at < ?";
    let silent = now.saturating_sub(SILENT);
    connection.prepare_cached(sql).and_then(|mut s| s.execute([silent])).map(drop).map_err(failed)
}

fn usage(connection: &Connection, query: &UsageQuery, keep: Keep) -> Result<UsageTable, StoreError> {
    let mut table = UsageTable::new(query, keep);
    let mut cells = query.cells(keep);
    let Some(first) = cells.next() else { return Ok(table) };
    let last = cells.last().unwrap_or(first);
    let sql = "SELECT start, series, totals FROM usage
               WHERE bucket = ? AND detail = ? AND start BETWEEN ? AND ? ORDER BY start";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let place = params![bucket_number(first.bucket), detail_number(first.detail), first.start, last.start];
    let mut rows = statement.query(place).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        if table.overflowed {
            break;
        }
        let (start, series): (Millis, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
        let totals: Vec<u8> = row.get(2).map_err(failed)?;
        let key = UsageKey::decode(series.as_bytes()).ok_or_else(|| unreadable("a series of usage"))?;
        table.add(query, start, key, &unpack(&totals)?);
    }
    Ok(table.settled())
}

fn unpack(bytes: &[u8]) -> Result<Totals, StoreError> {
    Totals::unpack(bytes).ok_or_else(|| unreadable("usage that is not nine numbers"))
}

fn bucket_number(bucket: Bucket) -> u8 {
    match bucket {
        Bucket::Minute => 0,
        Bucket::Hour => 1,
        Bucket::Day => 2,
    }
}

fn detail_number(detail: Detail) -> u8 {
    match detail {
        Detail::Series => 0,
        Detail::Projects => 1,
    }
}
