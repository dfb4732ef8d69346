//! The event log as people see it: newest first, filtered, in pages.

use std::collections::VecDeque;

use redis::Cmd;

use super::{
    RedisStore,
    ids::{Entry, EventId},
};
use crate::{
    domain::{DAY, event::Event},
    store::{EventQuery, Page, StoreError},
};

/// Entries looked at for one page; then a partial page is returned, with a cursor.
const SCAN_LIMIT: usize = 20_000;
/// Entries read from one partition at a time.
const CHUNK: std::ops::RangeInclusive<usize> = 16..=1_000;

/// A list in the making, merged over the partitions in the order of the log.
pub(super) struct Listing<'a> {
    store: &'a RedisStore,
    query: &'a EventQuery,
    streams: Vec<Stream>,
}

/// What is read and not yet used of one partition, newest first.
struct Stream {
    partition: u16,
    entries: VecDeque<Entry>,
    /// Where reading goes on (`+`, or an id, exclusive with a parenthesis).
    from: String,
    /// How many entries are read next.
    chunk: usize,
    /// Whether all of it has been read.
    done: bool,
}

impl<'a> Listing<'a> {
    /// A list that begins behind the cursor of the query; nothing is read yet.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] when the cursor is none of this store's.
    pub(super) fn new(store: &'a RedisStore, query: &'a EventQuery) -> Result<Self, StoreError> {
        let cursor = query.cursor.as_deref().map(EventId::from_cursor).transpose()?;
        if cursor.is_some_and(|id| id.partition >= store.keys.partitions()) {
            return Err(StoreError::BadCursor);
        }
        let partitions = match &query.subject {
            Some(subject) => {
                let partition = store.keys.partition(Some(subject));
                partition..partition + 1
            }
            None => 0..store.keys.partitions(),
        };
        let chunk = (2 * query.limit / partitions.len()).clamp(*CHUNK.start(), *CHUNK.end());
        let stream = |partition| Stream {
            partition,
            entries: VecDeque::new(),
            from: cursor.map_or_else(|| "+".into(), |id| start_behind(id, partition)),
            chunk,
            done: false,
        };
        Ok(Self { store, query, streams: partitions.map(stream).collect() })
    }

    /// Reads until the page is full, nothing is left, or [`SCAN_LIMIT`] entries were looked at.
    pub(super) async fn page(mut self) -> Result<Page<Event>, StoreError> {
        let limit = self.query.limit.max(1);
        let (mut items, mut scanned, mut last) = (Vec::new(), 0, None);
        while items.len() < limit && scanned < SCAN_LIMIT {
            self.refill().await?;
            let filled = self.streams.iter_mut().filter(|stream| !stream.entries.is_empty());
            let newest = filled.max_by_key(|stream| stream.entries[0].0);
            let Some((id, event)) = newest.and_then(|stream| stream.entries.pop_front()) else {
                return Ok(Page { items, next: None });
            };
            (scanned, last) = (scanned + 1, Some(id));
            items.extend(event.filter(|event| wanted(event, self.query)));
        }
        let exhausted = self.streams.iter().all(|stream| stream.done && stream.entries.is_empty());
        Ok(Page { items, next: last.filter(|_| !exhausted).map(EventId::to_cursor) })
    }

    /// Reads on in every partition of which nothing is left to merge.
    async fn refill(&mut self) -> Result<(), StoreError> {
        let (store, query) = (self.store, self.query);
        let mut empty: Vec<&mut Stream> =
            self.streams.iter_mut().filter(|stream| stream.entries.is_empty() && !stream.done).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let commands = empty.iter().map(|stream| vec![stream.next_chunk(store, query)]).collect();
        let replies = store.link.send(commands).await?;
        for (stream, reply) in empty.iter_mut().zip(replies.into_iter().flatten()) {
            stream.take(store.entries(stream.partition, reply)?);
        }
        Ok(())
    }
}

impl Stream {
    fn next_chunk(&self, store: &RedisStore, query: &EventQuery) -> Cmd {
        // An event is appended after it happened: what was appended long before `since` did not happen after it.
        // A day of margin, for clocks that are wrong.
        let oldest = query.since.map_or(0, |since| since.saturating_sub(DAY).max(0));
        let mut command = redis::cmd("XREVRANGE");
        command.arg(store.keys.events(self.partition)).arg(&self.from).arg(oldest);
        command.arg("COUNT").arg(self.chunk);
        command
    }

    fn take(&mut self, entries: Vec<Entry>) {
        self.done = entries.len() < self.chunk;
        if let Some((id, _)) = entries.last() {
            self.from = format!("({}", id.in_stream());
        }
        self.entries = entries.into();
        self.chunk = (2 * self.chunk).min(*CHUNK.end());
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
