//! The configured limits, thresholds and ladder: what `GET/PUT /v1/policy` shows and takes.
//!
//! There are no defaults in here: they are in `config/default.toml`, which is the base layer of every configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    enforcement::Enforcement,
    finding::{AnomalyKind, Mode, Severity},
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
    /// From this share of 401 and 403 in 5 minutes, 0 to 1.
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
}

/// The graduated responses. A response acts on enforced findings of at least its severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderPolicy {
    /// Severity from which a finding is an alert.
    pub alert_from: Severity,
    /// Severity from which it throttles.
    pub throttle_from: Severity,
    /// Severity from which it bans.
    pub ban_from: Severity,
    /// Share of each limit that is left while throttled, 0 to 1.
    pub throttle_share: f64,
    /// Length of a throttle in seconds.
    pub throttle_seconds: u64,
    /// Length of the first temporary ban in seconds.
    pub ban_seconds: u64,
    /// Each further strike multiplies the length by this, 1 or more.
    pub ban_factor: f64,
    /// Longest temporary ban in seconds.
    pub ban_max_seconds: u64,
    /// Second and later bans are lengthened by up to this share, so that returns spread out, 0 to 1.
    pub ban_jitter: f64,
    /// Strikes halve in this many seconds.
    pub strike_half_life_seconds: u64,
    /// A permanent ban follows this many temporary ones ...
    pub permanent_after: u32,
    /// ... within this many seconds ...
    pub permanent_span_seconds: u64,
    /// ... if the policy allows it without a person; else the longest temporary ban does.
    pub permanent_without_person: bool,
    /// After an operator's unban, the detector that fired is not acted on for this many seconds.
    pub grace_seconds: u64,
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

/// What is wrong with a policy: the setting and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {mend}")]
pub struct PolicyError {
    /// Dotted path of the setting, from `policy`'s top.
    pub setting: String,
    /// What it must be.
    pub mend: String,
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
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first setting out of its range, with what it must be.
    pub fn validate(&self) -> Result<(), PolicyError> {
        for (map, section) in [(&self.limits.tokens, "tokens"), (&self.limits.requests, "requests")] {
            for (window, limit) in map {
                let setting = format!("limits.{section}.{window}");
                ensure(
                    WINDOW_NAMES.contains(&window.as_str()),
                    &setting,
                    "windows are 1min, 5min, 1hour, 24hour",
                )?;
                ensure((1..=1 << 52).contains(limit), &setting, "must be from 1 to 4503599627370496")?;
            }
        }
        let d = &self.detectors;
        let l = &self.ladder;
        let positive = |value: f64, setting: &str| {
            ensure(value.is_finite() && value > 0.0, setting, "must be a number above 0")
        };
        let share = |value: f64, setting: &str| {
            ensure((0.0..=1.0).contains(&value), setting, "must be a share from 0 to 1")
        };
        let seconds = |value: u64, setting: &str| {
            ensure(
                (1..=315_360_000).contains(&value),
                setting,
                "must be from 1 second to 10 years (315360000)",
            )
        };
        share(self.on_store_failure.instance_share, "on_store_failure.instance_share")?;
        positive(d.impossible_travel.min_distance_km, "detectors.impossible_travel.min_distance_km")?;
        positive(d.impossible_travel.max_speed_kmh, "detectors.impossible_travel.max_speed_kmh")?;
        ensure(
            d.concurrent_locations.min_places >= 2,
            "detectors.concurrent_locations.min_places",
            "must be 2 or more",
        )?;
        seconds(d.concurrent_locations.span_seconds, "detectors.concurrent_locations.span_seconds")?;
        positive(d.concurrent_locations.min_distance_km, "detectors.concurrent_locations.min_distance_km")?;
        ensure(d.traffic_burst.factor > 1.0, "detectors.traffic_burst.factor", "must be above 1")?;
        positive(d.request_size.z_medium, "detectors.request_size.z_medium")?;
        ensure(
            d.request_size.z_high >= d.request_size.z_medium,
            "detectors.request_size.z_high",
            "must be at least z_medium",
        )?;
        share(d.failure_rate.share, "detectors.failure_rate.share")?;
        ensure(
            (2..=64).contains(&d.credential_stuffing.min_keys),
            "detectors.credential_stuffing.min_keys",
            "must be from 2 to 64",
        )?;
        seconds(d.credential_stuffing.span_seconds, "detectors.credential_stuffing.span_seconds")?;
        positive(d.behavioral_drift.weight_high, "detectors.behavioral_drift.weight_high")?;
        ensure(
            d.behavioral_drift.weight_critical >= d.behavioral_drift.weight_high,
            "detectors.behavioral_drift.weight_critical",
            "must be at least weight_high",
        )?;
        share(d.endpoint_scan.share, "detectors.endpoint_scan.share")?;
        ensure(
            (2..=16).contains(&d.endpoint_scan.min_requests),
            "detectors.endpoint_scan.min_requests",
            "must be from 2 to 16",
        )?;
        for (spike, name) in [(&d.token_usage_spike, "token_usage_spike"), (&d.cost_spike, "cost_spike")] {
            positive(spike.z, &format!("detectors.{name}.z"))?;
            positive(spike.times_mean, &format!("detectors.{name}.times_mean"))?;
            positive(spike.times_yesterday, &format!("detectors.{name}.times_yesterday"))?;
            positive(spike.min_amount, &format!("detectors.{name}.min_amount"))?;
            ensure(
                (2..=7).contains(&spike.min_days),
                &format!("detectors.{name}.min_days"),
                "must be from 2 to 7",
            )?;
        }
        share(l.throttle_share, "ladder.throttle_share")?;
        seconds(l.throttle_seconds, "ladder.throttle_seconds")?;
        seconds(l.ban_seconds, "ladder.ban_seconds")?;
        ensure(l.ban_factor >= 1.0 && l.ban_factor <= 1000.0, "ladder.ban_factor", "must be from 1 to 1000")?;
        seconds(l.ban_max_seconds, "ladder.ban_max_seconds")?;
        ensure(l.ban_max_seconds >= l.ban_seconds, "ladder.ban_max_seconds", "must be at least ban_seconds")?;
        share(l.ban_jitter, "ladder.ban_jitter")?;
        seconds(l.strike_half_life_seconds, "ladder.strike_half_life_seconds")?;
        ensure(l.permanent_after >= 1, "ladder.permanent_after", "must be 1 or more")?;
        seconds(l.permanent_span_seconds, "ladder.permanent_span_seconds")
    }
}

fn ensure(holds: bool, setting: &str, mend: &str) -> Result<(), PolicyError> {
    if holds { Ok(()) } else { Err(PolicyError { setting: setting.to_owned(), mend: mend.to_owned() }) }
}
