//! When a key's provider fails, as its answers tell: no label says so, and recorded traffic has none.

use std::collections::VecDeque;

use crate::domain::{MINUTE, Millis};

/// How far back answers are looked at.
const SPAN: Millis = 10 * MINUTE;
/// Failures in it from which it is an outage, and their least share.
const LEAST: usize = 3;
const SHARE: f64 = 0.25;

/// A key's last answers.
#[derive(Debug, Default)]
pub(super) struct Outages {
    answers: VecDeque<(Millis, bool)>,
}

impl Outages {
    /// Takes in the next answer; whether the provider fails at the moment.
    pub(super) fn fails(&mut self, time: Millis, status: u16) -> bool {
        self.answers.push_back((time, status >= 500));
        while self.answers.front().is_some_and(|(then, _)| *then <= time - SPAN) {
            self.answers.pop_front();
        }
        let failed = self.answers.iter().filter(|(_, failed)| *failed).count();
        failed >= LEAST && failed as f64 >= SHARE * self.answers.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_with_its_failures_and_ends_after_them() {
        let mut outages = Outages::default();
        let mut fails = |minute: Millis, status| outages.fails(minute * MINUTE, status);
        assert!(![200, 503, 200, 502].into_iter().zip(0..).any(|(status, minute)| fails(minute, status)));
        assert!(fails(4, 500) && fails(5, 200) && fails(10, 200));
        assert!(!fails(16, 200) && !fails(40, 503));
    }

    #[test]
    fn refused_credentials_and_limits_are_no_outage() {
        let mut outages = Outages::default();
        assert!(
            !(0..20).any(|minute| outages.fails(minute * MINUTE, if minute % 2 == 0 { 401 } else { 429 }))
        );
    }
}
