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
pub struct Newcomers {
    minute: Arc<Mutex<Minute>>,
    most: u32,
    most_per_address: u32,
}

impl Newcomers {
    /// Caps per minute.
    pub fn new(most: u32, most_per_address: u32) -> Self {
        Self { minute: Arc::default(), most, most_per_address }
    }

    /// Whether another new subject from `address` may be created.
    pub fn may_come(&self, address: &Subject, now: Millis) -> bool {
        let minute = self.minute.lock();
        if minute.index != now.div_euclid(MINUTE) {
            return true;
        }
        minute.all < self.most && minute.by_address.get(address).is_none_or(|n| *n < self.most_per_address)
    }

    /// Notes that a new subject from `address` was created.
    pub fn came(&self, address: &Subject, now: Millis) {
        let mut minute = self.minute.lock();
        let index = now.div_euclid(MINUTE);
        if minute.index != index {
            *minute = Minute { index, ..Minute::default() };
        }
        minute.all += 1;
        if minute.by_address.len() < MAX_ADDRESSES || minute.by_address.contains_key(address) {
            *minute.by_address.entry(address.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_are_capped_per_address_and_over_all_for_a_minute() {
        let newcomers = Newcomers::new(3, 2);
        let (a, b) = (Subject::parse("ip:203.0.113.1").unwrap(), Subject::parse("ip:203.0.113.2").unwrap());
        newcomers.came(&a, 0);
        newcomers.came(&a, 0);
        assert!(!newcomers.may_come(&a, 1) && newcomers.may_come(&b, 1));
        newcomers.came(&b, 1);
        assert!(!newcomers.may_come(&b, 2));
        assert!(newcomers.may_come(&a, MINUTE));
    }
}
