//! The event log: appending, positions, reading on. One stream per partition. Lists for people are in [`super::pages`].

use redis::{Cmd, Value};

use super::{
    RedisStore,
    error::unreadable,
    ids::{Entry, EventId},
    keys::by_partition,
    link::Reply,
    packing::json,
    pages::Listing,
};
use crate::{
    domain::event::Event,
    store::{EventLog, EventQuery, EventWriter, LogPage, LogPosition, Page, StoreError, StoreResult},
};

/// How far a position lies before an event in the partitions that are not its own, ms: servers of a cluster
/// have their own clocks, and events are appended by them.
const CLOCKS_APART: u64 = 10_000;

/// Stands for a place behind every event of a millisecond.
const BEHIND_ALL: u64 = u64::MAX;

impl EventWriter for RedisStore {
    /// Each event goes to the stream of its subject's partition, all at once.
    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>> {
        Box::pin(async move {
            let placed = events.iter().map(|event| self.keys.partition(event.subject.as_ref()));
            let by_partition = by_partition(placed.zip(0..));
            let commands = by_partition.iter().map(|(partition, indices)| {
                indices.iter().map(|i| self.append_command(*partition, &events[*i])).collect()
            });
            let replies = self.link.send(commands.collect::<Result<_, _>>()?).await?;
            let mut appended = events.to_vec();
            for ((partition, indices), replies) in by_partition.into_iter().zip(replies) {
                for (index, reply) in indices.into_iter().zip(replies) {
                    let id: Value = self.read(reply)?;
                    appended[index] = named(&events[index], partition, &id)?;
                }
            }
            Ok(appended)
        })
    }
}

impl EventLog for RedisStore {
    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>> {
        Box::pin(async move { Listing::new(self, query)?.page().await })
    }

    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>> {
        Box::pin(async move {
            let id = id.parse::<EventId>().ok().filter(|id| id.partition < self.keys.partitions());
            let Some(id) = id else { return Ok(None) };
            let mut command = redis::cmd("XRANGE");
            command.arg(self.keys.events(id.partition)).arg(id.in_stream()).arg(id.in_stream());
            let reply = self.link.command(command).await?;
            Ok(self.entries(id.partition, Ok(reply))?.pop().and_then(|(_, event)| event))
        })
    }

    /// The last entry of every partition.
    fn log_end(&self) -> StoreResult<'_, LogPosition> {
        Box::pin(async move {
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
        })
    }

    /// Exactly behind the event in its own partition; in the others a little before it: an event may be read
    /// twice, never skipped.
    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition> {
        Box::pin(async move {
            let id: EventId = id.parse()?;
            if id.partition >= self.keys.partitions() {
                return Err(StoreError::BadCursor);
            }
            let before = (id.ms.saturating_sub(CLOCKS_APART), 0);
            let of = |partition| if partition == id.partition { (id.ms, id.seq) } else { before };
            Ok(LogPosition((0..self.keys.partitions()).map(of).collect()))
        })
    }

    /// It is read from the last event that was read before: when that is gone, what followed it may be, too.
    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage> {
        Box::pin(async move {
            let mut after = self.in_every_partition(position);
            let mut entries = Vec::new();
            let (replies, mut gap) = (self.read_behind(&after, limit).await?, false);
            for ((partition, read), reply) in (0..).zip(&mut after).zip(replies) {
                let (found, missed) = behind(read, self.entries(partition, reply)?);
                entries.extend(found);
                gap |= missed;
            }
            entries.sort_by_key(|(id, _)| *id);
            entries.truncate(limit.max(1));
            for (id, _) in &entries {
                after[usize::from(id.partition)] = (id.ms, id.seq);
            }
            let events = entries.into_iter().filter_map(|(_, event)| event).collect();
            Ok(LogPage { events, next: LogPosition(after), gap })
        })
    }

    /// Behind the event in its own partition.
    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        let id: EventId = id.parse()?;
        let mut after = self.in_every_partition(position);
        let own = after.get_mut(usize::from(id.partition)).ok_or(StoreError::BadCursor)?;
        *own = (id.ms, id.seq);
        Ok(LogPosition(after))
    }
}

impl RedisStore {
    fn in_every_partition(&self, position: &LogPosition) -> Vec<(u64, u64)> {
        let partitions = usize::from(self.keys.partitions());
        let mut after: Vec<(u64, u64)> = position.0.iter().copied().take(partitions).collect();
        after.resize(partitions, (0, 0));
        after
    }

    /// What each partition holds from its place in `after` on, that entry included.
    async fn read_behind(
        &self,
        after: &[(u64, u64)],
        limit: usize,
    ) -> Result<impl Iterator<Item = Reply> + use<>, StoreError> {
        // Twice its share from each partition: behind by much, all have some; a page may be short of its limit.
        let count = (2 * limit).div_ceil(after.len().max(1)).clamp(16, 1_000);
        let next = |(partition, (ms, seq)): (u16, &(u64, u64))| {
            let mut command = redis::cmd("XRANGE");
            let start = format!("{ms}-{seq}");
            command.arg(self.keys.events(partition)).arg(start).arg("+").arg("COUNT").arg(count + 1);
            vec![command]
        };
        Ok(self.aside.send((0..).zip(after).map(next).collect()).await?.into_iter().flatten())
    }

    /// The entries that a range of a stream holds.
    pub(super) fn entries(&self, partition: u16, reply: Reply) -> Result<Vec<Entry>, StoreError> {
        let entries: Vec<(Value, Vec<Vec<u8>>)> = self.read(reply)?;
        entries.into_iter().map(|(id, fields)| entry(partition, &id, &fields)).collect()
    }

    fn append_command(&self, partition: u16, event: &Event) -> Result<Cmd, StoreError> {
        let mut command = redis::cmd("XADD");
        command.arg(self.keys.events(partition)).arg("MAXLEN").arg("~").arg(self.event_cap());
        command.arg("*").arg("e").arg(encode(event)?);
        Ok(command)
    }

    /// About how many events a partition keeps, as an argument.
    pub(super) fn event_cap(&self) -> String {
        self.options.max_events_per_partition.to_string()
    }
}

/// What of `found` is behind the entry that was `read` last, and whether entries between may have been deleted unread.
fn behind(read: &mut (u64, u64), mut found: Vec<Entry>) -> (Vec<Entry>, bool) {
    let known = found.first().is_some_and(|(id, _)| (id.ms, id.seq) == *read);
    if known {
        found.remove(0);
    }
    let is_there = known || *read == (0, 0) || read.1 == BEHIND_ALL;
    if !is_there && found.is_empty() {
        // What was read last has been deleted, and nothing came after it: what comes then is no gap.
        read.1 = BEHIND_ALL;
    }
    let gap = !is_there && !found.is_empty();
    (found, gap)
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

/// `event` with the id that its stream gave it.
pub(super) fn named(event: &Event, partition: u16, id: &Value) -> Result<Event, StoreError> {
    let id = EventId::from_stream(partition, id).ok_or_else(|| unreadable("an event's id"))?;
    Ok(Event { id: id.to_string(), ..event.clone() })
}

/// An event as it is stored: its id is that of its stream entry.
pub(super) fn encode(event: &Event) -> Result<Vec<u8>, StoreError> {
    if event.id.is_empty() { json(event) } else { json(&Event { id: String::new(), ..event.clone() }) }
}
