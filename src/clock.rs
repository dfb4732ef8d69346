//! The only place that reads the clock, and that waits for it. Everything else is given the time.
//!
//! [`wall`] and [`Clock`] say what time it is; [`instant`] measures how long something takes; [`sleep`], [`timeout`]
//! and [`ticks`] wait. All waiting is on the executor's clock, which a test can pause and move on.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
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

/// A clock may differ by less than this, ms, from what was known of it: that is drift, and is followed at once. More is
/// a jump.
const DRIFT: Millis = 5_000;
/// A jump is followed once it has lasted for this long: what is over before was a glitch.
const CONFIRMED: Duration = Duration::from_secs(60);
/// And once it was read this often.
const READINGS: u32 = 5;
/// Time stands still for less than this, ms, where the clock that is followed is behind by drift.
const STANDSTILL: Millis = 60_000;

/// Time that runs with the monotonic clock: the wall clock read once, corrected by the offset to the clock that is
/// followed (the store's, else the machine's own). A jump of that clock is held: nothing is decided by it unless it
/// lasts. Time stands still rather than run backwards, but where a jump back has lasted.
#[derive(Debug)]
pub struct Clock {
    started_wall: Millis,
    started: Instant,
    offset: AtomicI64,
    latest: AtomicI64,
    held: Mutex<Held>,
}

/// What is known of the clock that is followed.
#[derive(Debug, Default)]
struct Held {
    /// Whether it was ever read.
    read: bool,
    jump: Option<Jump>,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    by: Millis,
    since: Instant,
    readings: u32,
}

/// What a reading of the clock that is followed has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It goes as it did, or the jump that is held goes on.
    Steady,
    /// It has jumped by so many ms, and is not followed.
    Jumped(Millis),
    /// The jump by so many ms is over; nothing was decided by it.
    Returned(Millis),
    /// The jump by so many ms has lasted and is followed from now on.
    Followed(Millis),
}

impl Default for Clock {
    fn default() -> Self {
        Self::beginning_at(wall())
    }
}

impl Clock {
    fn beginning_at(started_wall: Millis) -> Self {
        Self {
            started_wall,
            started: instant(),
            offset: AtomicI64::new(0),
            latest: AtomicI64::new(0),
            held: Mutex::default(),
        }
    }

    fn uncorrected(&self) -> Millis {
        self.started_wall + Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX / 2)
    }

    /// The time, in milliseconds since the Unix epoch; less than it was only where a jump back is followed.
    pub fn now(&self) -> Millis {
        let now = self.uncorrected() + self.offset.load(Ordering::Relaxed);
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        if latest - now < STANDSTILL {
            return latest;
        }
        // One who was still going by the former offset wrote it after a jump back was followed.
        self.latest.store(now, Ordering::Relaxed);
        now
    }

    /// The jump of the clock that is not followed, ms; `None` while there is none.
    pub fn held_jump(&self) -> Option<Millis> {
        self.held.lock().jump.map(|jump| jump.by)
    }

    /// Takes over the time of the store, read within `round_trip`, if it is not out of what it was.
    pub fn follow(&self, store_time: Millis, round_trip: Duration) -> Reading {
        let half = Millis::try_from(round_trip.as_millis()).unwrap_or(0) / 2;
        self.follow_offset(store_time + half - self.uncorrected())
    }

    /// Without a shared clock: takes over this machine's, which a suspend or a person moves.
    pub fn follow_wall(&self) -> Reading {
        self.follow(wall(), Duration::ZERO)
    }

    fn follow_offset(&self, offset: Millis) -> Reading {
        let by = offset - self.offset.load(Ordering::Relaxed);
        let mut held = self.held.lock();
        // Nothing was decided yet: the earlier of two clocks that differ ends no ban too early.
        let first = !std::mem::replace(&mut held.read, true) && by < 0;
        if by.abs() < DRIFT || first {
            self.offset.store(offset, Ordering::Relaxed);
            if by.abs() >= DRIFT {
                self.latest.store(0, Ordering::Relaxed);
                return Reading::Followed(by);
            }
            return held.jump.take().map_or(Reading::Steady, |jump| Reading::Returned(jump.by));
        }
        match &mut held.jump {
            Some(jump) if (jump.by - by).abs() < DRIFT => {
                jump.readings += 1;
                if jump.readings < READINGS || jump.since.elapsed() < CONFIRMED {
                    return Reading::Steady;
                }
                held.jump = None;
                self.offset.store(offset, Ordering::Relaxed);
                self.latest.store(0, Ordering::Relaxed);
                Reading::Followed(by)
            }
            jump => {
                *jump = Some(Jump { by, since: instant(), readings: 1 });
                Reading::Jumped(by)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TWO_HOURS: Millis = 7_200_000;
    const START: Millis = 1_760_000_000_000;

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

    /// Reads a clock that is ahead by so much every two seconds, so often; says what was not steady.
    async fn read(clock: &Clock, ahead: Millis, times: u32) -> Vec<Reading> {
        let mut seen = Vec::new();
        for _ in 0..times {
            seen.push(clock.follow(START + ahead + ms(clock.started.elapsed()), Duration::ZERO));
            sleep(2 * SECOND).await;
        }
        seen.retain(|reading| *reading != Reading::Steady);
        seen
    }

    fn ms(time: Duration) -> Millis {
        Millis::try_from(time.as_millis()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn drift_is_followed_at_once_and_time_stands_still_rather_than_run_back() {
        let clock = Clock::beginning_at(START);
        let before = clock.now();
        assert_eq!(clock.follow(before + 4_000, Duration::ZERO), Reading::Steady);
        assert_eq!(clock.now(), before + 4_000);
        assert_eq!(clock.follow(before, Duration::ZERO), Reading::Steady);
        assert_eq!(clock.now(), before + 4_000);
        sleep(5 * SECOND).await;
        assert_eq!(clock.now(), before + 5_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_twelve_seconds_is_reported_and_never_followed() {
        for jump in [TWO_HOURS, -TWO_HOURS] {
            let clock = Clock::beginning_at(START);
            assert_eq!(read(&clock, 0, 3).await, []);
            assert_eq!(read(&clock, jump, 6).await, [Reading::Jumped(jump)]);
            assert_eq!((clock.held_jump(), clock.now()), (Some(jump), START + 18_000));
            assert_eq!(read(&clock, 0, 3).await, [Reading::Returned(jump)]);
            assert_eq!((clock.held_jump(), clock.now()), (None, START + 24_000));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_that_lasts_a_minute_is_followed_and_so_is_the_way_back() {
        let clock = Clock::beginning_at(START);
        assert_eq!(read(&clock, 0, 1).await, []);
        let seen = read(&clock, TWO_HOURS, 32).await;
        assert_eq!(seen, [Reading::Jumped(TWO_HOURS), Reading::Followed(TWO_HOURS)]);
        assert_eq!(clock.now(), START + 66_000 + TWO_HOURS);
        let seen = read(&clock, 0, 32).await;
        assert_eq!(seen, [Reading::Jumped(-TWO_HOURS), Reading::Followed(-TWO_HOURS)]);
        assert_eq!(
            clock.now(),
            START + 130_000,
            "time is what it is, and does not stand still for two hours"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_the_clock_while_a_jump_back_is_followed_does_not_stop_it_for_the_others() {
        let clock = Clock::beginning_at(START);
        assert_eq!(read(&clock, 0, 1).await, []);
        assert_eq!(read(&clock, -TWO_HOURS, 32).await.last(), Some(&Reading::Followed(-TWO_HOURS)));
        // The former offset was read before, and is made use of only now.
        clock.latest.fetch_max(START + ms(clock.started.elapsed()), Ordering::Relaxed);
        let before = clock.now();
        assert_eq!(before, START + 66_000 - TWO_HOURS);
        sleep(SECOND).await;
        assert_eq!(clock.now(), before + 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_clocks_that_differ_at_the_start_the_earlier_is_followed() {
        let behind = Clock::beginning_at(START);
        assert_eq!(read(&behind, -TWO_HOURS, 2).await, [Reading::Followed(-TWO_HOURS)]);
        assert_eq!(behind.now(), START + 4_000 - TWO_HOURS);
        let ahead = Clock::beginning_at(START);
        assert_eq!(read(&ahead, TWO_HOURS, 2).await, [Reading::Jumped(TWO_HOURS)]);
        assert_eq!(ahead.now(), START + 4_000);
    }
}
