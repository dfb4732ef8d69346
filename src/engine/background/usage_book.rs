//! Usage of this instance that the store does not have yet. Counting a record is one update in memory; the background
//! adds what came together to the store's roll-ups, a few times a second, in numbered batches that count once.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
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
        profile::shared_template,
        record::Record,
        reservation::Reservation,
        subject::Subject,
        usage::{Bucket, Measured, OTHER, UsageBatch, UsageDelta, UsageKey},
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

/// A series as records name it: for a request in a known one, nothing is allocated but the template of an endpoint
/// with ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Series {
    project: Option<Subject>,
    model: Option<Arc<str>>,
    key: Arc<str>,
}

/// A series, and what it is told further apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    series: Series,
    endpoint: Arc<str>,
    user: Option<Arc<str>>,
}

impl Call {
    fn into_key(self) -> UsageKey {
        let Self { series: Series { project, model, key }, endpoint, user } = self;
        let project = project.map(|project| project.id().into());
        UsageKey { project, model, key: Some(key), endpoint: Some(endpoint), user }
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// By minute and call.
    pending: HashMap<(Millis, Call), Measured>,
    /// The series of this hour.
    known: HashSet<Series>,
    /// The calls of this hour.
    known_calls: HashSet<Call>,
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
    /// What another run had worked out and not sent.
    worked_out: Mutex<Vec<UsageDelta>>,
    /// Series told apart per hour; 0: nothing is counted.
    max_series: usize,
    /// Whether users are told apart.
    pub(super) by_user: bool,
    series: AtomicUsize,
    calls: AtomicUsize,
    waiting: AtomicUsize,
    remembered: usize,
    /// How long a retry of a request is recognised, ms.
    retry_span: Millis,
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

    /// A book that tells `max_series` series apart per hour, by user too if that is wanted, and `remembered` requests
    /// for retries.
    ///
    /// # Errors
    /// When the system has no random numbers to name this instance by.
    pub(in crate::engine) fn new(
        max_series: usize,
        by_user: bool,
        remembered: usize,
        retry_span: Millis,
    ) -> Result<Self, StoreError> {
        let mut id = [0; 12];
        getrandom::fill(&mut id)
            .map_err(|error| StoreError::Unavailable(StoreFault::because("no random numbers", error)))?;
        Ok(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            instance: hex::encode(id).into(),
            outgoing: tokio::sync::Mutex::default(),
            worked_out: Mutex::default(),
            max_series,
            by_user,
            series: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            remembered: remembered.div_ceil(SHARDS).max(1),
            retry_span,
            other: OTHER.into(),
            folded: metrics::counter!("keyward_usage_folded_total"),
            failures: metrics::counter!("keyward_usage_flush_failures_total"),
            took: store_op("add_usage"),
        })
    }

    /// How long a retry of a request is recognised, in milliseconds.
    pub(super) fn retry_span(&self) -> Millis {
        self.retry_span
    }

    /// Counts a record, unless it is a retry of one that was.
    pub(in crate::engine) fn count(&self, record: &Record, refused: bool, now: Millis) {
        self.add(record, Measured::of(record, refused), now);
    }

    /// Counts what became of a request that was counted when it was seen on its way.
    pub(in crate::engine) fn complete(&self, record: &Record, refused: bool, now: Millis) {
        let mut measured = Measured::of(record, refused);
        measured.totals.requests = 0;
        self.add(record, measured, now);
    }

    fn add(&self, record: &Record, measured: Measured, now: Millis) {
        if self.max_series == 0 {
            return;
        }
        let when = record.timestamp.filter(|_| record.late).unwrap_or(now);
        let call = self.call(record);
        let shard = self.hasher.hash_one(&record.key_id) as usize % SHARDS;
        let mut shard = self.shards[shard].lock();
        if let Some(identity) = record.identity()
            && shard.is_retry(identity, now, self.remembered, self.retry_span)
        {
            return;
        }
        let place = (Bucket::Minute.start(when), call);
        if let Some(held) = shard.pending.get_mut(&place) {
            held.merge(&measured);
            return;
        }
        let (minute, call) = place;
        let place = self.place(&mut shard, minute, call, record.late, now);
        let waiting = &self.waiting;
        shard
            .pending
            .entry(place)
            .or_insert_with(|| {
                waiting.fetch_add(1, Relaxed);
                Measured::default()
            })
            .merge(&measured);
    }

    fn call(&self, record: &Record) -> Call {
        Call {
            series: Series {
                project: record.project.clone(),
                model: record.counted_model().cloned(),
                key: record.key_id.clone(),
            },
            endpoint: shared_template(&record.endpoint),
            user: record.user.clone().filter(|_| self.by_user),
        }
    }

    /// Where something new is counted: under its own name while there is room, else with others. Nothing is lost.
    fn place(
        &self,
        shard: &mut Shard,
        minute: Millis,
        call: Call,
        late: bool,
        now: Millis,
    ) -> (Millis, Call) {
        let hour = Bucket::Hour.start(now);
        if shard.hour != hour {
            self.series.fetch_sub(shard.known.len(), Relaxed);
            self.calls.fetch_sub(shard.known_calls.len(), Relaxed);
            shard.known.clear();
            shard.known_calls.clear();
            shard.hour = hour;
        }
        if self.waiting.load(Relaxed) >= WAITING_PER_SERIES * self.max_series {
            self.folded.increment(1);
            // Late records may be of any minute: those are as many as there are days.
            return (if late { Bucket::Day.start(minute) } else { minute }, self.anybody());
        }
        let Call { series, endpoint, user } = call;
        let Some(series) = self.place_series(shard, series) else {
            self.folded.increment(1);
            return (minute, self.anybody());
        };
        (minute, self.place_call(shard, Call { series, endpoint, user }))
    }

    /// What is summed with everything that there is no room for.
    fn anybody(&self) -> Call {
        let other = || self.other.clone();
        let series = Series { project: Some(Subject::project(OTHER)), model: Some(other()), key: other() };
        Call { series, endpoint: other(), user: self.by_user.then(other) }
    }

    /// The series itself, without its key or without its model, too; `None`: there is no room for any.
    fn place_series(&self, shard: &mut Shard, series: Series) -> Option<Series> {
        let (other, room) = (|| self.other.clone(), self.max_series);
        let without_key = Series { key: other(), ..series.clone() };
        let without_model = Series { model: Some(other()), ..without_key.clone() };
        let folds = [(series, room), (without_key, room + room / 4), (without_model, room + room / 2)];
        self.first_with_room(&mut shard.known, &self.series, folds)
    }

    /// The call itself, without its user, or without its endpoint, too: there are no more of those than series.
    fn place_call(&self, shard: &mut Shard, call: Call) -> Call {
        let room = self.max_series;
        let user = call.user.as_ref().map(|_| self.other.clone());
        let without_user = Call { user, ..call.clone() };
        let without_endpoint = Call { endpoint: self.other.clone(), ..without_user.clone() };
        let folds = [(call, room), (without_user, room + room / 4)];
        self.first_with_room(&mut shard.known_calls, &self.calls, folds).unwrap_or_else(|| {
            self.folded.increment(1);
            without_endpoint
        })
    }

    /// The first of some names that is known, or that there is room for among so many.
    fn first_with_room<T: Clone + Eq + Hash>(
        &self,
        known: &mut HashSet<T>,
        count: &AtomicUsize,
        folds: impl IntoIterator<Item = (T, usize)>,
    ) -> Option<T> {
        for (n, (name, room)) in folds.into_iter().enumerate() {
            let is_known = known.contains(&name);
            if !is_known && count.load(Relaxed) >= room {
                continue;
            }
            if !is_known {
                count.fetch_add(1, Relaxed);
                known.insert(name.clone());
            }
            self.folded.increment(u64::from(n > 0));
            return Some(name);
        }
        None
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
                let (prompt, completion) = (kept.usage.input_tokens, kept.usage.output_tokens);
                let estimated = Record {
                    tokens,
                    cost_nanos,
                    prompt_tokens: Some(prompt),
                    completion_tokens: Some(completion),
                    ..record.clone()
                };
                self.count(&estimated, refused, now);
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

    /// Batches that the store lacks, taken, in their order.
    pub(super) async fn leave(&self, now: Millis) -> Vec<UsageBatch> {
        let mut outgoing = self.outgoing.lock().await;
        self.seal(&mut outgoing, now);
        std::mem::take(&mut outgoing.batches).into()
    }

    /// Takes over batches of another run, which go before those of this one.
    pub(super) async fn take_over(&self, batches: Vec<UsageBatch>) {
        let mut outgoing = self.outgoing.lock().await;
        batches.into_iter().rev().for_each(|batch| outgoing.batches.push_front(batch));
    }

    /// What a record adds to its series.
    pub(super) fn delta(&self, record: &Record, refused: bool, now: Millis) -> UsageDelta {
        let when = record.timestamp.filter(|_| record.late).unwrap_or(now);
        let (minute, key) = (Bucket::Minute.start(when), self.call(record).into_key());
        UsageDelta { minute, key, measured: Measured::of(record, refused) }
    }

    /// Adds what another run had worked out, to the next batch.
    pub(super) fn add_delta(&self, delta: UsageDelta) {
        if self.max_series > 0 {
            self.worked_out.lock().push(delta);
        }
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
        let mut deltas = std::mem::take(&mut *self.worked_out.lock());
        for shard in &self.shards {
            let pending = std::mem::take(&mut shard.lock().pending);
            self.waiting.fetch_sub(pending.len(), Relaxed);
            deltas.extend(pending.into_iter().map(|((minute, call), measured)| UsageDelta {
                minute,
                key: call.into_key(),
                measured,
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
    fn is_retry(&mut self, identity: u128, now: Millis, most: usize, span: Millis) -> bool {
        if now - self.turned >= span || self.counted[0].len() >= most {
            self.counted.swap(0, 1);
            self.counted[0].clear();
            self.turned = now;
        }
        let older = self.counted[1].get(&identity).copied();
        let seen = self.counted[0].insert(identity, now).or(older);
        seen.is_some_and(|at| now - at < span)
    }
}
