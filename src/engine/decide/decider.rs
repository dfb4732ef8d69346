//! What deciding uses.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::{attempts::Attempts, crowd::Crowd, idempotency::IdempotencyCache, spared::Spared};
use crate::{
    domain::{
        Millis,
        decision::{Action, Decision, Reason},
        policy::OnStoreFailure,
        record::Record,
        subject::Subject,
    },
    engine::{
        background::{
            answers::AnswersForOthers, deferred_reports::DeferredReports, reservations::Reservations,
            usage_book::UsageBook,
        },
        bans::BanIndex,
        fallback::Fallback,
        in_force::InForce,
        limit_reports::LimitReports,
        new_subject_limiter::NewSubjectLimiter,
        options::EngineOptions,
        policy::ActivePolicy,
        profiles::ProfileBook,
        shared::Shared,
    },
    geo::Geo,
};

/// Addresses remembered for credentials that they had refused.
const ACCUSED_ADDRESSES: usize = 65_536;

/// Decides about requests. Its stages are methods, each in a file of its own.
pub(in crate::engine) struct Decider {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) in_force: Arc<InForce>,
    pub(in crate::engine) geo: Arc<Geo>,
    pub(in crate::engine) bans: Arc<BanIndex>,
    pub(in crate::engine) profiles: Arc<ProfileBook>,
    pub(in crate::engine) fallback: Arc<Fallback>,
    pub(in crate::engine) limit_reports: Arc<LimitReports>,
    pub(in crate::engine) reservations: Arc<Reservations>,
    pub(in crate::engine) deferred: Arc<DeferredReports>,
    pub(in crate::engine) usage_book: Arc<UsageBook>,
    pub(in crate::engine) answers: Arc<AnswersForOthers>,
    pub(in crate::engine) remembers: Remembers,
    pub(in crate::engine) deadline: Duration,
    /// Whether learned deltas are flushed by the background; else nothing goes on beside the decisions (replay).
    pub(in crate::engine) flushes: bool,
    /// How long a reservation is held, ms.
    pub(in crate::engine) lease: Millis,
    /// Names of charges that may be sent again.
    pub(in crate::engine) attempts: Attempts,
    /// The turn of a chunk of a large batch.
    pub(in crate::engine) batches: Semaphore,
}

/// What this instance remembers of requests, for those that follow.
pub(in crate::engine) struct Remembers {
    pub(super) idempotency: IdempotencyCache,
    pub(super) new_subjects: NewSubjectLimiter,
    pub(super) new_addresses: NewSubjectLimiter,
    pub(super) spared: Spared,
    pub(super) spared_lookups: NewSubjectLimiter,
    pub(super) crowd: Crowd,
    /// Addresses that had credentials refused lately, and when last.
    pub(super) accused_addresses: Cache<Subject, Millis>,
}

impl Remembers {
    /// Nothing yet, of as much as the options say.
    pub(in crate::engine) fn new(options: &EngineOptions) -> Self {
        let (most, of_one) = (options.new_subjects_per_minute, options.new_subjects_per_minute_per_address);
        Self {
            idempotency: IdempotencyCache::new(options.idempotency_capacity, options.retry_span),
            new_subjects: NewSubjectLimiter::new(most, of_one),
            new_addresses: NewSubjectLimiter::new(most, most),
            spared: Spared::default(),
            spared_lookups: NewSubjectLimiter::new(most, of_one),
            crowd: Crowd::default(),
            accused_addresses: Cache::new(ACCUSED_ADDRESSES),
        }
    }
}

impl Decider {
    /// How long the trip may take: four fifths of the deadline, and more for a large batch. What is found then has the
    /// rest of nine tenths of the deadline to be written (`Observed::write_by`).
    pub(super) fn patience(&self, charges: usize) -> Duration {
        self.deadline * 4 / 5 * (1 + u32::try_from(charges / 50).unwrap_or(0))
    }

    /// A decision with nothing against the request.
    pub(super) fn plain_decision(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Decision {
        Decision {
            request_id: record.request_id.clone(),
            key_id: record.key_id.clone(),
            allowed: true,
            action: Action::None,
            reason: None,
            retry_at: None,
            decided_at: now,
            anomalies: Vec::new(),
            limits: Vec::new(),
            reserved: None,
            settlement: None,
            estimated: false,
            cost: record.cost(),
            degraded: !self.shared.is_answering(),
            late: record.late,
            would: None,
            policy_version: active.version.clone(),
        }
    }

    /// The decision about a request for which there is no observation, by the policy for that.
    pub(super) fn unavailable(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Decision {
        let plain = self.plain_decision(record, active, now);
        let deny = active.policy.on_store_failure.record == OnStoreFailure::Deny;
        let reason = deny.then_some(Reason::StoreUnavailable);
        let action = if deny { Action::Throttle } else { Action::None };
        Decision { allowed: !deny, reason, action, degraded: true, ..plain }
    }
}
