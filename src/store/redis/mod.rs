//! The store that instances share: Redis, standalone, behind Sentinel or as a Cluster.
//!
//! What must be atomic is a script in `migrations/redis`; what belongs to a subject has the hash tag of its
//! partition, so that one script can reach all of it. Only this room knows the `redis` crate.

mod bans;
mod claims;
mod dial;
mod documents;
mod error;
mod events;
mod ids;
mod keys;
mod link;
mod log;
mod meta;
mod observe;
mod packing;
mod profiles;
mod quotas;
mod respond;
mod scripts;
mod sinks;
mod url;
mod usage;

use std::time::Duration;

use crate::domain::{
    Millis,
    event::Event,
    observation::{Charge, Observation},
    profile::Profile,
    quota::{Counter, Lease, QuotaChange, QuotaCount},
    subject::Subject,
    usage::{Keep, UsageBatch, UsageQuery, UsageTable},
};

use super::{
    Changed, Claim, DeadLetter, DeadLetterAct, Document, EventQuery, LogPage, LogPosition, Page, Respond,
    Responded, Revision, SinkHealth, SinkLead, SinkRecord, SinkStep, StandingRecord, Stepped, Store,
    StoreError, StoreResult,
};

use keys::Keys;
pub use keys::LAYOUT;
use link::Link;

/// How the store is used.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// What every key starts with; instances that share it share everything.
    pub namespace: String,
    /// Slots over which subjects and events are spread, 1 to 1024. Only the first start decides.
    pub partitions: u16,
    /// How long one answer may take.
    pub response_timeout: Duration,
    /// How long making a connection may take.
    pub connection_timeout: Duration,
    /// Events kept per partition (about), whatever their age.
    pub max_events_per_partition: u64,
    /// How long events are kept.
    pub event_retention: Duration,
    /// How long the profile of a silent subject is kept.
    pub profile_retention: Duration,
    /// How long roll-ups of usage are kept.
    pub usage: Keep,
    /// Whether to look at the server's version and settings at start.
    pub check_server: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            namespace: "kw".into(),
            partitions: 32,
            response_timeout: Duration::from_millis(500),
            connection_timeout: Duration::from_secs(1),
            max_events_per_partition: 100_000,
            event_retention: 90 * DAY,
            profile_retention: 45 * DAY,
            usage: Keep::default(),
            check_server: true,
        }
    }
}

/// [`Store`] on Redis.
pub struct RedisStore {
    link: Link,
    /// A connection apart for the log and for sinks: large answers must not stand before small ones.
    aside: Link,
    keys: Keys,
    options: RedisOptions,
    /// Whether a script reaches one slot only.
    cluster: bool,
}

impl RedisStore {
    /// Connects, checks the server and the keyspace, and notes what the first start fixes.
    ///
    /// `url` is `redis://` or `rediss://` (TLS) with an optional `user:password@`, or
    /// `redis+cluster://[user:password@]host:port,...`, or
    /// `redis+sentinel://[user:password@]host:port,.../<master>`; `rediss+cluster` and `rediss+sentinel` for TLS.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the URL is no such URL or nobody answers there,
    /// [`StoreError::Incompatible`] when the server or the keyspace is not one this version can use.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let target = url::parse(url)?;
        let link = Link::connect(&target, &options).await?;
        let aside = Link::connect(&target, &options).await?;
        let keys = Keys::new(&options.namespace, options.partitions);
        let cluster = matches!(target, url::Target::Cluster { .. });
        let mut store = Self { link, aside, keys, options, cluster };
        if store.options.check_server {
            store.check_server().await?;
        }
        store.adopt_keyspace().await?;
        Ok(store)
    }

    /// How many partitions the keyspace has.
    pub fn partitions(&self) -> u16 {
        self.keys.partitions()
    }
}

impl Store for RedisStore {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        Box::pin(self.observe_all(charges))
    }

    fn change_quotas<'a>(&'a self, changes: &'a [QuotaChange], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(self.change_counters(changes, now))
    }

    fn quotas<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<QuotaCount>> {
        Box::pin(self.read_counters(counters, now))
    }

    fn take_lease<'a>(&'a self, key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>> {
        Box::pin(self.take_one_lease(key, id))
    }

    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>> {
        Box::pin(self.leases_until(now, limit))
    }

    fn end_lease<'a>(&'a self, lease: &'a Lease, now: Millis) -> StoreResult<'a, bool> {
        Box::pin(self.end_one_lease(lease, now))
    }

    fn respond<'a>(&'a self, respond: &'a Respond) -> StoreResult<'a, Responded> {
        Box::pin(self.respond_one(respond))
    }

    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>> {
        Box::pin(self.standing_of(subject))
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        Box::pin(self.peek_at(subject, now))
    }

    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>> {
        Box::pin(self.all_in_force(now))
    }

    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize> {
        Box::pin(self.expire_due(now))
    }

    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>> {
        Box::pin(self.append_all(events))
    }

    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>> {
        Box::pin(self.list_events(query))
    }

    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>> {
        Box::pin(self.event_by_id(id))
    }

    fn log_end(&self) -> StoreResult<'_, LogPosition> {
        Box::pin(self.end_of_log())
    }

    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition> {
        Box::pin(async move { self.position_behind(id) })
    }

    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage> {
        Box::pin(self.follow_log(position, limit))
    }

    fn advance(&self, position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        self.advanced(position, id)
    }

    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>> {
        Box::pin(self.lead_one(sink, owner, now, until))
    }

    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>> {
        Box::pin(self.renew_one(sink, epoch, until, health))
    }

    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()> {
        Box::pin(self.leave_one(sink, owner))
    }

    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped> {
        Box::pin(self.step_one(step))
    }

    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>> {
        Box::pin(self.sink_record(sink))
    }

    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>> {
        Box::pin(self.letters_of(sink))
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize> {
        Box::pin(self.act_on_letters(sink, act, ids))
    }

    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>> {
        Box::pin(self.read_profile(subject))
    }

    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile> {
        Box::pin(self.merge_into_profile(subject, delta))
    }

    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()> {
        Box::pin(self.forget_subject(subject, event))
    }

    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)> {
        Box::pin(self.all_documents())
    }

    fn documents_revision(&self) -> StoreResult<'_, Revision> {
        Box::pin(self.revision())
    }

    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>> {
        Box::pin(self.changed_documents(known))
    }

    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool> {
        Box::pin(self.put_document(document, event))
    }

    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        Box::pin(self.claim_request(request, now))
    }

    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()> {
        Box::pin(self.answer_claim(request, answer, now))
    }

    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>> {
        Box::pin(self.note_pepper(name, fingerprint))
    }

    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        Box::pin(self.add_usage_batch(batch))
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable> {
        Box::pin(self.read_usage(query))
    }

    fn clock(&self) -> StoreResult<'_, Option<Millis>> {
        Box::pin(self.server_time())
    }

    fn ping(&self) -> StoreResult<'_, ()> {
        Box::pin(self.touch_meta())
    }

    fn close(&self) -> StoreResult<'_, ()> {
        // Nothing is kept in memory.
        Box::pin(async { Ok(()) })
    }
}
