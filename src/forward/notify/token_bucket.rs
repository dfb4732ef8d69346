//! How many messages a channel gets: some at once, and so many a minute.

use serde::{Deserialize, Serialize};

use crate::domain::Millis;

/// How many parts one message takes. A bucket that gets `n` messages a minute gets `n` of these parts each millisecond.
const MESSAGE: u64 = 60_000;

/// A token bucket that counts in whole numbers, so that it is the same after it was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenBucket {
    /// What was taken and has not come back yet.
    missing: u64,
    at: Millis,
}

impl TokenBucket {
    /// Lets come back what is due by now.
    pub(super) fn refill(&mut self, per_minute: u32, now: Millis) {
        let gone = u64::try_from(now - self.at).unwrap_or(0);
        self.missing = self.missing.saturating_sub(gone.saturating_mul(per_minute.into()));
        self.at = self.at.max(now);
    }

    /// Whether there is enough for a message.
    pub(super) fn has_one(&self, burst: u32) -> bool {
        self.missing + MESSAGE <= u64::from(burst) * MESSAGE
    }

    /// Takes what a message takes.
    pub(super) fn take_one(&mut self) {
        self.missing = self.missing.saturating_add(MESSAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_what_comes_back() {
        let mut bucket = TokenBucket::default();
        bucket.refill(6, 1_000_000);
        for _ in 0..3 {
            assert!(bucket.has_one(3));
            bucket.take_one();
        }
        assert!(!bucket.has_one(3));
        bucket.refill(6, 1_009_999);
        assert!(!bucket.has_one(3));
        bucket.refill(6, 1_000_000);
        bucket.refill(6, 1_010_000);
        assert!(bucket.has_one(3), "six a minute: one in ten seconds");
    }
}
