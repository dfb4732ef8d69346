//! `[spend]`: what a key's days are held against.

use super::SpendConfig;
use crate::domain::{finding::Mode, spend::Rules};

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
            cut_off_after: self.cut_off_after,
        })
    }
}

/// What the types allow and cannot be meant: the setting, and the mend.
pub(super) fn meaning(spend: &SpendConfig) -> Result<(), (&'static str, &'static str)> {
    if !(0.1..=100.0).contains(&spend.z) {
        return Err(("spend.z", "must be from 0.1 to 100"));
    }
    let times = [("spend.times_mean", spend.times_mean), ("spend.times_yesterday", spend.times_yesterday)];
    if let Some((name, _)) = times.into_iter().find(|(_, times)| !(1.0..=1_000_000.0).contains(times)) {
        return Err((name, "must be from 1 to 1000000"));
    }
    if !(0.0..=1_000.0).contains(&spend.same_weekday) {
        return Err(("spend.same_weekday", "must be from 0 to 1000; 0: no weekday excuses another"));
    }
    if spend.min_cost.billionths() == 0 {
        return Err(("spend.min_cost", "must be above 0: US dollars, as a decimal in quotes such as \"50\""));
    }
    Ok(())
}
