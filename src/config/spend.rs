//! `[spend]`: what a key's days are held against.

use super::SpendConfig;
use crate::{
    domain::{finding::Mode, spend::Rules},
    settings::{SettingError, SettingErrors},
};

impl SpendConfig {
    /// As the judgement takes it; `None`: nothing is judged.
    pub fn rules(&self) -> Option<Rules> {
        let thousandths = |times: f64| (times * 1000.0).round() as u64;
        (self.mode != Mode::Off).then(|| Rules {
            mode: self.mode,
            z: thousandths(self.z),
            times_mean: thousandths(self.times_mean),
            times_yesterday: thousandths(self.times_yesterday),
            same_weekday: thousandths(self.same_weekday),
            min_days: self.min_days,
            min_cost: self.min_cost.billionths(),
            min_tokens: self.min_tokens,
            interval: self.interval,
            cut_off_after: self.cut_off_after,
        })
    }
}

/// What the types allow and cannot be meant.
pub(super) fn meaning(spend: &SpendConfig, errors: &mut SettingErrors) {
    let mut ensure = |holds, setting, hint| errors.check(SettingError::ensure(holds, setting, hint));
    let is_multiple = |times: f64| (1.0..=1_000_000.0).contains(&times);
    ensure((0.1..=100.0).contains(&spend.z), "spend.z", "must be from 0.1 to 100");
    ensure(is_multiple(spend.times_mean), "spend.times_mean", "must be from 1 to 1000000");
    ensure(is_multiple(spend.times_yesterday), "spend.times_yesterday", "must be from 1 to 1000000");
    ensure(
        (0.0..=1_000.0).contains(&spend.same_weekday),
        "spend.same_weekday",
        "must be from 0 to 1000; 0: no weekday excuses another",
    );
    ensure(
        spend.min_cost.billionths() > 0,
        "spend.min_cost",
        "must be above 0: US dollars, as a decimal in quotes such as \"50\"",
    );
}
