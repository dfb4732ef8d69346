//! Roll-ups of usage: a hash for each, with a field per series, and one beside it for latencies, which is read only
//! where they are asked for. A roll-up is in the partition of its start, so that the minutes of a day are spread over
//! the slots; what must be remembered so that nothing is added twice is in the same hash, so one script in one slot
//! adds to it, and all of it comes and goes together.

use std::collections::HashSet;

use super::{
    RedisStore,
    error::unreadable,
    scripts::{Call, USAGE},
};
use crate::{
    domain::{
        Millis,
        usage::{
            Bucket, Cell, Detail, Keep, Latencies, Totals, UsageBatch, UsageKey, UsageQuery, UsageTable,
        },
    },
    store::{StoreError, StoreResult, UsageStore},
};

/// Roll-ups read at a time.
const READ_AT_ONCE: usize = 32;
/// Series of each that are read at a time.
const PIECE: usize = 500;
/// The cursor at which reading begins, and which says that it has ended.
const START: &str = "0";

/// Series with their sums, as they are stored.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Which of the two hashes of a roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Totals,
    Latencies,
}

/// How far a hash of a roll-up has been read.
struct Reading {
    cell: Cell,
    /// The row that the roll-up is in.
    row: Millis,
    kind: Kind,
    cursor: String,
    seen: HashSet<Vec<u8>>,
}

impl Reading {
    fn of((cell, row, kind): &(Cell, Millis, Kind)) -> Self {
        Self { cell: *cell, row: *row, kind: *kind, cursor: START.to_owned(), seen: HashSet::new() }
    }

    /// Adds a piece of the roll-up to the table, and moves on to the next.
    fn take_in(
        &mut self,
        (next, fields): (String, Fields),
        query: &UsageQuery,
        table: &mut UsageTable,
    ) -> Result<(), StoreError> {
        let whole = self.cursor == START && next == START;
        self.cursor = next;
        for (series, sums) in fields.into_iter().filter(|(field, _)| !field.starts_with(b"#")) {
            let key = UsageKey::decode(&series).ok_or_else(|| unreadable("a series of usage"))?;
            // What is read in pieces may hold a series twice.
            if whole || self.seen.insert(series) {
                self.add(key, &sums, query, table)?;
            }
        }
        Ok(())
    }

    fn add(
        &self,
        key: UsageKey,
        sums: &[u8],
        query: &UsageQuery,
        table: &mut UsageTable,
    ) -> Result<(), StoreError> {
        match self.kind {
            Kind::Totals => {
                let totals = Totals::unpack(sums).ok_or_else(|| unreadable("usage"))?;
                table.add(query, self.row, key, &totals);
            }
            Kind::Latencies => {
                let latencies = Latencies::unpack(sums).ok_or_else(|| unreadable("latencies"))?;
                table.add_latencies(query, self.row, key, &latencies);
            }
        }
        Ok(())
    }
}

/// The hashes that a question wants read, oldest first.
fn asked(query: &UsageQuery, keep: Keep) -> Vec<(Cell, Millis, Kind)> {
    let detail = query.detail();
    let kinds: &[Kind] = if query.latencies { &[Kind::Totals, Kind::Latencies] } else { &[Kind::Totals] };
    let mut asked = Vec::new();
    for run in query.runs(keep) {
        for start in run.starts() {
            let cell = Cell { bucket: run.bucket, detail, start };
            asked.extend(kinds.iter().map(|kind| (cell, run.row(start), *kind)));
        }
    }
    asked
}

impl UsageStore for RedisStore {
    /// A part that was added already is not added again.
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let cells = batch.cells(self.options.usage).into_iter();
            let calls: Vec<Vec<Call>> = cells
                .map(|(cell, series)| {
                    let call = self.add_call(&cell, batch);
                    vec![series.into_iter().fold(call, |call, (key, measured)| {
                        call.arg(key.encode()).arg(measured.totals.pack()).arg(measured.latencies.pack())
                    })]
                })
                .collect();
            if calls.is_empty() {
                return Ok(());
            }
            for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
                reply.map_err(|error| self.link.translate(&error))?;
            }
            Ok(())
        })
    }

    /// Reads every roll-up between the ends of the query, by its name: nothing is searched for. Large ones are read in
    /// pieces, between which the server answers others: a hundred thousand series at once would hold it up for 50 ms.
    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable> {
        Box::pin(async move {
            let mut table = UsageTable::new(query, self.options.usage);
            for hashes in asked(query, self.options.usage).chunks(READ_AT_ONCE) {
                let mut open: Vec<Reading> = hashes.iter().map(Reading::of).collect();
                while !open.is_empty() && !table.overflowed {
                    let commands = open.iter().map(|reading| vec![self.piece_command(reading)]);
                    let replies = self.link.send(commands.collect()).await?;
                    for (reading, reply) in open.iter_mut().zip(replies.into_iter().flatten()) {
                        reading.take_in(self.read(reply)?, query, &mut table)?;
                    }
                    open.retain(|reading| reading.cursor != START);
                }
            }
            Ok(table.settled())
        })
    }
}

impl RedisStore {
    /// The call that adds to a roll-up, without the series yet.
    fn add_call(&self, cell: &Cell, batch: &UsageBatch) -> Call {
        Call::new(&USAGE)
            .key(self.usage_key(cell, Kind::Totals))
            .key(self.usage_key(cell, Kind::Latencies))
            .arg(format!("#{}", batch.instance))
            .arg(batch.seq.to_string())
            .arg(self.options.usage.left(cell.bucket, cell.start, batch.now).to_string())
    }

    fn piece_command(&self, reading: &Reading) -> redis::Cmd {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.usage_key(&reading.cell, reading.kind)).arg(&reading.cursor).arg("COUNT").arg(PIECE);
        command
    }

    fn usage_key(&self, cell: &Cell, kind: Kind) -> String {
        let number = cell.start.div_euclid(cell.bucket.millis());
        let partition = number.rem_euclid(i64::from(self.keys.partitions()));
        let bucket = match cell.bucket {
            Bucket::Minute => "m",
            Bucket::Hour => "h",
            Bucket::Day => "d",
        };
        let detail = match cell.detail {
            Detail::Series => "",
            Detail::Projects => "p",
            Detail::Endpoints => "e",
        };
        let kind = if kind == Kind::Latencies { ":latency" } else { "" };
        self.keys.usage(u16::try_from(partition).unwrap_or(0), &format!("{bucket}{detail}:{number}{kind}"))
    }
}
