//! Settings: the embedded base layer, the preset, a file, the environment and flags, laid over each other.
//!
//! `layers` reads and merges them, `environment` reads variables, `check` knows names, kinds and ranges, `load` makes
//! a [`Config`] of it all, `authorize` knows what proxies are believed and where keys are looked for, `gateway` the
//! lists of the gateway, `hosts` which hosts are answered to, `policy_file` a policy alone, `registry` plans and
//! projects, `sinks` sinks, `spend` what days are compared with, `state` where data are kept, `tokens` who may call.
//! What a setting means is said in `config/default.toml` and nowhere else.

mod authorize;
mod check;
mod environment;
mod error;
mod gateway;
mod hosts;
mod layer;
mod layers;
mod load;
mod policy_file;
mod registry;
mod sinks;
mod spend;
mod state;
#[cfg(test)]
mod tests;
mod tokens;

pub use authorize::{
    AddressHeader, DoorListen, HeaderName, KeyPlace, Original, RequestIdHeader, TrustedNetwork, WithoutKey,
};
pub use error::{ConfigError, Mistake, Origin};
pub use hosts::{AllowedHosts, Host, HostPattern};
pub use layers::Sources;
pub(crate) use load::mask_url;
pub use policy_file::PolicyFile;
pub use state::HERE;
pub use tokens::Credential;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use serde::{Deserialize, Serialize};

use crate::domain::{
    alert::{AlertRule, Threshold},
    finding::Mode,
    policy::Policy,
    registry::{LimitBody, Plan, Project, UnknownKeys},
    spend::CheckInterval,
    usage::Keep,
};
use crate::{forward::SinkSettings, gateway::settings::GatewaySettings, traces::Names};

/// The base layer: every setting with its default.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");
/// What the strict preset changes.
pub const STRICT_TOML: &str = include_str!("../../config/strict.toml");

/// Every setting, after all layers. Meaning, unit and range of each are in `config/default.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented where the defaults are, in config/default.toml")]
pub struct Config {
    pub limits: Vec<LimitBody>,
    pub alerts: Vec<AlertRule>,
    pub sinks: Vec<SinkSettings>,
    pub server: Server,
    pub gateway: GatewaySettings,
    pub authorize: AuthorizeConfig,
    pub traces: Names,
    pub store: StoreConfig,
    pub secrets: Secrets,
    pub geoip: Geoip,
    pub prices: PricesConfig,
    pub idempotency: Idempotency,
    pub cardinality: Cardinality,
    pub usage: UsageConfig,
    pub reservations: Reservations,
    pub spend: SpendConfig,
    pub events: Events,
    pub auth: Auth,
    pub log: Log,
    pub registry: RegistryConfig,
    pub priorities: Priorities,
    pub plans: BTreeMap<String, Plan>,
    pub projects: BTreeMap<String, Project>,
    pub policy: Policy,
    /// What `KEYWARD_PEPPER` said. No setting, so that it is never printed or written to a file.
    #[serde(skip)]
    pub pepper: Option<PepperText>,
}

impl Config {
    /// Whether other instances may use the same store.
    pub fn store_is_shared(&self) -> bool {
        self.embedded_directory().is_none()
    }

    /// The directory of the embedded store; `None` when the store is Redis.
    pub fn embedded_directory(&self) -> Option<&Path> {
        let named = self.store.url.strip_prefix("embedded:").map(Path::new);
        // Where it is not set, `load` has put the directory in its place.
        if self.store.url.is_empty() { Some(Path::new(HERE)) } else { named }
    }

    /// Where a pepper is kept that Keyward made itself.
    pub fn own_pepper_file(&self) -> PathBuf {
        self.data_directory().join("pepper")
    }

    /// Where what belongs to this machine is kept: the pepper that is made, and what the store does not take.
    pub fn data_directory(&self) -> PathBuf {
        let configured = Some(self.secrets.data_directory.as_path()).filter(|d| !d.as_os_str().is_empty());
        let directory = configured.or_else(|| self.embedded_directory());
        directory.unwrap_or(Path::new(HERE)).to_owned()
    }
}

impl Server {
    /// Where operators have a listener of their own, if they have.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin_listen.parse().ok()
    }
}

impl UsageConfig {
    /// How long roll-ups are kept.
    pub fn keep(&self) -> Keep {
        Keep { minute_days: self.minute_days, hour_days: self.hour_days, day_days: self.day_days }
    }
}

impl PricesConfig {
    /// The configured price list, if there is one.
    pub fn file(&self) -> Option<&Path> {
        Some(self.file.as_path()).filter(|file| !file.as_os_str().is_empty())
    }
}

/// Pepper in the clear, on its way to be parsed.
#[derive(Clone)]
pub struct PepperText(Zeroizing<String>);

impl PepperText {
    /// Takes over a text that must not be shown.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text itself, for whoever must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PepperText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PepperText(***)")
    }
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
    /// Where it listens, and how long it waits: `[server]`.
    Server {
        listen: std::net::SocketAddr,
        admin_listen: String,
        hosts: Vec<HostPattern>,
        header_timeout_ms: u64,
        request_timeout_ms: u64,
        write_timeout_ms: u64,
        max_connections: usize,
        max_connections_per_address: usize,
        shutdown_grace_seconds: u64,
        reload_seconds: u64,
        max_clock_skew_seconds: u64,
        trusted_proxies: Vec<TrustedNetwork>,
        authorize_listen: DoorListen,
        grpc_listen: DoorListen,
        export_detector_bans: bool,
    }
}
section! {
    /// What `/v1/authorize` looks at and does: `[authorize]`.
    AuthorizeConfig {
        keys: Vec<KeyPlace>,
        original: Original,
        address_header: AddressHeader,
        request_id_header: RequestIdHeader,
        without_key: WithoutKey,
        observe: bool,
        reserve: bool,
        estimated_tokens: u64,
        model: String,
    }
}
section! {
    /// Which store it uses, and how: `[store]`.
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
    /// Where secrets and data are kept: `[secrets]`.
    Secrets { pepper_file: String, data_directory: PathBuf }
}
section! {
    /// Which geo databases it reads: `[geoip]`.
    Geoip { files: Vec<PathBuf>, demo: bool, reload_seconds: u64 }
}
section! {
    /// Which price list it reads: `[prices]`.
    PricesConfig { file: PathBuf, reload_seconds: u64 }
}
section! {
    /// How retries are recognised: `[idempotency]`.
    Idempotency { capacity: usize, seconds: i64 }
}
section! {
    /// How many keys and addresses are told apart: `[cardinality]`.
    Cardinality {
        max_tracked_keys: usize,
        new_subjects_per_minute: u32,
        new_subjects_per_minute_per_address: u32,
    }
}
section! {
    /// How much usage is told apart, and for how long: `[usage]`.
    UsageConfig { max_series: usize, by_user: bool, minute_days: u32, hour_days: u32, day_days: u32 }
}
section! {
    /// How long estimates are held: `[reservations]`.
    Reservations { lease_seconds: i64 }
}
section! {
    /// What makes a day of spending unusual: `[spend]`.
    SpendConfig {
        mode: Mode,
        z: f64,
        times_mean: f64,
        times_yesterday: f64,
        same_weekday: f64,
        min_days: usize,
        min_cost: Threshold,
        min_tokens: u64,
        interval: CheckInterval,
        cut_off_after: usize,
    }
}
section! {
    /// How events are folded and buffered: `[events]`.
    Events { fold_seconds: u64, buffer: usize }
}
section! {
    /// Who may call the API: `[auth]`.
    Auth { tokens: Vec<Token> }
}
section! {
    /// What the log says, and in which form: `[log]`.
    Log { format: LogFormat, level: String }
}

section! {
    /// What keys without a plan or an entry get: `[registry]`.
    RegistryConfig { unknown_keys: UnknownKeys, default_plan: String, default_project: String }
}
section! {
    /// Which share of a limit a priority may use: `[priorities]`.
    Priorities { low: f64, medium: f64 }
}

/// The format of the service's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people, one per event of the log.
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
