//! observe -> detect -> ladder -> respond: the way of one usage record, readable in one sitting.
//!
//! [`Engine::record`] is the whole of it. Beside it live the caches and buffers that keep it to one wait for the
//! store (`bans`, `profiles`, `answers`, `log`), what takes over when the store does not answer (`breaker`,
//! `insurance`), what the registry says (`registry`) and its limits and budgets (`limits`, `quotas`, `budgets`), what was
//! used (`usage`, `alerts`, `spend`), people's acts (`acts`, `verdicts`) and what happens in the background (`upkeep`).
//! [`Engine::explain`] is `record`, watched.

mod acts;
mod alerts;
mod answers;
mod bans;
mod breaker;
mod budgets;
mod events;
mod explain;
mod insurance;
mod judge;
mod limits;
mod log;
mod meters;
mod newcomers;
mod places;
mod policy;
mod prepare;
mod profiles;
mod quotas;
mod registry;
mod spared;
mod spend;
#[cfg(test)]
mod tests;
mod trip;
mod upkeep;
mod usage;
mod verdicts;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{broadcast, watch};

pub use acts::SubjectView;
pub use explain::{Climb, Course, Explanation, Learned, RecentPlace};
pub use places::KnownPlace;
pub use policy::{ActivePolicy, Base};
pub use quotas::LEASE;
pub use verdicts::{Feedback, Verdict};

use explain::{Fact, Witness};

use crate::{
    clock::Clock,
    config::IdempotencyScope,
    domain::{
        Millis, decision::Decision, event::Event, record::Record, standing::Standing, subject::Subject,
    },
    geo::Geo,
    store::{Document, LogPosition, Store, StoreError},
};

/// Addresses remembered for credentials that they had refused.
const ACCUSED_ADDRESSES: usize = 65_536;

/// Settings of the engine beside the policy.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The answer to a record waits no longer than this for the store.
    pub deadline: Duration,
    /// Answers remembered for retries.
    pub idempotency_capacity: usize,
    /// How far idempotency reaches.
    pub idempotency_scope: IdempotencyScope,
    /// Profiles cached.
    pub profile_capacity: usize,
    /// New subjects per minute.
    pub newcomers: u32,
    /// New subjects per minute and source address.
    pub newcomers_per_address: u32,
    /// Equal events within this many seconds become one.
    pub fold_seconds: u64,
    /// Events kept while the store does not take them; 0: no events are made (replay).
    pub event_buffer: usize,
    /// Whether learned deltas are flushed to the store by `upkeep`; else profiles live in memory alone (replay).
    pub flushes: bool,
    /// Series of usage told apart per hour; 0: usage is not counted (replay).
    pub usage_series: usize,
    /// How long a reservation is held, ms.
    pub lease: Millis,
}

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Since when each instance decides by itself; `None` when the store answers.
    pub degraded_since: Option<Millis>,
}

/// The engine: one per process.
pub struct Engine {
    store: Arc<dyn Store>,
    geo: Arc<Geo>,
    clock: Clock,
    options: EngineOptions,
    base: Base,
    active: ArcSwap<ActivePolicy>,
    allowlist: ArcSwap<Vec<Document>>,
    /// Every document as last read, to tell a store again that lost them.
    documents: Mutex<policy::Known>,
    /// Held while they are read, so that what is older never replaces what is newer.
    refreshing: tokio::sync::Mutex<()>,
    bans: bans::BanIndex,
    profiles: profiles::ProfileBook,
    answers: answers::Answers,
    newcomers: newcomers::Newcomers,
    new_addresses: newcomers::Newcomers,
    spared: spared::Spared,
    spared_lookups: newcomers::Newcomers,
    /// Addresses that had credentials refused lately, and when last.
    accused_addresses: Cache<Subject, Millis>,
    outbox: log::EventOutbox,
    leases: quotas::Leases,
    budgets: budgets::Budgets,
    alerts: alerts::Alerts,
    spend: spend::SpendWatch,
    breaker: breaker::Breaker,
    insurance: insurance::Insurance,
    followers: broadcast::Sender<Arc<Event>>,
    /// Counts up when events came into the log, for those who read it themselves.
    news: watch::Sender<u64>,
    /// The end of the log before anything was read at the start: what comes after it is followed.
    begin: LogPosition,
    meters: meters::Meters,
    usage: usage::UsageBook,
}

impl Engine {
    /// An engine over a store, with `base` (a policy, or a whole configuration's) in force where the store holds nothing
    /// else. Reads what must be known before the first decision: the policy, the allowlist, the registry and every ban.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(
        store: Arc<dyn Store>,
        geo: Arc<Geo>,
        base: impl Into<Base>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let begin = store.log_end().await?;
        let base = base.into();
        let engine = Arc::new(Self {
            active: ArcSwap::from_pointee(ActivePolicy::new(base.policy.clone(), Default::default())),
            allowlist: ArcSwap::default(),
            documents: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            base,
            bans: bans::BanIndex::default(),
            profiles: profiles::ProfileBook::new(options.profile_capacity, options.flushes),
            answers: answers::Answers::new(options.idempotency_capacity),
            newcomers: newcomers::Newcomers::new(options.newcomers, options.newcomers_per_address),
            new_addresses: newcomers::Newcomers::new(options.newcomers, options.newcomers),
            spared: spared::Spared::default(),
            spared_lookups: newcomers::Newcomers::new(options.newcomers, options.newcomers_per_address),
            accused_addresses: Cache::new(ACCUSED_ADDRESSES),
            outbox: log::EventOutbox::new(options.fold_seconds, options.event_buffer),
            leases: quotas::Leases::default(),
            budgets: budgets::Budgets::default(),
            alerts: alerts::Alerts::default(),
            spend: spend::SpendWatch::default(),
            breaker: breaker::Breaker::default(),
            insurance: insurance::Insurance::default(),
            followers: broadcast::channel(1024).0,
            news: watch::channel(0).0,
            meters: meters::Meters::default(),
            usage: usage::UsageBook::new(options.usage_series, options.idempotency_capacity)?,
            clock: Clock::default(),
            begin,
            store,
            geo,
            options,
        });
        engine.refresh_documents().await?;
        engine.reload_bans(engine.now()).await?;
        Ok(engine)
    }

    /// The time that decisions are made by: the machine's clock corrected by its offset to the store's.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Decides about finished requests, in order, and learns from them. Waits for the store once if nothing is found.
    pub async fn record(&self, records: &[Record], now: Millis) -> Vec<Decision> {
        self.decide(records, now, &mut ()).await
    }

    async fn decide(&self, records: &[Record], now: Millis, witness: &mut impl Witness) -> Vec<Decision> {
        let active = self.active.load_full();
        let (records, terms) = self.terms(records, &active, now);
        self.load_spared(&records, now).await;
        let mut items = self.prepare(&records, terms, &active, now, prepare::Purpose::Record).await;
        self.observe(&mut items, &active, now).await;
        let mut decisions: Vec<Decision> = Vec::with_capacity(records.len());
        for item in items {
            let decision = match item.state {
                prepare::State::Decided(decision) => *decision,
                prepare::State::SameAs(earlier) => decisions[earlier].clone(),
                prepare::State::Observed(observed) => {
                    witness.see(Fact::Observed(&observed));
                    self.judge(item.record, *observed, &active, witness).await
                }
                prepare::State::Waiting(_) => self.unavailable(item.record, &active, now),
            };
            self.remember(item.record, &decision, now).await;
            self.meters.count(&decision);
            self.count_usage(item.record, &decision, item.elsewhere, now);
            decisions.push(decision);
        }
        decisions
    }

    /// Decides about a request before it is made (`tokens` is the estimate). Counts nothing; a refusal is an event. With
    /// `reserve` the estimate is held until the record settles it, or for the lease of a minute.
    pub async fn check(&self, record: &Record, reserve: bool, now: Millis) -> Decision {
        let active = self.active.load_full();
        let purpose = if reserve { prepare::Purpose::Reserve } else { prepare::Purpose::Check };
        let (records, terms) = self.terms(std::slice::from_ref(record), &active, now);
        self.load_spared(&records, now).await;
        let mut items = self.prepare(&records, terms, &active, now, purpose).await;
        self.observe(&mut items, &active, now).await;
        let decision = match items.pop().map(|item| (item.record, item.state)) {
            Some((_, prepare::State::Decided(decision))) => *decision,
            Some((record, prepare::State::Observed(observed))) => {
                self.answer_check(record, &observed, &active)
            }
            _ => self.unavailable(record, &active, now),
        };
        self.meters.count_check(&decision);
        decision
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<ActivePolicy> {
        self.active.load_full()
    }

    /// Every allowlist entry: its name is the entry, its body `{"reason","expires","created"}`.
    pub fn allowlist(&self) -> Arc<Vec<Document>> {
        self.allowlist.load_full()
    }

    /// The same store, for what goes on beside the engine.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Puts an event into the log, with the next that are written.
    pub fn tell(&self, event: Event) {
        self.outbox.push(event);
    }

    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// New events of every instance as they are appended (each within about a second).
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.followers.subscribe()
    }

    /// Changes whenever events of any instance came into the log, for those who read it themselves.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether the store answers.
    pub fn health(&self) -> Health {
        Health { degraded_since: self.breaker.open_since() }
    }

    /// The deadline for an answer to a record.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// The ban in force on a subject as this instance knows it.
    pub fn known_ban(&self, subject: &Subject, now: Millis) -> Option<Standing> {
        self.bans.get(subject, now)
    }

    /// How many bans this instance holds.
    pub fn bans_held(&self) -> usize {
        self.bans.len()
    }
}
