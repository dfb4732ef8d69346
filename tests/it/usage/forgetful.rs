//! A store whose answers to additions of usage are lost now and then, after it has added them or before.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use keyward::{
    domain::{
        Millis,
        event::Event,
        observation::{Charge, Observation},
        profile::Profile,
        quota::{Counter, Lease, QuotaChange, QuotaCount},
        subject::Subject,
        usage::{UsageBatch, UsageQuery, UsageTable},
    },
    store::{
        Changed, Claim, DeadLetter, DeadLetterAct, Document, EventQuery, LogPage, LogPosition, Page, Respond,
        Responded, Revision, SinkHealth, SinkLead, SinkRecord, SinkStep, StandingRecord, Stepped, Store,
        StoreError, StoreResult,
    },
};

/// See the module.
pub struct Forgetful {
    inner: Arc<dyn Store>,
    calls: AtomicUsize,
    /// Answers that were lost.
    pub lost: AtomicUsize,
}

impl Forgetful {
    /// Over another store.
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, calls: AtomicUsize::new(0), lost: AtomicUsize::new(0) })
    }
}

/// Hands calls through.
macro_rules! through {
    ($($name:ident<$a:lifetime>($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name<$a>(&$a self, $($arg: $ty),*) -> StoreResult<$a, $out> { self.inner.$name($($arg),*) })*
    };
    (plain $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $ty),*) -> StoreResult<'_, $out> { self.inner.$name($($arg),*) })*
    };
}

impl Store for Forgetful {
    through! {
        observe<'a>(charges: &'a [Charge]) -> Vec<Observation>;
        respond<'a>(respond: &'a Respond) -> Responded;
        standing<'a>(subject: &'a Subject) -> Option<StandingRecord>;
        inspect<'a>(subject: &'a Subject, now: Millis) -> Option<Observation>;
        append<'a>(events: &'a [Event]) -> Vec<Event>;
        events<'a>(query: &'a EventQuery) -> Page<Event>;
        event<'a>(id: &'a str) -> Option<Event>;
        position_after<'a>(id: &'a str) -> LogPosition;
        read_log<'a>(position: &'a LogPosition, limit: usize) -> LogPage;
        lead_sink<'a>(sink: &'a str, owner: &'a str, now: Millis, until: Millis) -> Option<SinkLead>;
        renew_sink<'a>(sink: &'a str, epoch: u64, until: Millis, health: &'a SinkHealth) -> Option<bool>;
        leave_sink<'a>(sink: &'a str, owner: &'a str) -> ();
        step_sink<'a>(step: &'a SinkStep) -> Stepped;
        sink<'a>(sink: &'a str) -> Option<SinkRecord>;
        dead_letters<'a>(sink: &'a str) -> Vec<DeadLetter>;
        act_on_dead_letters<'a>(sink: &'a str, act: DeadLetterAct, ids: &'a [String]) -> usize;
        profile<'a>(subject: &'a Subject) -> Option<Profile>;
        merge_profile<'a>(subject: &'a Subject, delta: &'a Profile) -> Profile;
        forget<'a>(subject: &'a Subject, event: &'a Event) -> ();
        write_document<'a>(document: &'a Document, event: &'a Event) -> bool;
        claim<'a>(request: &'a str, now: Millis) -> Claim;
        finish_claim<'a>(request: &'a str, answer: &'a [u8], now: Millis) -> ();
        register_pepper<'a>(name: &'a str, fingerprint: &'a str) -> Option<String>;
        change_quotas<'a>(changes: &'a [QuotaChange], now: Millis) -> ();
        quotas<'a>(counters: &'a [Counter], now: Millis) -> Vec<QuotaCount>;
        take_lease<'a>(key: &'a Subject, id: &'a str) -> Option<Lease>;
        end_lease<'a>(lease: &'a Lease, now: Millis) -> bool;
        usage<'a>(query: &'a UsageQuery) -> UsageTable;
    }

    through! {
        plain
        ended_leases(now: Millis, limit: usize) -> Vec<Lease>;
        standings_in_force(now: Millis) -> Vec<StandingRecord>;
        expire_bans(now: Millis) -> usize;
        log_end() -> LogPosition;
        documents() -> (Revision, Vec<Document>);
        documents_revision() -> Revision;
        documents_since(known: Revision) -> Option<Changed>;
        clock() -> Option<Millis>;
        ping() -> ();
        close() -> ();
    }

    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        self.inner.advance(position, id)
    }

    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let lost = || {
                self.lost.fetch_add(1, Relaxed);
                Err(StoreError::Unavailable("the answer was lost".to_owned()))
            };
            match self.calls.fetch_add(1, Relaxed) % 4 {
                1 => lost(),
                3 => {
                    self.inner.add_usage(batch).await?;
                    lost()
                }
                _ => self.inner.add_usage(batch).await,
            }
        })
    }
}
