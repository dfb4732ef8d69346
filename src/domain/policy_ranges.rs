//! What the numbers of a policy may be: the range of each, and what goes together.

use super::{
    policy::{DetectorPolicies, LadderPolicy, LimitPolicy, Policy, SpikePolicy},
    window::WINDOW_NAMES,
};
use crate::settings::{SettingError, SettingErrors, nearest};

/// Most of anything that a limit may allow: what a double holds exactly in Redis, with a margin.
const MOST: u64 = 1 << 52;
/// Longest span, in seconds: 10 years.
const LONGEST_SECONDS: u64 = 315_360_000;

impl Policy {
    /// Checks every range.
    ///
    /// # Errors
    /// Every setting out of its range, by its dotted name from the policy's top, with what it must be.
    pub fn validate(&self) -> Result<(), SettingErrors> {
        let mut ranges = Ranges::default();
        ranges.limits(&self.limits);
        ranges.share(self.on_store_failure.instance_share, "on_store_failure.instance_share");
        ranges.places(&self.detectors);
        ranges.requests(&self.detectors);
        ranges.spike(&self.detectors.token_usage_spike, "detectors.token_usage_spike");
        ranges.spike(&self.detectors.cost_spike, "detectors.cost_spike");
        ranges.ladder(&self.ladder);
        ranges.0.finish(Ok::<_, SettingErrors>(()))
    }
}

#[derive(Default)]
struct Ranges(SettingErrors);

impl Ranges {
    fn limits(&mut self, limits: &LimitPolicy) {
        for (map, section) in [(&limits.tokens, "tokens"), (&limits.requests, "requests")] {
            for (window, limit) in map {
                let setting = format!("limits.{section}.{window}");
                if WINDOW_NAMES.contains(&window.as_str()) {
                    self.ensure((1..=MOST).contains(limit), &setting, "must be from 1 to 4503599627370496");
                } else {
                    let error = SettingError::new(setting, "windows are 1min, 5min, 1hour, 24hour");
                    self.0.check(Err(error.suggesting(nearest(window, WINDOW_NAMES))));
                }
            }
        }
    }

    /// Detectors that judge where a key is used.
    fn places(&mut self, detectors: &DetectorPolicies) {
        let travel = &detectors.impossible_travel;
        self.positive(travel.min_distance_km, "detectors.impossible_travel.min_distance_km");
        self.positive(travel.max_speed_kmh, "detectors.impossible_travel.max_speed_kmh");
        let concurrent = &detectors.concurrent_locations;
        let min_places = "detectors.concurrent_locations.min_places";
        self.ensure(concurrent.min_places >= 2, min_places, "must be 2 or more");
        self.seconds(concurrent.span_seconds, "detectors.concurrent_locations.span_seconds");
        self.positive(concurrent.min_distance_km, "detectors.concurrent_locations.min_distance_km");
    }

    /// Detectors that judge what requests are like.
    fn requests(&mut self, detectors: &DetectorPolicies) {
        self.ensure(
            detectors.traffic_burst.factor > 1.0,
            "detectors.traffic_burst.factor",
            "must be above 1",
        );
        let size = &detectors.request_size;
        self.positive(size.z_medium, "detectors.request_size.z_medium");
        if self.positive(size.z_high, "detectors.request_size.z_high") {
            let names = ["z_high", "z_medium"];
            self.at_least(size.z_high, size.z_medium, "detectors.request_size", names);
        }
        self.share(detectors.failure_rate.share, "detectors.failure_rate.share");
        let stuffing = &detectors.credential_stuffing;
        let min_keys = "detectors.credential_stuffing.min_keys";
        self.ensure((2..=64).contains(&stuffing.min_keys), min_keys, "must be from 2 to 64");
        self.seconds(stuffing.span_seconds, "detectors.credential_stuffing.span_seconds");
        let drift = &detectors.behavioral_drift;
        self.positive(drift.weight_high, "detectors.behavioral_drift.weight_high");
        if self.positive(drift.weight_critical, "detectors.behavioral_drift.weight_critical") {
            let names = ["weight_critical", "weight_high"];
            self.at_least(drift.weight_critical, drift.weight_high, "detectors.behavioral_drift", names);
        }
        let scan = &detectors.endpoint_scan;
        self.share(scan.share, "detectors.endpoint_scan.share");
        let min_requests = "detectors.endpoint_scan.min_requests";
        self.ensure((2..=16).contains(&scan.min_requests), min_requests, "must be from 2 to 16");
    }

    fn spike(&mut self, spike: &SpikePolicy, table: &str) {
        self.positive(spike.z, &format!("{table}.z"));
        self.positive(spike.times_mean, &format!("{table}.times_mean"));
        self.positive(spike.times_yesterday, &format!("{table}.times_yesterday"));
        self.positive(spike.min_amount, &format!("{table}.min_amount"));
        self.ensure((2..=7).contains(&spike.min_days), &format!("{table}.min_days"), "must be from 2 to 7");
    }

    fn ladder(&mut self, ladder: &LadderPolicy) {
        self.share(ladder.throttle_share, "ladder.throttle_share");
        self.seconds(ladder.throttle_seconds, "ladder.throttle_seconds");
        self.seconds(ladder.ban_seconds, "ladder.ban_seconds");
        let is_factor = (1.0..=1000.0).contains(&ladder.ban_factor);
        self.ensure(is_factor, "ladder.ban_factor", "must be from 1 to 1000");
        if self.seconds(ladder.ban_max_seconds, "ladder.ban_max_seconds") {
            let names = ["ban_max_seconds", "ban_seconds"];
            self.at_least(ladder.ban_max_seconds, ladder.ban_seconds, "ladder", names);
        }
        self.share(ladder.ban_jitter, "ladder.ban_jitter");
        self.seconds(ladder.strike_half_life_seconds, "ladder.strike_half_life_seconds");
        self.ensure(ladder.permanent_after >= 1, "ladder.permanent_after", "must be 1 or more");
        self.seconds(ladder.permanent_span_seconds, "ladder.permanent_span_seconds");
    }

    fn ensure(&mut self, holds: bool, setting: &str, hint: &str) -> bool {
        self.0.check(SettingError::ensure(holds, setting, hint));
        holds
    }

    fn positive(&mut self, value: f64, setting: &str) -> bool {
        self.ensure(value.is_finite() && value > 0.0, setting, "must be a number above 0")
    }

    fn share(&mut self, value: f64, setting: &str) {
        self.ensure((0.0..=1.0).contains(&value), setting, "must be a share from 0 to 1");
    }

    fn seconds(&mut self, value: u64, setting: &str) -> bool {
        let hint = "must be from 1 second to 10 years (315360000)";
        self.ensure((1..=LONGEST_SECONDS).contains(&value), setting, hint)
    }

    /// Checks that the first of two settings of a table is not below the second, if the second is right by itself.
    fn at_least<T: PartialOrd>(&mut self, upper: T, lower: T, table: &str, [name, other]: [&str; 2]) {
        let other_setting = format!("{table}.{other}");
        if upper < lower && !self.0.concern(&other_setting) {
            let error = SettingError::new(format!("{table}.{name}"), format!("must be at least {other}"));
            self.0.check(Err(error.contradicting(other_setting)));
        }
    }
}
