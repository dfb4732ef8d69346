//! The only place that reads the clock. Everything else is told the time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::domain::Millis;

/// The machine's wall clock, in milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| Millis::try_from(d.as_millis()).unwrap_or(Millis::MAX))
}

/// Time that never runs backwards: the wall clock read once, carried on by the monotonic clock, corrected by the
/// offset to the store's clock. A wall clock that jumps back therefore neither un-bans nor re-opens a window.
#[derive(Debug)]
pub struct Clock {
    started_wall: Millis,
    started: Instant,
    offset: AtomicI64,
    latest: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            started_wall: wall(),
            started: Instant::now(),
            offset: AtomicI64::new(0),
            latest: AtomicI64::new(0),
        }
    }
}

impl Clock {
    fn uncorrected(&self) -> Millis {
        self.started_wall + Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX / 2)
    }

    /// Now.
    pub fn now(&self) -> Millis {
        let now = self.uncorrected() + self.offset.load(Ordering::Relaxed);
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Takes over the time of the store, read within `round_trip`. Corrections forward count at once; backwards, time
    /// stands still until the true time has caught up.
    pub fn follow(&self, store_time: Millis, round_trip: std::time::Duration) {
        let half = Millis::try_from(round_trip.as_millis()).unwrap_or(0) / 2;
        let offset = store_time + half - self.uncorrected();
        let before = self.offset.swap(offset, Ordering::Relaxed);
        if (offset - before).abs() > 1_000 {
            tracing::warn!(
                offset_ms = offset,
                "this machine's clock differs from the store's; following the store's"
            );
        }
    }

    /// Without a shared clock: goes forward to the wall clock after a suspend, never back.
    pub fn catch_up(&self) {
        let behind = wall() - (self.uncorrected() + self.offset.load(Ordering::Relaxed));
        if behind > 1_000 {
            self.offset.fetch_add(behind, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_never_runs_backwards_when_the_store_is_behind() {
        let clock = Clock::default();
        let before = clock.now();
        clock.follow(before - 60_000, Duration::ZERO);
        assert!(clock.now() >= before);
        clock.follow(before + 60_000, Duration::from_millis(10));
        assert!(clock.now() >= before + 60_000);
    }
}
