//! The store that instances share: Redis, standalone, behind Sentinel or as a Cluster.
//!
//! What must be atomic is a script in `migrations/redis`; what belongs to a subject has the hash tag of its
//! partition, so that one script can reach all of it. Only this room knows the `redis` crate.

mod charges;
mod claims;
mod control;
mod counters;
mod debts;
mod dial;
mod documents;
mod error;
mod events;
mod expiry;
mod ids;
mod keys;
mod link;
mod meta;
mod packing;
mod pages;
mod profiles;
mod reply;
mod reservations;
mod respond;
mod scripts;
mod seen;
mod sinks;
mod spread;
mod standings;
mod url;
mod usage;

use std::time::Duration;

use super::StoreError;
use crate::domain::{Millis, record::RETRY_SPAN, usage::Keep};

use keys::Keys;
pub use keys::LAYOUT;
use link::Link;
use scripts::{CHARGE, COUNTERS, Call, OBSERVE, RESPOND};

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
    /// How long a request is claimed, ms: a retry within it is charged once.
    pub retry_span: Millis,
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
            retry_span: RETRY_SPAN,
            usage: Keep::default(),
            check_server: true,
        }
    }
}

/// Every role of a [`Store`](super::Store), on Redis.
pub struct RedisStore {
    link: Link,
    /// A connection apart for the log and for sinks: large answers must not stand before small ones.
    aside: Link,
    keys: Keys,
    options: RedisOptions,
    /// Whether a script reaches one slot only.
    cluster: bool,
    /// What connects to a server that was away at the start, until that is found to be one that can be used. The others
    /// are closed for as long.
    unadopted: tokio::sync::Mutex<Option<Link>>,
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
        let store = Self::over(&target, link, aside, options);
        store.adopt(&store.link).await?;
        Ok(store)
    }

    /// A store that is not connected to yet, and answers nothing before [`reach`](super::StoreControl::reach) has
    /// reached the server, checked it and found the keyspace to be one that this version can use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the URL is no such URL.
    pub fn connect_later(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let target = url::parse(url)?;
        let later = || Link::later(&target, &options);
        let (link, aside, first) = (later()?, later()?, later()?);
        first.open();
        let unadopted = tokio::sync::Mutex::new(Some(first));
        Ok(Self { unadopted, ..Self::over(&target, link, aside, options.clone()) })
    }

    fn over(target: &url::Target, link: Link, aside: Link, options: RedisOptions) -> Self {
        let keys = Keys::new(&options.namespace, options.partitions);
        let cluster = matches!(target, url::Target::Cluster { .. });
        Self { link, aside, keys, options, cluster, unadopted: tokio::sync::Mutex::default() }
    }

    /// Checks server and keyspace over a connection, and takes over what the first start fixed.
    async fn adopt(&self, link: &Link) -> Result<(), StoreError> {
        if self.options.check_server {
            self.check_server(link).await?;
            self.check_rights(link).await?;
        }
        self.adopt_keyspace(link).await?;
        self.bring_scripts(link).await;
        Ok(())
    }

    /// Has every server have the scripts that callers wait for, so that the first of them does not wait for a second
    /// trip: a script without its keys refuses, and does nothing. One that is not brought now comes with its first
    /// call.
    async fn bring_scripts(&self, link: &Link) {
        let partitions = if self.cluster { self.keys.partitions() } else { 1 };
        let calls = (0..partitions).flat_map(|partition| {
            let call = move |source| Call::new(source).key(self.keys.reservations(partition));
            [&*OBSERVE, &*CHARGE, &*COUNTERS, &*RESPOND].map(|source| link.call(call(source)))
        });
        futures::future::join_all(calls).await;
    }

    /// Reaches a server that was away at the start. After the first time, does nothing.
    async fn join(&self) -> Result<(), StoreError> {
        let mut unadopted = self.unadopted.lock().await;
        if let Some(link) = &*unadopted {
            self.adopt(link).await?;
            self.link.open();
            self.aside.open();
            *unadopted = None;
        }
        Ok(())
    }

    /// How many partitions the keyspace has.
    pub fn partitions(&self) -> u16 {
        self.keys.partitions()
    }
}
