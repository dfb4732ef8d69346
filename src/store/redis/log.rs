//! The event log as what follows it sees it: appending, positions, reading on. One stream per partition.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::{
    RedisStore,
    error::unreadable,
    ids::EventId,
    respond::{encode, named},
};
use crate::{
    domain::{Millis, event::Event},
    store::{LogPage, LogPosition, StoreError},
};

/// How far a position lies before an event in the partitions that are not its own, ms: servers of a cluster
/// have their own clocks, and events are appended by them.
const CLOCKS_APART: u64 = 10_000;

/// Stands for a place behind every event of a millisecond.
const BEHIND_ALL: u64 = u64::MAX;

/// An entry of a stream: its id and the event, `None` where this version cannot read it.
pub(super) type Entry = (EventId, Option<Event>);

impl RedisStore {
    /// Appends; events of one subject in their order.
    pub(super) async fn append_all(&self, events: &[Event]) -> Result<Vec<Event>, StoreError> {
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            by_partition.entry(self.keys.partition(event.subject.as_ref())).or_default().push(index);
        }
        let mut groups = Vec::with_capacity(by_partition.len());
        for (partition, indices) in &by_partition {
            groups.push(
                indices
                    .iter()
                    .map(|i| self.append_command(*partition, &events[*i]))
                    .collect::<Result<_, _>>()?,
            );
        }
        let replies = self.link.send(groups).await?;
        let mut appended = events.to_vec();
        for ((partition, indices), replies) in by_partition.into_iter().zip(replies) {
            for (index, reply) in indices.into_iter().zip(replies) {
                let id: Value = self.read(reply)?;
                appended[index] = named(&events[index], partition, &id)?;
            }
        }
        Ok(appended)
    }

    /// The last entry of every partition.
    pub(super) async fn end_of_log(&self) -> Result<LogPosition, StoreError> {
        let last = |partition| {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.events(partition)).arg("+").arg("-").arg("COUNT").arg(1);
            vec![command]
        };
        let replies = self.aside.send((0..self.keys.partitions()).map(last).collect()).await?;
        let mut position = Vec::with_capacity(replies.len());
        for (partition, reply) in (0..).zip(replies.into_iter().flatten()) {
            let entries = self.entries(partition, reply)?;
            position.push(entries.first().map_or((0, 0), |(id, _)| (id.ms, id.seq)));
        }
        Ok(LogPosition(position))
    }

    /// Exactly behind the event in its own partition; in the others a little before it: an event may be read
    /// twice, never skipped.
    pub(super) fn position_behind(&self, id: &str) -> Result<LogPosition, StoreError> {
        let id: EventId = id.parse()?;
        if id.partition >= self.keys.partitions() {
            return Err(StoreError::BadCursor);
        }
        let before = (id.ms.saturating_sub(CLOCKS_APART), 0);
        let of = |partition| if partition == id.partition { (id.ms, id.seq) } else { before };
        Ok(LogPosition((0..self.keys.partitions()).map(of).collect()))
    }

    /// Behind an event in its own partition.
    pub(super) fn advanced(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        let id: EventId = id.parse()?;
        let mut after = self.in_every_partition(position);
        let own = after.get_mut(usize::from(id.partition)).ok_or(StoreError::BadCursor)?;
        *own = (id.ms, id.seq);
        Ok(LogPosition(after))
    }

    fn in_every_partition(&self, position: &LogPosition) -> Vec<(u64, u64)> {
        let partitions = usize::from(self.keys.partitions());
        let mut after: Vec<(u64, u64)> = position.0.iter().copied().take(partitions).collect();
        after.resize(partitions, (0, 0));
        after
    }

    /// Reads on behind `position`, oldest first. It is read from the last event that was read before: when that is
    /// gone, what followed it may be, too.
    pub(super) async fn follow_log(
        &self,
        position: &LogPosition,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        let mut after = self.in_every_partition(position);
        // Twice its share from each partition: behind by much, all have some; a page may be short of its limit.
        let count = (2 * limit).div_ceil(after.len().max(1)).clamp(16, 1_000);
        let next = |(partition, (ms, seq)): (u16, &(u64, u64))| {
            let mut command = redis::cmd("XRANGE");
            let start = format!("{ms}-{seq}");
            command.arg(self.keys.events(partition)).arg(start).arg("+").arg("COUNT").arg(count + 1);
            vec![command]
        };
        let replies = self.aside.send((0..).zip(&after).map(next).collect()).await?;
        let (mut entries, mut gap, mut gone) = (Vec::new(), false, Vec::new());
        for ((partition, read), reply) in (0..).zip(&after).zip(replies.into_iter().flatten()) {
            let mut found = self.entries(partition, reply)?.into_iter().peekable();
            let known = found.next_if(|(id, _)| (id.ms, id.seq) == *read).is_some();
            let is_there = known || *read == (0, 0) || read.1 == BEHIND_ALL;
            gap |= !is_there && found.peek().is_some();
            if !is_there && found.peek().is_none() {
                gone.push(partition);
            }
            entries.extend(found);
        }
        // What was read last has been deleted, and nothing came after it: what comes then is no gap.
        for partition in gone {
            after[usize::from(partition)].1 = BEHIND_ALL;
        }
        entries.sort_by_key(|(id, _)| *id);
        entries.truncate(limit.max(1));
        for (id, _) in &entries {
            after[usize::from(id.partition)] = (id.ms, id.seq);
        }
        let events = entries.into_iter().filter_map(|(_, event)| event).collect();
        Ok(LogPage { events, next: LogPosition(after), gap })
    }

    /// Lets go of events past their age. Whole nodes of a stream at a time: cheap, and a little late.
    pub(super) async fn drop_old_events(&self, now: Millis) -> Result<(), StoreError> {
        let age = Millis::try_from(self.options.event_retention.as_millis()).unwrap_or(Millis::MAX);
        let oldest = now.saturating_sub(age).max(0);
        let trim = |partition| {
            let mut command = redis::cmd("XTRIM");
            command.arg(self.keys.events(partition)).arg("MINID").arg("~").arg(oldest);
            vec![command]
        };
        for reply in
            self.link.send((0..self.keys.partitions()).map(trim).collect()).await?.into_iter().flatten()
        {
            self.read::<i64>(reply)?;
        }
        Ok(())
    }

    /// The entries that a range of a stream holds.
    pub(super) fn entries(
        &self,
        partition: u16,
        reply: super::link::Reply,
    ) -> Result<Vec<Entry>, StoreError> {
        let entries: Vec<(Value, Vec<Vec<u8>>)> = self.read(reply)?;
        entries.into_iter().map(|(id, fields)| entry(partition, &id, &fields)).collect()
    }

    fn append_command(&self, partition: u16, event: &Event) -> Result<Cmd, StoreError> {
        let mut command = redis::cmd("XADD");
        command.arg(self.keys.events(partition)).arg("MAXLEN").arg("~").arg(self.event_cap());
        command.arg("*").arg("e").arg(encode(event)?);
        Ok(command)
    }
}

fn entry(partition: u16, id: &Value, fields: &[Vec<u8>]) -> Result<Entry, StoreError> {
    let id = EventId::from_stream(partition, id).ok_or_else(|| unreadable("an event's id"))?;
    let event = fields.get(1).and_then(|json| serde_json::from_slice::<Event>(json).ok());
    if event.is_none() {
        // Written by a newer version: skipping one event beats never getting past it.
        tracing::warn!(%id, "an event in the log cannot be read and is skipped");
    }
    Ok((id, event.map(|event| Event { id: id.to_string(), ..event })))
}
