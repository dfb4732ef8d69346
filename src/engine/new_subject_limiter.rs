//! The cap on new subjects: an attacker who sends a new key with each request cannot grow the store without bound.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::domain::{MINUTE, Millis, subject::Subject};

/// Addresses counted at once; a minute with more of them falls back to the cap over all.
const MAX_ADDRESSES: usize = 100_000;

#[derive(Debug, Default)]
struct Minute {
    index: i64,
    all: u32,
    by_address: HashMap<Subject, u32>,
}

/// Counts new subjects per minute, over all and per source address.
#[derive(Debug, Clone)]
pub(super) struct NewSubjectLimiter {
    minute: Arc<Mutex<Minute>>,
    most: u32,
    most_per_address: u32,
}

impl NewSubjectLimiter {
    /// A limiter of so many new subjects a minute, in all and from one address.
    pub(super) fn new(most: u32, most_per_address: u32) -> Self {
        Self { minute: Arc::default(), most, most_per_address }
    }

    /// Takes a place for a new subject from `address`, if there is one left. Taken before the store is asked, so that
    /// many at once cannot pass together; to be given back if nothing was created.
    pub(super) fn take(&self, address: &Subject, now: Millis) -> bool {
        let mut minute = self.minute.lock();
        let index = now.div_euclid(MINUTE);
        if minute.index != index {
            *minute = Minute { index, ..Minute::default() };
        }
        let of_address = minute.by_address.get(address).copied().unwrap_or(0);
        if minute.all >= self.most || of_address >= self.most_per_address {
            return false;
        }
        minute.all += 1;
        if of_address > 0 || minute.by_address.len() < MAX_ADDRESSES {
            minute.by_address.insert(address.clone(), of_address + 1);
        }
        true
    }

    /// Gives a place back that was taken at `now`: the subject was known already, or was not created.
    pub(super) fn give_back(&self, address: &Subject, now: Millis) {
        let mut minute = self.minute.lock();
        if minute.index != now.div_euclid(MINUTE) {
            return;
        }
        minute.all = minute.all.saturating_sub(1);
        if let Some(taken) = minute.by_address.get_mut(address) {
            *taken = taken.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_subjects_are_capped_per_address_and_over_all_for_a_minute() {
        let limiter = NewSubjectLimiter::new(3, 2);
        let (a, b) = (Subject::parse("ip:203.0.113.1").unwrap(), Subject::parse("ip:203.0.113.2").unwrap());
        assert!(limiter.take(&a, 0) && limiter.take(&a, 0) && !limiter.take(&a, 1));
        assert!(limiter.take(&b, 1) && !limiter.take(&b, 2));
        limiter.give_back(&a, 3);
        assert!(limiter.take(&b, 3), "one over all was given back");
        assert!(limiter.take(&a, MINUTE));
        limiter.give_back(&b, 3);
        assert!(limiter.take(&a, MINUTE) && !limiter.take(&a, MINUTE), "a former minute is over");
    }
}
