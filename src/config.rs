//! Settings: the embedded base layer, the preset, a file, the environment and flags, laid over each other.

use serde::{Deserialize, Serialize};

use crate::domain::policy::Policy;

/// The base layer: every setting with its default.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");
/// What the strict preset changes.
pub const STRICT_TOML: &str = include_str!("../config/strict.toml");

/// Every setting, after all layers. Meaning, unit and range of each are in `config/default.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented where the defaults are, in config/default.toml")]
pub struct Config {
    pub server: Server,
    pub store: StoreConfig,
    pub secrets: Secrets,
    pub geoip: Geoip,
    pub idempotency: Idempotency,
    pub cardinality: Cardinality,
    pub events: Events,
    pub auth: Auth,
    pub log: Log,
    pub policy: Policy,
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident : $ty:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "documented where the defaults are, in config/default.toml")]
        pub struct $name { $(pub $field: $ty),+ }
    };
}

section! {
    /// `[server]`
    Server {
        listen: std::net::SocketAddr,
        header_timeout_ms: u64,
        request_timeout_ms: u64,
        max_connections: usize,
        shutdown_grace_seconds: u64,
        max_clock_skew_seconds: u64,
    }
}
section! {
    /// `[store]`
    StoreConfig {
        url: String,
        namespace: String,
        deadline_ms: u64,
        partitions: u16,
        event_retention_days: u32,
        max_events_per_partition: u64,
        profile_retention_days: u32,
        snapshot_seconds: u64,
    }
}
section! {
    /// `[secrets]`
    Secrets { pepper_file: String, data_directory: std::path::PathBuf }
}
section! {
    /// `[geoip]`
    Geoip { files: Vec<std::path::PathBuf>, demo: bool, reload_seconds: u64 }
}
section! {
    /// `[idempotency]`
    Idempotency { capacity: usize, scope: IdempotencyScope }
}
section! {
    /// `[cardinality]`
    Cardinality {
        max_tracked_keys: usize,
        new_subjects_per_minute: u32,
        new_subjects_per_minute_per_address: u32,
    }
}
section! {
    /// `[events]`
    Events { fold_seconds: u64, buffer: usize }
}
section! {
    /// `[auth]`
    Auth { tokens: Vec<Token> }
}
section! {
    /// `[log]`
    Log { format: LogFormat, level: String }
}

/// How far idempotency reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyScope {
    /// Each instance remembers its own answers.
    Instance,
    /// Answers are shared through the store.
    Store,
}

/// The format of the service's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One bearer token, as its hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Public id: the part of the token before the dot.
    pub id: String,
    /// SHA-256 of the whole token, in hex.
    pub hash: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// RFC 3339 time after which it is refused.
    #[serde(default)]
    pub expires: Option<String>,
}

/// The policy of the base layer, for tests and documents.
///
/// # Panics
/// Never in a released binary: a test reads the embedded file.
#[cfg(test)]
pub fn default_policy() -> Policy {
    toml::from_str::<Config>(DEFAULT_TOML).expect("config/default.toml is valid").policy
}
