//! The engine: what every request, every person and the background do, over one store.
//!
//! Three rooms, and what they share at the top. `decide` is the way of one request. `background` is what goes on beside
//! it. `operator` is what people do. Shared are the bans in force (`bans`), profiles at hand (`profiles`), what is in
//! force (`policy`, `documents`), the wording of events (`events`), `metrics`, and the cap on new subjects.

mod background;
mod bans;
mod decide;
mod documents;
mod events;
mod metrics;
mod new_subject_limiter;
mod operator;
mod options;
mod places;
mod policy;
mod profiles;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{broadcast, watch};

pub use decide::{
    explain::{Climb, Course, Explanation, Learned, RecentPlace},
    reservations::LEASE,
};
pub use operator::SubjectView;
pub use options::EngineOptions;
pub use places::KnownPlace;
pub use policy::{ActivePolicy, Base};

use background::{
    alerts::Alerts, deferred_reports::DeferredReports, outbox::EventOutbox, spend::SpendWatch,
    usage::UsageBook,
};
use decide::{
    breaker::Breaker, fallback::Fallback, idempotency::IdempotencyCache, limit_reports::LimitReports,
    repeated::AnswersForOthers, reservations::Reservations, spared::Spared,
};
use new_subject_limiter::NewSubjectLimiter;

use crate::{
    clock::Clock,
    domain::{Millis, event::Event, standing::Standing, subject::Subject},
    geo::Geo,
    store::{Document, LogPosition, Store, StoreError},
};

/// Addresses remembered for credentials that they had refused.
const ACCUSED_ADDRESSES: usize = 65_536;

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
    documents: Mutex<documents::Known>,
    /// Held while they are read, so that what is older never replaces what is newer.
    refreshing: tokio::sync::Mutex<()>,
    bans: bans::BanIndex,
    profiles: profiles::ProfileBook,
    idempotency: IdempotencyCache,
    answers: AnswersForOthers,
    deferred: DeferredReports,
    new_subjects: NewSubjectLimiter,
    new_addresses: NewSubjectLimiter,
    spared: Spared,
    spared_lookups: NewSubjectLimiter,
    /// Addresses that had credentials refused lately, and when last.
    accused_addresses: Cache<Subject, Millis>,
    outbox: EventOutbox,
    reservations: Reservations,
    limit_reports: LimitReports,
    alerts: Alerts,
    spend: SpendWatch,
    breaker: Breaker,
    fallback: Fallback,
    followers: broadcast::Sender<Arc<Event>>,
    /// Counts up when events came into the log, for those who read it themselves.
    news: watch::Sender<u64>,
    /// The end of the log before anything was read at the start: what comes after it is followed.
    begin: LogPosition,
    metrics: metrics::Metrics,
    usage: UsageBook,
}

impl Engine {
    /// An engine over a store, with `base` (a policy, or a whole configuration's) in force where the store holds
    /// nothing else. Reads what must be known before the first decision: the policy, the allowlist, the registry and
    /// every ban.
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
            idempotency: IdempotencyCache::new(options.idempotency_capacity),
            answers: AnswersForOthers::default(),
            deferred: DeferredReports::default(),
            new_subjects: NewSubjectLimiter::new(
                options.new_subjects_per_minute,
                options.new_subjects_per_minute_per_address,
            ),
            new_addresses: NewSubjectLimiter::new(
                options.new_subjects_per_minute,
                options.new_subjects_per_minute,
            ),
            spared: Spared::default(),
            spared_lookups: NewSubjectLimiter::new(
                options.new_subjects_per_minute,
                options.new_subjects_per_minute_per_address,
            ),
            accused_addresses: Cache::new(ACCUSED_ADDRESSES),
            outbox: EventOutbox::new(options.fold_seconds, options.event_buffer),
            reservations: Reservations::default(),
            limit_reports: LimitReports::default(),
            alerts: Alerts::default(),
            spend: SpendWatch::default(),
            breaker: Breaker::default(),
            fallback: Fallback::default(),
            followers: broadcast::channel(1024).0,
            news: watch::channel(0).0,
            metrics: metrics::Metrics::default(),
            usage: UsageBook::new(options.usage_series, options.idempotency_capacity)?,
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

    /// The banned network around an address or prefix, other than itself.
    pub fn covering_ban(&self, subject: &Subject, now: Millis) -> Option<Subject> {
        self.bans.covering(subject, now)
    }

    /// How many bans this instance holds.
    pub fn bans_held(&self) -> usize {
        self.bans.len()
    }
}
