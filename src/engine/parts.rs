//! The parts that several rooms use, made once, and the rooms that are made of them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    background::{
        alerts::AlertWatch, answers::AnswersForOthers, deferred_reports::DeferredReports,
        event_counts::EventCounts, known::KnownFile, log::LogFollower, reconcile::Reconciler,
        reservations::Reservations, spend::SpendWatch, upkeep::Upkeep, usage::Usage, usage_book::UsageBook,
    },
    bans::BanIndex,
    decide::{Attempts, Decider, Remembers},
    fallback::Fallback,
    in_force::InForce,
    limit_reports::LimitReports,
    operator::{
        Bans, DeadLetters, Feedback, Limits, Operator, PolicyChanges, RegistryChanges, Subjects, Successions,
        TokenChanges,
    },
    options::{DataDirectory, EngineOptions},
    outbox::EventOutbox,
    policy::Base,
    profiles::ProfileBook,
    shared::Shared,
    standings::Standings,
};
use crate::{
    geo::Geo,
    store::{LogPosition, Store, StoreError},
};

/// Everything that more than one room uses, made once at the start; the rooms take their `Arc`s from here.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) in_force: Arc<InForce>,
    pub(super) geo: Arc<Geo>,
    pub(super) bans: Arc<BanIndex>,
    pub(super) standings: Arc<Standings>,
    pub(super) profiles: Arc<ProfileBook>,
    pub(super) fallback: Arc<Fallback>,
    pub(super) usage_book: Arc<UsageBook>,
    pub(super) deferred: Arc<DeferredReports>,
    pub(super) usage: Arc<Usage>,
    pub(super) answers: Arc<AnswersForOthers>,
    pub(super) reservations: Arc<Reservations>,
    pub(super) limit_reports: Arc<LimitReports>,
    pub(super) event_counts: Arc<EventCounts>,
}

impl Parts {
    /// Parts over a store, from which nothing has been read yet.
    ///
    /// # Errors
    /// When the system has no random numbers to name this instance by.
    pub(super) fn new(
        store: Arc<dyn Store>,
        geo: Arc<Geo>,
        base: Base,
        options: &EngineOptions,
    ) -> Result<Self, StoreError> {
        let outbox = EventOutbox::new(options.fold_seconds, options.event_buffer);
        let shared = Arc::new(Shared::new(store, outbox));
        let bans = Arc::new(BanIndex::default());
        let fallback = Arc::new(Fallback::default());
        let book = Arc::new(UsageBook::new(
            options.usage_series,
            options.usage_by_user,
            options.idempotency_capacity,
            options.retry_span,
        )?);
        let deferred = DeferredReports::new(shared.clone(), fallback.clone(), book.clone(), options.flushes);
        let deferred = Arc::new(deferred);
        let in_force = Arc::new(InForce::new(shared.clone(), base));
        Ok(Self {
            standings: Arc::new(Standings::new(shared.clone(), in_force.clone(), bans.clone())),
            profiles: Arc::new(ProfileBook::new(options.profile_capacity, options.flushes)),
            usage: Arc::new(Usage::new(shared.clone(), book.clone(), deferred.clone())),
            answers: Arc::new(AnswersForOthers::new(shared.clone(), options.shares_store)),
            reservations: Arc::new(Reservations::new(shared.clone(), fallback.clone())),
            limit_reports: Arc::new(LimitReports::default()),
            event_counts: Arc::new(EventCounts::new(shared.clone())),
            usage_book: book,
            in_force,
            shared,
            geo,
            bans,
            fallback,
            deferred,
        })
    }

    /// The room of the way of one request.
    pub(super) fn decider(&self, options: &EngineOptions) -> Decider {
        Decider {
            shared: self.shared.clone(),
            in_force: self.in_force.clone(),
            geo: self.geo.clone(),
            bans: self.bans.clone(),
            profiles: self.profiles.clone(),
            fallback: self.fallback.clone(),
            limit_reports: self.limit_reports.clone(),
            reservations: self.reservations.clone(),
            deferred: self.deferred.clone(),
            usage_book: self.usage_book.clone(),
            answers: self.answers.clone(),
            remembers: Remembers::new(options),
            deadline: options.deadline,
            flushes: options.flushes,
            lease: options.lease,
            attempts: Attempts::new(&self.usage_book.instance()),
            batches: Semaphore::new(1),
        }
    }

    /// The room of what people do.
    pub(super) fn operator(&self) -> Operator {
        let (shared, in_force) = (|| self.shared.clone(), || self.in_force.clone());
        let (standings, profiles) = (|| self.standings.clone(), || self.profiles.clone());
        let registry = Arc::new(RegistryChanges::new(shared(), in_force(), self.limit_reports.clone()));
        Operator {
            successions: Successions::new(shared(), in_force(), profiles(), registry.clone()),
            registry,
            bans: Bans::new(shared(), in_force(), standings(), profiles()),
            policy: PolicyChanges::new(in_force()),
            feedback: Feedback::new(shared(), in_force(), standings(), profiles(), self.geo.clone()),
            subjects: Subjects::new(shared(), in_force(), self.bans.clone(), standings(), profiles()),
            limits: Limits::new(shared(), in_force()),
            dead_letters: DeadLetters::new(shared()),
            tokens: TokenChanges::new(in_force()),
        }
    }

    /// The room of what goes on beside the decisions. The log is followed from `begin` on; what the store does not take
    /// at the end is left in `directory`.
    pub(super) fn upkeep(&self, begin: Option<LogPosition>, directory: Option<DataDirectory>) -> Upkeep {
        let (shared, in_force) = (|| self.shared.clone(), || self.in_force.clone());
        let (standings, profiles) = (|| self.standings.clone(), || self.profiles.clone());
        let book = || self.usage_book.clone();
        Upkeep {
            known: KnownFile::new(shared(), self.bans.clone(), in_force(), directory.clone()),
            directory,
            journals: Mutex::default(),
            away: Mutex::default(),
            shared: shared(),
            in_force: in_force(),
            bans: self.bans.clone(),
            standings: standings(),
            profiles: profiles(),
            fallback: self.fallback.clone(),
            log: LogFollower::new(shared(), standings(), profiles(), begin),
            book: book(),
            deferred: self.deferred.clone(),
            answers: self.answers.clone(),
            reservations: self.reservations.clone(),
            reconciler: Reconciler::new(
                shared(),
                self.fallback.clone(),
                standings(),
                self.usage_book.instance(),
            ),
            event_counts: self.event_counts.clone(),
            alerts: AlertWatch::new(shared(), in_force(), self.usage.clone()),
            spend: SpendWatch::new(shared(), in_force(), standings(), book()),
        }
    }
}
