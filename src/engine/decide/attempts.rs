//! Names of charges that may have to be sent again ([`LedgerEntry::attempt`]).

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::domain::{observation::LedgerEntry, stable_hash};

/// A double holds so many bits of a whole number exactly, and one more is left for the store.
const BITS: u32 = 52;

/// Numbers that no two charges of any instances have: they begin at a place that the name of the instance gives, of
/// which there are 2^52.
pub(in crate::engine) struct Attempts(AtomicU64);

impl Attempts {
    /// Numbers of an instance, whose name is new for each start.
    pub(in crate::engine) fn new(instance: &str) -> Self {
        Self(AtomicU64::new(stable_hash(instance.as_bytes())))
    }

    /// Names the charge that an entry belongs to. Where it settles a reservation, and its caller gave the request no
    /// identity, it gets one: what is held must not be given back twice.
    pub(super) fn name(&self, entry: &mut LedgerEntry, settles: bool) {
        if settles {
            entry.claim.get_or_insert_with(|| Uuid::now_v7().as_u128());
        }
        if entry.claim.is_some() {
            entry.attempt = self.next();
        }
    }

    fn next(&self) -> u64 {
        let number = self.0.fetch_add(1, Ordering::Relaxed) & ((1 << BITS) - 1);
        number.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_in_a_double_and_not_zero() {
        let attempts = Attempts(AtomicU64::new((1 << BITS) - 2));
        let numbers = [attempts.next(), attempts.next(), attempts.next(), attempts.next()];
        assert_eq!(numbers, [(1 << BITS) - 2, (1 << BITS) - 1, 1, 1], "0 is left out");
        assert!(numbers.iter().all(|n| (1.0 + *n as f64) as u64 == n + 1));
    }

    #[test]
    fn only_what_can_be_sent_again_gets_a_name() {
        let attempts = Attempts::new("a");
        let named = |claim, settles| {
            let mut entry = LedgerEntry { claim, ..LedgerEntry::default() };
            attempts.name(&mut entry, settles);
            (entry.claim.is_some(), entry.attempt > 0)
        };
        assert_eq!(named(None, false), (false, false));
        assert_eq!(named(Some(7), false), (true, true));
        assert_eq!(named(None, true), (true, true));
    }
}
