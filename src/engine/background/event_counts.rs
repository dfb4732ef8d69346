//! Counts of events of all instances, by the hour: read from the log once, oldest first, and followed from then on.
//! They are in memory, so that a question about a million events costs the store nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::RwLock;

use crate::{
    domain::{
        HOUR, Millis,
        event::{EventTally, TallyBy},
    },
    engine::shared::Shared,
    store::{LogPosition, StoreError},
};

/// Events read from the log at a time.
const PAGE: usize = 1_000;
/// Pages read for one question at most: what came since the last pass, and no more than a few milliseconds.
const PAGES_PER_QUESTION: usize = 3;
/// Pages read in one pass of the background at most: a million events are read within a minute, on a twentieth of a
/// core.
const PAGES_PER_PASS: usize = 20;

/// Counts of events, as far as this instance has read the log.
pub struct EventCounts {
    shared: Arc<Shared>,
    tally: RwLock<EventTally>,
    /// How far the log was read; held while a page is read, so that none is counted twice.
    position: tokio::sync::Mutex<LogPosition>,
    is_complete: AtomicBool,
    /// The hour since 1970 in which old counts were forgotten last.
    forgot_in: AtomicI64,
}

/// Counts by bucket and name; a name is `None` for events without the property that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventSummary {
    /// (start of the bucket, name) -> how many.
    pub rows: BTreeMap<(Millis, Option<String>), u64>,
    /// From when there are counts: the later of the begin that was asked for and of what is kept.
    pub from: Millis,
    /// False while the log is still being read after a start: then the newest are missing.
    pub is_complete: bool,
}

impl EventCounts {
    /// Counts of a log of which nothing was read yet.
    pub(in crate::engine) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tally: RwLock::default(),
            position: tokio::sync::Mutex::default(),
            is_complete: AtomicBool::new(false),
            forgot_in: AtomicI64::default(),
        }
    }

    /// Counts by a property in the span from the first to before the second moment, in buckets of so many milliseconds
    /// (whole hours).
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn summary(
        &self,
        by: TallyBy,
        (from, to): (Millis, Millis),
        bucket: Millis,
    ) -> Result<EventSummary, StoreError> {
        self.shared.answering()?;
        self.read(PAGES_PER_QUESTION).await?;
        let begin = first_whole(from, bucket.max(HOUR), EventTally::kept_from(self.shared.now()));
        let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let tally = self.tally.read();
        let rows = tally.rows(by, (begin, to), bucket).into_iter();
        let rows = rows.map(|((start, of), count)| ((start, name(of)), count)).collect();
        Ok(EventSummary { rows, from: begin, is_complete: self.is_complete.load(Ordering::Relaxed) })
    }

    /// Reads what came since, a bounded part of it.
    pub(super) async fn follow(&self) -> Result<(), StoreError> {
        self.read(PAGES_PER_PASS).await?;
        let now = self.shared.now();
        let hour = now.div_euclid(HOUR);
        // They are kept by the hour, and there may be many.
        if self.forgot_in.swap(hour, Ordering::Relaxed) != hour {
            self.tally.write().forget_old(now);
        }
        Ok(())
    }

    async fn read(&self, pages: usize) -> Result<(), StoreError> {
        for _ in 0..pages {
            if self.read_page().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts the events of a page; says whether the end was reached.
    async fn read_page(&self) -> Result<bool, StoreError> {
        let mut position = self.position.lock().await;
        let page = self.shared.store.read_log(&position, PAGE).await?;
        let is_end = page.events.is_empty() && page.next == *position;
        *position = page.next;
        let now = self.shared.now();
        let mut tally = self.tally.write();
        page.events.iter().for_each(|event| tally.add(event, now));
        if is_end {
            self.is_complete.store(true, Ordering::Relaxed);
        }
        Ok(is_end)
    }
}

/// Where the first bucket begins, of those that begin at `from`, of which all is kept.
fn first_whole(from: Millis, bucket: Millis, kept_from: Millis) -> Millis {
    let missing = (kept_from - from).max(0);
    from + (missing + bucket - 1).div_euclid(bucket) * bucket
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DAY;

    #[test]
    fn a_bucket_is_left_out_where_some_of_it_is_not_kept_and_only_then() {
        for (kept_from, first) in
            [(-HOUR, 0), (0, 0), (1, DAY), (DAY - HOUR, DAY), (DAY, DAY), (DAY + HOUR, 2 * DAY)]
        {
            assert_eq!(first_whole(0, DAY, kept_from), first, "{kept_from}");
        }
    }
}
