//! The event log as people see it: newest first, filtered, in pages.

use std::collections::VecDeque;

use redis::Cmd;

use super::{RedisStore, ids::EventId, log::Entry};
use crate::{
    domain::{DAY, event::Event},
    store::{EventQuery, Page, StoreError},
};

/// Entries looked at for one page; then a partial page is returned, with a cursor.
const SCAN_LIMIT: usize = 20_000;
/// Entries read from one partition at a time.
const CHUNK: std::ops::RangeInclusive<usize> = 16..=1_000;

/// What is read and not yet used of one partition, newest first.
struct Lane {
    partition: u16,
    entries: VecDeque<Entry>,
    /// Where reading goes on (`+`, or an id, exclusive with a parenthesis).
    from: String,
    chunk: usize,
    done: bool,
}

impl RedisStore {
    /// One event; `None` also for what is no id.
    pub(super) async fn event_by_id(&self, id: &str) -> Result<Option<Event>, StoreError> {
        let Ok(id) = id.parse::<EventId>() else { return Ok(None) };
        if id.partition >= self.keys.partitions() {
            return Ok(None);
        }
        let mut command = redis::cmd("XRANGE");
        command.arg(self.keys.events(id.partition)).arg(id.in_stream()).arg(id.in_stream());
        let reply = self.link.command(command).await?;
        Ok(self.entries(id.partition, Ok(reply))?.pop().and_then(|(_, event)| event))
    }

    /// A page, merged over all partitions in the order of the log.
    pub(super) async fn list_events(&self, query: &EventQuery) -> Result<Page<Event>, StoreError> {
        let mut lanes = self.lanes(query)?;
        let limit = query.limit.max(1);
        let (mut items, mut scanned, mut last) = (Vec::new(), 0, None);
        while items.len() < limit && scanned < SCAN_LIMIT {
            self.refill(&mut lanes, query).await?;
            let newest = lanes.iter_mut().filter(|l| !l.entries.is_empty()).max_by_key(|l| l.entries[0].0);
            let Some((id, event)) = newest.and_then(|lane| lane.entries.pop_front()) else {
                return Ok(Page { items, next: None });
            };
            (scanned, last) = (scanned + 1, Some(id));
            items.extend(event.filter(|event| wanted(event, query)));
        }
        let exhausted = lanes.iter().all(|lane| lane.done && lane.entries.is_empty());
        Ok(Page { items, next: last.filter(|_| !exhausted).map(EventId::to_cursor) })
    }

    fn lanes(&self, query: &EventQuery) -> Result<Vec<Lane>, StoreError> {
        let cursor = query.cursor.as_deref().map(EventId::from_cursor).transpose()?;
        if cursor.is_some_and(|id| id.partition >= self.keys.partitions()) {
            return Err(StoreError::BadCursor);
        }
        let partitions = match &query.subject {
            Some(subject) => {
                let partition = self.keys.partition(Some(subject));
                partition..partition + 1
            }
            None => 0..self.keys.partitions(),
        };
        let chunk = (2 * query.limit / partitions.len()).clamp(*CHUNK.start(), *CHUNK.end());
        let lane = |partition| Lane {
            partition,
            entries: VecDeque::new(),
            from: cursor.map_or_else(|| "+".into(), |id| start_behind(id, partition)),
            chunk,
            done: false,
        };
        Ok(partitions.map(lane).collect())
    }

    /// Reads on in every partition of which nothing is left to merge.
    async fn refill(&self, lanes: &mut [Lane], query: &EventQuery) -> Result<(), StoreError> {
        let mut empty: Vec<&mut Lane> =
            lanes.iter_mut().filter(|lane| lane.entries.is_empty() && !lane.done).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let commands = empty.iter().map(|lane| vec![self.chunk_command(lane, query)]).collect();
        let replies = self.link.send(commands).await?;
        for (lane, reply) in empty.iter_mut().zip(replies.into_iter().flatten()) {
            lane.entries = self.entries(lane.partition, reply)?.into();
            lane.done = lane.entries.len() < lane.chunk;
            if let Some((id, _)) = lane.entries.back() {
                lane.from = format!("({}", id.in_stream());
            }
            lane.chunk = (2 * lane.chunk).min(*CHUNK.end());
        }
        Ok(())
    }

    fn chunk_command(&self, lane: &Lane, query: &EventQuery) -> Cmd {
        // An event is appended after it happened: what was appended long before `since` did not happen after it.
        // A day of margin, for clocks that are wrong.
        let oldest = query.since.map_or(0, |since| since.saturating_sub(DAY).max(0));
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.keys.events(lane.partition)).arg(&lane.from).arg(oldest);
        command.arg("COUNT").arg(lane.chunk);
        command
    }
}

/// Where the entries of `partition` begin that come behind `id` in the order of the log.
fn start_behind(id: EventId, partition: u16) -> String {
    if partition < id.partition { id.in_stream() } else { format!("({}", id.in_stream()) }
}

fn wanted(event: &Event, query: &EventQuery) -> bool {
    query.since.is_none_or(|since| event.time >= since)
        && query.until.is_none_or(|until| event.time < until)
        && query.kind.is_none_or(|kind| event.kind == kind)
        && query.severity.is_none_or(|severity| event.severity >= severity)
        && query.subject.as_ref().is_none_or(|subject| event.subject.as_ref() == Some(subject))
}
