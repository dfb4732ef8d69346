//! Roll-ups of usage in SQLite: a row per roll-up and series, and beside it one for its latencies. A batch is one
//! transaction, and the number of the last one of each instance is written in it, so that one that is sent again
//! changes nothing.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{
    EmbeddedStore,
    sqlite::{failed, unreadable},
};
use crate::{
    domain::{
        DAY, Millis,
        usage::{
            Bucket, Cell, Detail, Keep, Latencies, Run, Totals, UsageBatch, UsageKey, UsageQuery, UsageTable,
        },
    },
    store::{StoreError, StoreResult, UsageStore},
};

/// Most rows of one kind that are deleted along with a batch.
const DELETED_AT_ONCE: usize = 1_000;
/// An instance that was silent for so long does not send its last batch again.
const SILENT: Millis = 7 * DAY;

/// A table of sums, with its column for them.
type Table = (&'static str, &'static str);
const TOTALS: Table = ("usage", "totals");
const LATENCIES: Table = ("usage_latency", "latencies");

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
    let mut totals = Sums::of(connection, TOTALS)?;
    let mut latencies = Sums::of(connection, LATENCIES)?;
    for (cell, series) in batch.cells(keep) {
        for (key, mut measured) in series {
            let key = key.encode();
            if let Some(held) = totals.held(&cell, &key)? {
                measured.totals.merge(&unpack_totals(&held)?);
            }
            totals.write(&cell, &key, &measured.totals.pack())?;
            if measured.latencies.is_empty() {
                continue;
            }
            if let Some(held) = latencies.held(&cell, &key)? {
                measured.latencies.merge(&unpack_latencies(&held)?);
            }
            latencies.write(&cell, &key, &measured.latencies.pack())?;
        }
    }
    Ok(())
}

/// Reads and writes the sums of one table.
struct Sums<'c> {
    read: CachedStatement<'c>,
    write: CachedStatement<'c>,
}

impl<'c> Sums<'c> {
    fn of(connection: &'c Connection, (table, column): Table) -> Result<Self, StoreError> {
        let read = format!(
            "SELECT {column} FROM {table} WHERE bucket = ? AND detail = ? AND start = ? AND series = ?"
        );
        let write = format!(
            "INSERT OR REPLACE INTO {table} (bucket, detail, start, series, {column}) VALUES (?, ?, ?, ?, ?)"
        );
        Ok(Self {
            read: connection.prepare_cached(&read).map_err(failed)?,
            write: connection.prepare_cached(&write).map_err(failed)?,
        })
    }

    fn held(&mut self, cell: &Cell, series: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let place = params![bucket_number(cell.bucket), detail_number(cell.detail), cell.start, series];
        self.read.query_row(place, |row| row.get(0)).optional().map_err(failed)
    }

    fn write(&mut self, cell: &Cell, series: &str, sums: &[u8]) -> Result<(), StoreError> {
        let place = (bucket_number(cell.bucket), detail_number(cell.detail));
        let values = params![place.0, place.1, cell.start, series, sums];
        self.write.execute(values).map(drop).map_err(failed)
    }
}

/// Deletes some of what is no longer kept.
fn forget(connection: &Connection, keep: Keep, now: Millis) -> Result<(), StoreError> {
    for (table, _) in [TOTALS, LATENCIES] {
        let old = format!(
            "SELECT bucket, detail, start, series FROM {table} WHERE bucket = ? AND detail = ? AND start < ?"
        );
        let sql = format!(
            "DELETE FROM {table} WHERE (bucket, detail, start, series) IN ({old} LIMIT {DELETED_AT_ONCE})"
        );
        let mut delete = connection.prepare_cached(&sql).map_err(failed)?;
        for bucket in Bucket::ALL {
            for detail in Detail::ALL {
                let place = params![bucket_number(bucket), detail_number(detail), keep.first(bucket, now)];
                delete.execute(place).map_err(failed)?;
            }
        }
    }
    let sql = "DELETE FROM usage_batches WHERE at < ?";
    let silent = now.saturating_sub(SILENT);
    connection.prepare_cached(sql).and_then(|mut s| s.execute([silent])).map(drop).map_err(failed)
}

fn usage(connection: &Connection, query: &UsageQuery, keep: Keep) -> Result<UsageTable, StoreError> {
    let mut table = UsageTable::new(query, keep);
    for run in query.runs(keep) {
        read_run(connection, query, &run, TOTALS, |start, key, bytes| {
            table.add(query, run.row(start), key, &unpack_totals(bytes)?);
            Ok(!table.overflowed)
        })?;
        if query.latencies && !table.overflowed {
            read_run(connection, query, &run, LATENCIES, |start, key, bytes| {
                table.add_latencies(query, run.row(start), key, &unpack_latencies(bytes)?);
                Ok(true)
            })?;
        }
    }
    Ok(table.settled())
}

/// Gives `take` the sums of every series in a run of roll-ups, in order, until it wants no more.
fn read_run(
    connection: &Connection,
    query: &UsageQuery,
    run: &Run,
    (table, column): Table,
    mut take: impl FnMut(Millis, UsageKey, &[u8]) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT start, series, {column} FROM {table}
         WHERE bucket = ? AND detail = ? AND start BETWEEN ? AND ? ORDER BY start"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let place = params![bucket_number(run.bucket), detail_number(query.detail()), run.first, run.last];
    let mut rows = statement.query(place).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let (start, series): (Millis, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
        let sums: Vec<u8> = row.get(2).map_err(failed)?;
        let key = UsageKey::decode(series.as_bytes()).ok_or_else(|| unreadable("a series of usage"))?;
        if !take(start, key, &sums)? {
            break;
        }
    }
    Ok(())
}

fn unpack_totals(bytes: &[u8]) -> Result<Totals, StoreError> {
    Totals::unpack(bytes).ok_or_else(|| unreadable("usage that is not nine numbers"))
}

fn unpack_latencies(bytes: &[u8]) -> Result<Latencies, StoreError> {
    Latencies::unpack(bytes).ok_or_else(|| unreadable("latencies that are not counts in buckets"))
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
        Detail::Endpoints => 2,
    }
}
