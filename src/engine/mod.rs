//! The engine: what every request, every person and the background do, over one store.
//!
//! Three rooms, and what they share at the top. `decide` is the way of one request. `background` is what goes on beside
//! it. `operator` is what people do. `shared` is what all use: the store, the time, whether the store answers, events
//! on their way to the log (`outbox`) and their wording (`events`). Some use the bans in force (`bans`) and all
//! standings (`standings`), profiles at hand (`profiles`), what is in force (`in_force`, `policy`, `documents`), what
//! is owed to the store (`fallback`). [`Engine`] is the door to the rooms.

mod background;
mod bans;
mod breaker;
mod decide;
mod documents;
mod events;
mod fallback;
mod in_force;
mod limit_reports;
mod limit_status;
mod metrics;
mod new_subject_limiter;
mod operator;
mod options;
mod outbox;
mod places;
mod policy;
mod profiles;
mod shared;
mod standings;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use background::usage::Usage;
pub use decide::{
    explain::{Climb, Course, Explanation, Learned, RecentPlace},
    reservations::LEASE,
};
pub use operator::{
    Bans, DeadLetters, Feedback, LimitView, Limits, PolicyChanges, RegistryChanges, SubjectView, Subjects,
};
pub use options::EngineOptions;
pub use places::KnownPlace;
pub use policy::{ActivePolicy, Base};
pub use shared::Health;
pub use standings::Standings;

use background::{
    alerts::AlertWatch, answers::AnswersForOthers, deferred_reports::DeferredReports, log::LogFollower,
    reconcile::Reconciler, reservations::Reservations, spend::SpendWatch, upkeep::Upkeep,
    usage_book::UsageBook,
};
use bans::BanIndex;
use decide::{idempotency::IdempotencyCache, spared::Spared};
use fallback::Fallback;
use in_force::InForce;
use limit_reports::LimitReports;
use new_subject_limiter::NewSubjectLimiter;
use outbox::EventOutbox;
use profiles::ProfileBook;
use shared::Shared;

use crate::{
    domain::{
        Millis,
        event::Event,
        place::{PlaceCore, PlaceSummary},
        profile::Profile,
        subject::Subject,
    },
    geo::Geo,
    store::{Document, Store, StoreError},
};

/// Addresses remembered for credentials that they had refused.
const ACCUSED_ADDRESSES: usize = 65_536;

/// The engine: one per process.
pub struct Engine {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    geo: Arc<Geo>,
    options: EngineOptions,
    bans: Arc<BanIndex>,
    profiles: Arc<ProfileBook>,
    idempotency: IdempotencyCache,
    answers: Arc<AnswersForOthers>,
    deferred: Arc<DeferredReports>,
    new_subjects: NewSubjectLimiter,
    new_addresses: NewSubjectLimiter,
    spared: Spared,
    spared_lookups: NewSubjectLimiter,
    /// Addresses that had credentials refused lately, and when last.
    accused_addresses: Cache<Subject, Millis>,
    reservations: Arc<Reservations>,
    limit_reports: Arc<LimitReports>,
    fallback: Arc<Fallback>,
    usage_book: Arc<UsageBook>,
    standings: Arc<Standings>,
    usage: Arc<Usage>,
    upkeep: Upkeep,
    operator: Operator,
}

/// What people do.
struct Operator {
    bans: Bans,
    policy: PolicyChanges,
    registry: RegistryChanges,
    feedback: Feedback,
    subjects: Subjects,
    limits: Limits,
    dead_letters: DeadLetters,
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
        let in_force = Arc::new(InForce::new(shared.clone(), base.into()));
        let bans = Arc::new(BanIndex::default());
        let profiles = Arc::new(ProfileBook::new(options.profile_capacity, options.flushes));
        let standings = Arc::new(Standings::new(shared.clone(), bans.clone()));
        let fallback = Arc::new(Fallback::default());
        let usage_book = Arc::new(UsageBook::new(options.usage_series, options.idempotency_capacity)?);
        let deferred = Arc::new(DeferredReports::new(
            shared.clone(),
            fallback.clone(),
            usage_book.clone(),
            options.flushes,
        ));
        let usage = Arc::new(Usage::new(shared.clone(), usage_book.clone(), deferred.clone()));
        let answers = Arc::new(AnswersForOthers::new(shared.clone(), options.shares_store));
        let reservations = Arc::new(Reservations::new(shared.clone()));
        let limit_reports = Arc::new(LimitReports::default());
        let operator = Operator {
            bans: Bans::new(shared.clone(), in_force.clone(), standings.clone()),
            policy: PolicyChanges::new(in_force.clone()),
            registry: RegistryChanges::new(shared.clone(), in_force.clone(), limit_reports.clone()),
            feedback: Feedback::new(
                shared.clone(),
                in_force.clone(),
                standings.clone(),
                profiles.clone(),
                geo.clone(),
            ),
            subjects: Subjects::new(
                shared.clone(),
                in_force.clone(),
                bans.clone(),
                standings.clone(),
                profiles.clone(),
            ),
            limits: Limits::new(shared.clone(), in_force.clone()),
            dead_letters: DeadLetters::new(shared.clone()),
        };
        let upkeep = Upkeep {
            shared: shared.clone(),
            in_force: in_force.clone(),
            bans: bans.clone(),
            standings: standings.clone(),
            profiles: profiles.clone(),
            fallback: fallback.clone(),
            log: LogFollower::new(shared.clone(), standings.clone(), profiles.clone(), begin),
            book: usage_book.clone(),
            deferred: deferred.clone(),
            answers: answers.clone(),
            reservations: reservations.clone(),
            reconciler: Reconciler::new(
                shared.clone(),
                fallback.clone(),
                standings.clone(),
                usage_book.instance(),
            ),
            alerts: AlertWatch::new(shared.clone(), in_force.clone(), usage.clone()),
            spend: SpendWatch::new(shared.clone(), in_force.clone(), standings.clone(), usage_book.clone()),
        };
        let engine = Arc::new(Self {
            idempotency: IdempotencyCache::new(options.idempotency_capacity),
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
            shared,
            in_force,
            geo,
            options,
            bans,
            profiles,
            answers,
            deferred,
            reservations,
            limit_reports,
            fallback,
            usage_book,
            standings,
            usage,
            upkeep,
            operator,
        });
        engine.in_force.refresh().await?;
        engine.standings.reload(engine.now()).await?;
        Ok(engine)
    }

    /// Runs the background until `shutdown`, then writes what is left.
    pub async fn upkeep(self: Arc<Self>, shutdown: CancellationToken) {
        self.upkeep.run(&shutdown).await;
    }

    /// The standings of all subjects.
    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Usage over all instances.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Bans by people.
    pub fn bans(&self) -> &Bans {
        &self.operator.bans
    }

    /// Policy and allowlist, as people change them.
    pub fn policy_changes(&self) -> &PolicyChanges {
        &self.operator.policy
    }

    /// The registry, as people change it.
    pub fn registry_changes(&self) -> &RegistryChanges {
        &self.operator.registry
    }

    /// What analysts say about events.
    pub fn feedback(&self) -> &Feedback {
        &self.operator.feedback
    }

    /// All that is known of subjects.
    pub fn subjects(&self) -> &Subjects {
        &self.operator.subjects
    }

    /// How the limits of keys and projects stand.
    pub fn limits(&self) -> &Limits {
        &self.operator.limits
    }

    /// What sinks did not take.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.operator.dead_letters
    }

    /// A place with its names.
    pub fn describe(&self, core: &PlaceCore) -> PlaceSummary {
        places::describe(&self.geo, core)
    }

    /// The places that a profile knows, by the networks of which the geo database knows the place today; most requests
    /// first.
    pub fn known_places(&self, profile: &Profile) -> Vec<KnownPlace> {
        places::known_places(&self.geo, profile)
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
        self.upkeep.log.follow()
    }

    /// Changes whenever events of any instance came into the log, for those who read it themselves.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.upkeep.log.news()
    }

    /// Whether the store answers.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// The deadline for an answer to a record.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// How many bans this instance holds.
    pub fn bans_held(&self) -> usize {
        self.bans.len()
    }
}
