//! The engine: what every request, every person and the background do, over one store.
//!
//! Three rooms, and what they share at the top. `decide` is the way of one request. `background` is what goes on beside
//! it. `operator` is what people do. Shared are the bans in force (`bans`), profiles at hand (`profiles`), what is in
//! force (`in_force`, `policy`, `documents`), the wording of events (`events`) and their way to the log (`outbox`), and
//! the cap on new subjects. `shared` is what all use: the store, the time, whether the store answers.

mod background;
mod bans;
mod breaker;
mod decide;
mod documents;
mod events;
mod in_force;
mod metrics;
mod new_subject_limiter;
mod operator;
mod options;
mod outbox;
mod places;
mod policy;
mod profiles;
mod shared;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

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
pub use shared::Health;

use background::{alerts::Alerts, deferred_reports::DeferredReports, spend::SpendWatch, usage::UsageBook};
use decide::{
    fallback::Fallback, idempotency::IdempotencyCache, limit_reports::LimitReports,
    repeated::AnswersForOthers, reservations::Reservations, spared::Spared,
};
use in_force::InForce;
use new_subject_limiter::NewSubjectLimiter;
use outbox::EventOutbox;
use shared::Shared;

use crate::{
    domain::{Millis, event::Event, standing::Standing, subject::Subject},
    geo::Geo,
    store::{Document, LogPosition, Store, StoreError},
};

/// Addresses remembered for credentials that they had refused.
const ACCUSED_ADDRESSES: usize = 65_536;

/// The engine: one per process.
pub struct Engine {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    geo: Arc<Geo>,
    options: EngineOptions,
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
    reservations: Reservations,
    limit_reports: LimitReports,
    alerts: Alerts,
    spend: SpendWatch,
    fallback: Fallback,
    followers: broadcast::Sender<Arc<Event>>,
    /// Counts up when events came into the log, for those who read it themselves.
    news: watch::Sender<u64>,
    /// The end of the log before anything was read at the start: what comes after it is followed.
    begin: LogPosition,
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
        let outbox = EventOutbox::new(options.fold_seconds, options.event_buffer);
        let shared = Arc::new(Shared::new(store, outbox));
        let engine = Arc::new(Self {
            in_force: Arc::new(InForce::new(shared.clone(), base.into())),
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
            reservations: Reservations::default(),
            limit_reports: LimitReports::default(),
            alerts: Alerts::default(),
            spend: SpendWatch::default(),
            fallback: Fallback::default(),
            followers: broadcast::channel(1024).0,
            news: watch::channel(0).0,
            usage: UsageBook::new(options.usage_series, options.idempotency_capacity)?,
            begin,
            shared,
            geo,
            options,
        });
        engine.in_force.refresh().await?;
        engine.reload_bans(engine.now()).await?;
        Ok(engine)
    }

    /// The time that decisions are made by: the machine's clock corrected by its offset to the store's.
    pub fn now(&self) -> Millis {
        self.shared.now()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<ActivePolicy> {
        self.in_force.policy()
    }

    /// Whether a key is registered under this public id.
    pub fn is_registered(&self, key_id: &str) -> bool {
        self.in_force.is_registered(key_id)
    }

    /// Every allowlist entry: its name is the entry, its body `{"reason","expires","created"}`.
    pub fn allowlist(&self) -> Arc<Vec<Document>> {
        self.in_force.allowlist()
    }

    /// The same store, for what goes on beside the engine.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.shared.store.clone()
    }

    /// Puts an event into the log, with the next that are written.
    pub fn tell(&self, event: Event) {
        self.shared.outbox.push(event);
    }

    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        &*self.shared.store
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
        self.shared.health()
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
