//! How long to wait before the next attempt: doubling, with jitter, so that many senders do not come back at once.

use std::time::Duration;

/// The wait after the first failure, at most.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The wait after so many failures in a row (1: the first), at most `max_backoff`; not less than `retry_after`, which
/// the receiver may have asked for, of which an hour counts. `random` is uniform over all of its values.
pub(super) fn backoff(
    failures: u32,
    max_backoff: Duration,
    retry_after: Option<Duration>,
    random: u32,
) -> Duration {
    let doubled =
        FIRST_WAIT.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let most = doubled.min(max_backoff);
    // Half of it for certain: a wait of nothing would be no wait.
    let jittered = most / 2 + most.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0);
    jittered.max(retry_after.map_or(Duration::ZERO, |asked| asked.min(MAX_RETRY_AFTER)))
}

/// A random number of the operating system; half of the greatest if it has none.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_grant_what_was_asked() {
        let longest = Duration::from_secs(60);
        let most = |failures| backoff(failures, longest, None, u32::MAX).as_millis();
        assert_eq!([1, 2, 3, 9].map(most), [250, 500, 1_000, 60_000]);
        assert_eq!(most(200), 60_000);
        assert_eq!(backoff(1, longest, None, 0).as_millis(), 125);
        assert_eq!(backoff(1, longest, Some(Duration::from_secs(90)), 0).as_secs(), 90);
        assert_eq!(backoff(1, longest, Some(Duration::from_secs(90_000)), 0).as_secs(), 3_600);
    }
}
