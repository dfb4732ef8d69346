//! Roll-ups of usage: a hash for each, with a field per series. A roll-up is in the partition of its start, so that
//! the minutes of a day are spread over the slots; what must be remembered so that nothing is added twice is in the
//! same hash, so one script in one slot adds to it, and both come and go together.

use std::collections::HashSet;

use super::{
    RedisStore,
    error::unreadable,
    scripts::{Call, USAGE},
};
use crate::{
    domain::usage::{Bucket, Cell, Detail, Totals, UsageBatch, UsageKey, UsageQuery, UsageTable},
    store::{StoreError, StoreResult, UsageStore},
};

/// Roll-ups read at a time.
const READ_AT_ONCE: usize = 32;
/// Series of each that are read at a time.
const PIECE: usize = 500;
/// The cursor at which reading begins, and which says that it has ended.
const START: &str = "0";

/// Series with their totals, as they are stored.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// How far a roll-up has been read.
struct Reading {
    cell: Cell,
    cursor: String,
    seen: HashSet<Vec<u8>>,
}

impl Reading {
    fn of(cell: &Cell) -> Self {
        Self { cell: *cell, cursor: START.to_owned(), seen: HashSet::new() }
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
        for (series, totals) in fields.into_iter().filter(|(field, _)| !field.starts_with(b"#")) {
            let key = UsageKey::decode(&series).ok_or_else(|| unreadable("a series of usage"))?;
            let totals = Totals::unpack(&totals).ok_or_else(|| unreadable("usage"))?;
            // What is read in pieces may hold a series twice.
            if whole || self.seen.insert(series) {
                table.add(query, self.cell.start, key, &totals);
            }
        }
        Ok(())
    }
}

impl UsageStore for RedisStore {
    /// A part that was added already is not added again.
    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let cells = batch.cells(self.options.usage).into_iter();
            let calls: Vec<Vec<Call>> = cells
                .map(|(cell, series)| {
                    let pairs = series.into_iter();
                    let call = self.add_call(&cell, batch);
                    vec![pairs.fold(call, |call, (key, totals)| call.arg(key.encode()).arg(totals.pack()))]
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
            let cells: Vec<Cell> = query.cells(self.options.usage).collect();
            for cells in cells.chunks(READ_AT_ONCE) {
                let mut open: Vec<Reading> = cells.iter().map(Reading::of).collect();
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
            .key(self.usage_key(cell))
            .arg(format!("#{}", batch.instance))
            .arg(batch.seq.to_string())
            .arg(self.options.usage.left(cell.bucket, cell.start, batch.now).to_string())
    }

    fn piece_command(&self, reading: &Reading) -> redis::Cmd {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.usage_key(&reading.cell)).arg(&reading.cursor).arg("COUNT").arg(PIECE);
        command
    }

    fn usage_key(&self, cell: &Cell) -> String {
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
        };
        self.keys.usage(u16::try_from(partition).unwrap_or(0), &format!("{bucket}{detail}:{number}"))
    }
}
