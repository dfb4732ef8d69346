//! The only place that reads the clock, and that waits for it. Everything else is given the time.
//!
//! [`wall`] and [`Clock`] say what time it is; [`instant`] measures how long something takes; [`sleep`], [`timeout`]
//! and [`ticks`] wait. All waiting is on the executor's clock, which a test can pause and move on.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use tokio::time::Instant;
use tokio::time::{Interval, MissedTickBehavior, Sleep, Timeout};

use crate::domain::Millis;

/// The machine's wall clock, in milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| Millis::try_from(d.as_millis()).unwrap_or(Millis::MAX))
}

/// A moment of the monotonic clock: for how long something takes, and until when it may. It has nothing to do with
/// dates.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Waits for a time. Needs an executor, as do all that wait.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn sleep(time: Duration) -> Sleep {
    tokio::time::sleep(time)
}

/// Waits until a moment; not at all when it is past.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn sleep_until(moment: Instant) -> Sleep {
    tokio::time::sleep_until(moment)
}

/// Waits for `work`, and no longer than a time: then it is dropped, and the answer is an error.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn timeout<F: IntoFuture>(time: Duration, work: F) -> Timeout<F::IntoFuture> {
    tokio::time::timeout(time, work)
}

/// Waits for `work` until a moment: then it is dropped, and the answer is an error.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn timeout_at<F: IntoFuture>(moment: Instant, work: F) -> Timeout<F::IntoFuture> {
    tokio::time::timeout_at(moment, work)
}

/// Ticks at once, and then whenever `every` has passed since the last tick: what takes long delays the next tick, and
/// is followed by no burst. `every` must be longer than zero.
pub fn ticks(every: Duration) -> Interval {
    ticks_after(Duration::ZERO, every)
}

/// As [`ticks`], with the first tick after `first`.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn ticks_after(first: Duration, every: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(instant() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
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
            started: instant(),
            offset: AtomicI64::new(0),
            latest: AtomicI64::new(0),
        }
    }
}

impl Clock {
    fn uncorrected(&self) -> Millis {
        self.started_wall + Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX / 2)
    }

    /// The time, in milliseconds since the Unix epoch; never less than it was.
    pub fn now(&self) -> Millis {
        let now = self.uncorrected() + self.offset.load(Ordering::Relaxed);
        self.latest.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Takes over the time of the store, read within `round_trip`. Corrections forward count at once; backwards, time
    /// stands still until the true time has caught up.
    pub fn follow(&self, store_time: Millis, round_trip: Duration) {
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_late_tick_delays_the_next_and_is_followed_by_no_burst() {
        let (began, second) = (instant(), Duration::from_secs(1));
        let mut ticks = ticks_after(second, second);
        ticks.tick().await;
        sleep(second * 5 / 2).await;
        ticks.tick().await;
        assert_eq!(began.elapsed(), second * 7 / 2);
        ticks.tick().await;
        assert_eq!(began.elapsed(), second * 9 / 2);
    }

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
