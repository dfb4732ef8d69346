//! The configured limits, thresholds and ladder: what `GET/PUT /v1/policy` shows and takes.
//!
//! There are no defaults in here: they are in `config/default.toml`, which is the base layer of every configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::ladder_policy::LadderPolicy;
use super::{
    enforcement::Enforcement,
    finding::{AnomalyKind, Mode},
    window::{WINDOW_COUNT, WINDOW_NAMES, WindowLimits},
};

/// How much a detector acts before it has learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Learns first; until then it alerts where it is not sure.
    Balanced,
    /// Travel and locations act from the first requests.
    Strict,
}

/// What to do with a request while the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// The in-process limiter decides.
    Allow,
    /// Requests are refused with `STORE_UNAVAILABLE`.
    Deny,
}

/// What becomes of requests per route while the store does not answer (`on_store_failure`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreFailurePolicy {
    /// For `/v1/record` and its batch.
    pub record: OnStoreFailure,
    /// What `/v1/check` answers then.
    pub check: OnStoreFailure,
    /// The share of each limit that one instance admits by itself while degraded, 0 to 1.
    pub instance_share: f64,
}

/// Limits of every key, by window name (`1min`, `5min`, `1hour`, `24hour`). A window without an entry has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitPolicy {
    /// The most tokens, by the name of the window.
    pub tokens: BTreeMap<String, u64>,
    /// The most requests, by the name of the window.
    pub requests: BTreeMap<String, u64>,
}

impl LimitPolicy {
    /// As the stores take them. Names have been validated.
    pub fn windows(&self) -> WindowLimits {
        let of = |map: &BTreeMap<String, u64>| {
            let mut out = [None; WINDOW_COUNT];
            for (slot, name) in out.iter_mut().zip(WINDOW_NAMES) {
                *slot = map.get(name).copied();
            }
            out
        };
        WindowLimits { requests: of(&self.requests), tokens: of(&self.tokens) }
    }
}

/// Settings of the detector of impossible travel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TravelPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// Least distance in km, both accuracy radii taken off.
    pub min_distance_km: f64,
    /// Greatest plausible speed in km/h.
    pub max_speed_kmh: f64,
    /// Places with a larger accuracy radius (km) say nothing.
    pub max_radius_km: u16,
}

/// Settings of the detector of concurrent locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrentPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// From this many distant places within the span.
    pub min_places: u32,
    /// The span in seconds.
    pub span_seconds: u64,
    /// Places closer than this (km) are one place.
    pub min_distance_km: f64,
}

/// Settings of the detector of traffic bursts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BurstPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// From this multiple of the hour's baseline over 5 minutes.
    pub factor: f64,
    /// Fewer requests in 5 minutes than this are never a burst.
    pub min_requests: u64,
    /// Hours of history needed before a burst is judged.
    pub min_hours: u32,
}

/// Settings of the detector of request sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SizePolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// Medium from this many standard deviations of the logarithm of tokens.
    pub z_medium: f64,
    /// High from this many.
    pub z_high: f64,
    /// Requests needed before a size is judged.
    pub min_samples: u64,
}

/// Settings of the detector of failure rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailurePolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// From this share of 403 among the requests of a key in 5 minutes, 0 to 1.
    pub share: f64,
    /// Of more requests than this.
    pub min_requests: u64,
}

/// Settings of the detector of credential stuffing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StuffingPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// From this many different failing keys of one address that never succeeded. At most 64.
    pub min_keys: u32,
    /// Within this many seconds.
    pub span_seconds: u64,
}

/// Settings of the detector of new locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
}

/// Behavioural drift, and what evidence weighs in all detectors that add it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// High from this weight (natural logarithm of the odds).
    pub weight_high: f64,
    /// Critical from this weight.
    pub weight_critical: f64,
}

/// Settings of the detector of endpoint scans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanPolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// From this share of refused requests to new endpoints among the last, 0 to 1.
    pub share: f64,
    /// And from this many of them; critical from twice as many. At most 16.
    pub min_requests: u32,
}

/// Spikes of a day's tokens or cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpikePolicy {
    /// Whether findings act, are only told, or are not looked for.
    pub mode: Mode,
    /// Standard deviations above the mean of the last 7 days.
    pub z: f64,
    /// Times the mean of the last 7 days.
    pub times_mean: f64,
    /// Times the day before.
    pub times_yesterday: f64,
    /// Days needed before a day is judged.
    pub min_days: u32,
    /// Less than this in a day (tokens, or US dollars) is never a spike.
    pub min_amount: f64,
}

/// What becomes of whoever uses a key that nobody may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryPolicy {
    /// Whether it is acted on. The key is refused in any case.
    pub mode: Mode,
}

/// One section per detector, named as [`AnomalyKind::detector`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectorPolicies {
    /// Two places that are too far apart for the time between.
    pub impossible_travel: TravelPolicy,
    /// Several places in use at the same time.
    pub concurrent_locations: ConcurrentPolicy,
    /// More requests than the key's habits make expect.
    pub traffic_burst: BurstPolicy,
    /// Requests larger than the key's habits make expect.
    pub request_size: SizePolicy,
    /// More failing requests than the key's habits make expect.
    pub failure_rate: FailurePolicy,
    /// Many failing keys from one address.
    pub credential_stuffing: StuffingPolicy,
    /// A country or network that the key was never seen in.
    pub new_location: LocationPolicy,
    /// Several habits that change together.
    pub behavioral_drift: DriftPolicy,
    /// Many paths that do not exist, one after the other.
    pub endpoint_scan: ScanPolicy,
    /// Token spikes of a day.
    pub token_usage_spike: SpikePolicy,
    /// Cost spikes of a day.
    pub cost_spike: SpikePolicy,
    /// The use of keys that nobody may use. Policies that were stored before there were any enforce it.
    #[serde(default)]
    pub canary_key: CanaryPolicy,
}

/// Limits, thresholds, modes and ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How much acts before it has learned.
    pub preset: Preset,
    /// Whether anything is refused. Policies that were stored before there was a choice enforce.
    #[serde(default)]
    #[schema(required = true)]
    pub enforcement: Enforcement,
    /// While the store does not answer.
    pub on_store_failure: StoreFailurePolicy,
    /// Limits of every key.
    pub limits: LimitPolicy,
    /// Thresholds and modes of every detector.
    pub detectors: DetectorPolicies,
    /// How responses grow from strike to strike.
    pub ladder: LadderPolicy,
}

impl Policy {
    /// The mode of the detector of an anomaly type.
    pub fn mode(&self, kind: AnomalyKind) -> Mode {
        let d = &self.detectors;
        match kind {
            AnomalyKind::ImpossibleTravel => d.impossible_travel.mode,
            AnomalyKind::ConcurrentLocations => d.concurrent_locations.mode,
            AnomalyKind::TrafficBurst => d.traffic_burst.mode,
            AnomalyKind::RequestSizeAnomaly => d.request_size.mode,
            AnomalyKind::HighFailureRate => d.failure_rate.mode,
            AnomalyKind::CredentialStuffing => d.credential_stuffing.mode,
            AnomalyKind::NewLocation => d.new_location.mode,
            AnomalyKind::BehavioralDrift => d.behavioral_drift.mode,
            AnomalyKind::EndpointScan => d.endpoint_scan.mode,
            AnomalyKind::TokenUsageSpike => d.token_usage_spike.mode,
            AnomalyKind::CostSpike => d.cost_spike.mode,
            AnomalyKind::CanaryKeyUsed => d.canary_key.mode,
        }
    }
}
