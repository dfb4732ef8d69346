//! Usage of this instance that the store does not have yet. Counting a record is one update in memory; the background
//! adds what came together to the store's roll-ups, a few times a second, in numbered batches that count once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use metrics::{Counter, Histogram};
use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        record::{RETRY_SPAN, Record},
        reservation::Reservation,
        subject::Subject,
        usage::{Bucket, OTHER, Totals, UsageBatch, UsageDelta, UsageKey},
    },
    engine::{metrics::store_op, shared::measured},
    store::{StoreError, StoreFault, UsageStore},
};

/// Parts that are locked apart. All of one key is in one part.
const SHARDS: usize = 16;
/// Series of one batch: what a store adds in one go, so that nobody waits long behind it.
const BATCH: usize = 250;
/// Minutes and series kept while the store does not answer, per series of the cap.
const WAITING_PER_SERIES: usize = 4;

/// A series as records name it: nothing is allocated to look one up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Series {
    project: Option<Subject>,
    model: Option<Arc<str>>,
    key: Arc<str>,
}

impl Series {
    fn into_key(self) -> UsageKey {
        let project = self.project.map(|project| project.id().into());
        UsageKey { project, model: self.model, key: Some(self.key) }
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// By minute and series.
    pending: HashMap<(Millis, Series), Totals>,
    /// The series of this hour.
    known: HashSet<Series>,
    hour: Millis,
    /// Requests with an id that were counted, and when they were last seen; younger and older ones.
    counted: [HashMap<u128, Millis>; 2],
    turned: Millis,
}

/// What is on its way to the store.
#[derive(Debug, Default)]
struct Outgoing {
    seq: u64,
    batches: VecDeque<UsageBatch>,
}

/// Usage that is not yet in the store.
#[derive(Debug)]
pub(in crate::engine) struct UsageBook {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    instance: Arc<str>,
    outgoing: tokio::sync::Mutex<Outgoing>,
    /// Series told apart per hour; 0: nothing is counted.
    max_series: usize,
    series: AtomicUsize,
    waiting: AtomicUsize,
    remembered: usize,
    other: Arc<str>,
    folded: Counter,
    failures: Counter,
    /// How long the store takes for a batch.
    took: Histogram,
}

impl UsageBook {
    /// The name of this instance, new for each start.
    pub(in crate::engine) fn instance(&self) -> Arc<str> {
        self.instance.clone()
    }

    /// A book that tells `max_series` series apart per hour, and `remembered` requests for retries.
    ///
    /// # Errors
    /// When the system has no random numbers to name this instance by.
    pub(in crate::engine) fn new(max_series: usize, remembered: usize) -> Result<Self, StoreError> {
        let mut id = [0; 12];
        getrandom::fill(&mut id)
            .map_err(|error| StoreError::Unavailable(StoreFault::because("no random numbers", error)))?;
        Ok(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            instance: hex::encode(id).into(),
            outgoing: tokio::sync::Mutex::default(),
            max_series,
            series: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            remembered: remembered.div_ceil(SHARDS).max(1),
            other: OTHER.into(),
            folded: metrics::counter!("keyward_usage_folded_total"),
            failures: metrics::counter!("keyward_usage_flush_failures_total"),
            took: store_op("add_usage"),
        })
    }

    /// Counts a record, unless it is a retry of one that was.
    pub(in crate::engine) fn count(&self, record: &Record, refused: bool, now: Millis) {
        if self.max_series == 0 {
            return;
        }
        let when = record.timestamp.filter(|_| record.late).unwrap_or(now);
        let minute = Bucket::Minute.start(when);
        let series = Series {
            project: record.project.clone(),
            model: record.counted_model().cloned(),
            key: record.key_id.clone(),
        };
        let shard = self.hasher.hash_one(&record.key_id) as usize % SHARDS;
        let mut shard = self.shards[shard].lock();
        if let Some(identity) = record.identity()
            && shard.is_retry(identity, now, self.remembered)
        {
            return;
        }
        let totals = Totals::of(record, refused);
        let place = (minute, series);
        if let Some(held) = shard.pending.get_mut(&place) {
            held.merge(&totals);
            return;
        }
        let (minute, series) = place;
        let place = self.place(&mut shard, minute, series, record.late, now);
        let waiting = &self.waiting;
        shard
            .pending
            .entry(place)
            .or_insert_with(|| {
                waiting.fetch_add(1, Relaxed);
                Totals::default()
            })
            .merge(&totals);
    }

    /// Where something new is counted: under its own name while there is room, else with others. Nothing is lost.
    fn place(
        &self,
        shard: &mut Shard,
        minute: Millis,
        series: Series,
        late: bool,
        now: Millis,
    ) -> (Millis, Series) {
        let hour = Bucket::Hour.start(now);
        if shard.hour != hour {
            self.series.fetch_sub(shard.known.len(), Relaxed);
            shard.known.clear();
            shard.hour = hour;
        }
        let other = || self.other.clone();
        let nobody = || Series { project: Some(Subject::project(OTHER)), model: Some(other()), key: other() };
        if self.waiting.load(Relaxed) >= WAITING_PER_SERIES * self.max_series {
            self.folded.increment(1);
            // Late records may be of any minute: those are as many as there are days.
            return (if late { Bucket::Day.start(minute) } else { minute }, nobody());
        }
        if shard.known.contains(&series) {
            return (minute, series);
        }
        let room = self.max_series;
        let without_key = Series { key: other(), ..series.clone() };
        let without_model = Series { model: Some(other()), ..without_key.clone() };
        let folds = [(series, room), (without_key, room + room / 4), (without_model, room + room / 2)];
        for (n, (series, room)) in folds.into_iter().enumerate() {
            if n > 0 && shard.known.contains(&series) {
                self.folded.increment(1);
                return (minute, series);
            }
            if self.series.load(Relaxed) < room {
                self.series.fetch_add(1, Relaxed);
                shard.known.insert(series.clone());
                return (minute, series);
            }
        }
        self.folded.increment(1);
        (minute, nobody())
    }

    /// Counts a record with the estimate that was kept of it, where it does not say what it used.
    pub(in crate::engine) fn count_kept(
        &self,
        record: &Record,
        estimate: Option<&Reservation>,
        refused: bool,
        now: Millis,
    ) {
        match estimate {
            None => self.count(record, refused, now),
            Some(kept) => {
                let (tokens, cost_nanos) = (kept.counts.tokens, Some(kept.cost_nanos));
                self.count(&Record { tokens, cost_nanos, ..record.clone() }, refused, now);
            }
        }
    }

    /// Adds everything to the store, and says how that went.
    ///
    /// # Errors
    /// When the store does not answer: what it did not acknowledge is kept.
    pub(in crate::engine) async fn flush(
        &self,
        store: &dyn UsageStore,
        now: Millis,
    ) -> Result<(), StoreError> {
        let flushed = self.send_all(store, now).await;
        if flushed.is_err() {
            self.failures.increment(1);
        }
        metrics::gauge!("keyward_usage_series").set(self.series.load(Relaxed) as f64);
        flushed
    }

    /// What was sent and not acknowledged is sent again first, as it was.
    async fn send_all(&self, store: &dyn UsageStore, now: Millis) -> Result<(), StoreError> {
        let mut outgoing = self.outgoing.lock().await;
        self.send(&mut outgoing, store, now).await?;
        self.seal(&mut outgoing, now);
        self.send(&mut outgoing, store, now).await
    }

    async fn send(
        &self,
        outgoing: &mut Outgoing,
        store: &dyn UsageStore,
        now: Millis,
    ) -> Result<(), StoreError> {
        while let Some(batch) = outgoing.batches.front_mut() {
            batch.now = now;
            measured(store.add_usage(batch), &self.took).await?;
            outgoing.batches.pop_front();
        }
        Ok(())
    }

    /// Makes numbered batches of all that was counted since.
    fn seal(&self, outgoing: &mut Outgoing, now: Millis) {
        let mut deltas = Vec::new();
        for shard in &self.shards {
            let pending = std::mem::take(&mut shard.lock().pending);
            self.waiting.fetch_sub(pending.len(), Relaxed);
            deltas.extend(pending.into_iter().map(|((minute, series), totals)| UsageDelta {
                minute,
                key: series.into_key(),
                totals,
            }));
        }
        let mut deltas = deltas.into_iter().peekable();
        while deltas.peek().is_some() {
            outgoing.seq += 1;
            outgoing.batches.push_back(UsageBatch {
                instance: self.instance.clone(),
                seq: outgoing.seq,
                now,
                deltas: deltas.by_ref().take(BATCH).collect(),
            });
        }
    }
}

impl Shard {
    /// Whether a request was counted within the span in which a retry is recognised; notes that it was seen.
    fn is_retry(&mut self, identity: u128, now: Millis, most: usize) -> bool {
        if now - self.turned >= RETRY_SPAN || self.counted[0].len() >= most {
            self.counted.swap(0, 1);
            self.counted[0].clear();
            self.turned = now;
        }
        let older = self.counted[1].get(&identity).copied();
        let seen = self.counted[0].insert(identity, now).or(older);
        seen.is_some_and(|at| now - at < RETRY_SPAN)
    }
}
