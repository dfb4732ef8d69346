//! Roll-ups of usage: a hash for each, with a field per series. A roll-up is in the partition of its start, so that
//! the minutes of a day are spread over the slots; what must be remembered so that nothing is added twice is in the
//! same hash, so one script in one slot adds to it, and both come and go together.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    scripts::{Call, USAGE},
};
use crate::{
    domain::usage::{Bucket, Cell, Detail, Totals, UsageBatch, UsageKey, UsageQuery, UsageTable},
    store::StoreError,
};

/// Roll-ups read at a time.
const READ_AT_ONCE: usize = 64;

impl RedisStore {
    /// Adds a batch to every roll-up that it touches. A part that was added already is not added again.
    pub(super) async fn add_usage_batch(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let calls = batch.cells(self.options.usage).into_iter().map(|(cell, series)| {
            let left = self.options.usage.left(cell.bucket, cell.start, batch.now);
            let call = Call::new(&USAGE)
                .key(self.usage_key(&cell))
                .arg(format!("#{}", batch.instance))
                .arg(batch.seq.to_string())
                .arg(left.to_string());
            let pairs = series.into_iter();
            let call = pairs.fold(call, |call, (key, totals)| call.arg(key.encode()).arg(totals.pack()));
            vec![call]
        });
        let calls: Vec<_> = calls.collect();
        if calls.is_empty() {
            return Ok(());
        }
        for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
            reply.map_err(|error| self.link.translate(&error))?;
        }
        Ok(())
    }

    /// Reads every roll-up between the ends of the query, by its name: nothing is searched for.
    pub(super) async fn read_usage(&self, query: &UsageQuery) -> Result<UsageTable, StoreError> {
        let mut table = UsageTable::new(query, self.options.usage);
        let cells: Vec<Cell> = query.cells(self.options.usage).collect();
        for cells in cells.chunks(READ_AT_ONCE) {
            if table.overflowed {
                break;
            }
            let commands = cells.iter().map(|cell| {
                let mut command = redis::cmd("HGETALL");
                command.arg(self.usage_key(cell));
                vec![command]
            });
            let replies = self.link.send(commands.collect()).await?;
            for (cell, reply) in cells.iter().zip(replies.into_iter().flatten()) {
                let value = reply.map_err(|error| self.link.translate(&error))?;
                self.take_in(&mut table, query, cell, value)?;
            }
        }
        Ok(table)
    }

    fn take_in(
        &self,
        table: &mut UsageTable,
        query: &UsageQuery,
        cell: &Cell,
        value: Value,
    ) -> Result<(), StoreError> {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = self.read_value(value)?;
        for (series, totals) in fields.iter().filter(|(field, _)| !field.starts_with(b"#")) {
            let key = UsageKey::decode(series).ok_or_else(|| unreadable("a series of usage"))?;
            let totals = Totals::unpack(totals).ok_or_else(|| unreadable("usage"))?;
            table.add(query, cell.start, key, &totals);
        }
        Ok(())
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
