//! How long is waited between two attempts.

use std::time::Duration;

use super::attempt::Fault;

/// The pause before the second attempt at most; twice as long before each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(400);

/// How long is waited before the next attempt: not at all before another upstream, else as long as the provider asks
/// for, else a random time that grows.
pub(super) fn pause(fault: &Fault, attempt: usize, is_same: bool) -> Duration {
    if !is_same {
        return Duration::ZERO;
    }
    let longest = FIRST_PAUSE * (1 << attempt.saturating_sub(1).min(6));
    fault.wait.unwrap_or_else(|| longest.mul_f64(jitter()))
}

/// A random share from a half to 1.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    let _ = getrandom::fill(&mut byte);
    0.5 + f64::from(byte[0]) / 510.0
}
