//! How long to wait before the next attempt: doubling, with full jitter, so that many senders do not come back at once.

use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(250);

/// The wait after so many failures in a row (1: the first), at most `longest`; not less than `asked`, which the other
/// side may have said, at most an hour. `random` is uniform over all of its values.
pub fn wait(failures: u32, longest: Duration, asked: Option<Duration>, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let most = doubled.min(longest);
    // Half of it for certain: a wait of nothing would be no wait.
    let jittered = most / 2 + most.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0);
    let asked = asked.map_or(Duration::ZERO, |asked| asked.min(Duration::from_secs(3_600)));
    jittered.max(asked)
}

/// A random number; the operating system's.
pub fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_heed_what_was_asked() {
        let longest = Duration::from_secs(60);
        let most = |failures| wait(failures, longest, None, u32::MAX).as_millis();
        assert_eq!([1, 2, 3, 9].map(most), [250, 500, 1_000, 60_000]);
        assert_eq!(most(200), 60_000);
        assert_eq!(wait(1, longest, None, 0).as_millis(), 125);
        assert_eq!(wait(1, longest, Some(Duration::from_secs(90)), 0).as_secs(), 90);
        assert_eq!(wait(1, longest, Some(Duration::from_secs(90_000)), 0).as_secs(), 3_600);
    }
}
