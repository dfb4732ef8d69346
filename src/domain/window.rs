//! Sliding windows: what is counted, the bucket arithmetic that both stores share, and a window in memory.
//!
//! A window of length W is cut into buckets of W/64. A bucket is counted until its *end* is older than W plus a
//! slack of W/960, so everything inside the true span is always counted (limits never over-admit) and the oldest
//! usage leaves at most W/64 + W/960 = W/60 later than it must. The slack absorbs clock skew between instances.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{DAY, HOUR, MINUTE, Millis};

/// How many windows a subject has.
pub const WINDOW_COUNT: usize = 4;
/// Lengths of the windows in milliseconds, shortest first.
pub const WINDOW_MILLIS: [Millis; WINDOW_COUNT] = [MINUTE, 5 * MINUTE, HOUR, DAY];
/// Names of the windows, in the same order.
pub const WINDOW_NAMES: [&str; WINDOW_COUNT] = ["1min", "5min", "1hour", "24hour"];
/// Index of the 1-minute window.
pub const ONE_MINUTE: usize = 0;
/// Index of the 5-minute window.
pub const FIVE_MINUTES: usize = 1;
/// Index of the 1-hour window.
pub const ONE_HOUR: usize = 2;
/// Index of the window of a day.
pub const ONE_DAY: usize = 3;

/// Length of one bucket of a window, in milliseconds, at least 1.
pub const fn bucket_millis(window: Millis) -> Millis {
    if window < 64 { 1 } else { window / 64 }
}

/// The bucket of a window that a moment falls into.
pub const fn bucket_index(window: Millis, at: Millis) -> i64 {
    at.div_euclid(bucket_millis(window))
}

/// How much later than it must a bucket leaves its window, in milliseconds.
pub const fn slack_millis(window: Millis) -> Millis {
    window / 960
}

/// The moment from which bucket `index` no longer counts.
pub const fn bucket_expires_at(window: Millis, index: i64) -> Millis {
    (index + 1) * bucket_millis(window) + slack_millis(window) + window
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests, each of which counts one.
    Requests,
    /// Tokens of prompt and answer.
    Tokens,
    /// Tokens of the prompt.
    InputTokens,
    /// Tokens of the answer.
    OutputTokens,
    /// US dollars; counted in nano-dollars.
    CostUsd,
}

impl Unit {
    /// The unit's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::CostUsd => "cost_usd",
        }
    }
}

/// What one request adds to, or a window holds of, each thing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// How many requests there were.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Requests answered 401 or 403.
    pub auth_failures: u64,
    /// Requests answered 404 or 405.
    pub not_found: u64,
}

impl Counts {
    /// Adds `other`; what would overflow stays at the most.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.auth_failures = self.auth_failures.saturating_add(other.auth_failures);
        self.not_found = self.not_found.saturating_add(other.not_found);
    }

    /// Takes `other` away, never below zero.
    pub fn subtract(&mut self, other: &Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.auth_failures = self.auth_failures.saturating_sub(other.auth_failures);
        self.not_found = self.not_found.saturating_sub(other.not_found);
    }

    /// The count of one unit; the four windows hold requests and tokens alone.
    pub fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
            Unit::InputTokens | Unit::OutputTokens | Unit::CostUsd => 0,
        }
    }

    /// Whether nothing is counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits of one subject: per window, requests then tokens. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowLimits {
    /// Most requests per window.
    pub requests: [Option<u64>; WINDOW_COUNT],
    /// Most tokens per window.
    pub tokens: [Option<u64>; WINDOW_COUNT],
}

impl WindowLimits {
    /// The limit of one window and unit.
    pub fn of(&self, window: usize, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Requests => self.requests[window],
            Unit::Tokens => self.tokens[window],
            Unit::InputTokens | Unit::OutputTokens | Unit::CostUsd => None,
        }
    }

    /// These limits at `permille` thousandths of themselves, rounded down (a throttled subject).
    pub fn at_share(&self, permille: u16) -> Self {
        let share = |limit: Option<u64>| limit.map(|l| scale(l, permille));
        Self { requests: self.requests.map(share), tokens: self.tokens.map(share) }
    }

    /// Every limit that is set: window index, unit, limit.
    pub fn set(&self) -> impl Iterator<Item = (usize, Unit, u64)> + '_ {
        [Unit::Tokens, Unit::Requests].into_iter().flat_map(move |unit| {
            (0..WINDOW_COUNT).filter_map(move |w| self.of(w, unit).map(|limit| (w, unit, limit)))
        })
    }
}

fn scale(limit: u64, permille: u16) -> u64 {
    (u128::from(limit) * u128::from(permille) / 1000) as u64
}

/// One sliding window held in memory: at most 66 closed buckets, whatever the request rate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlidingWindow {
    open_index: i64,
    open: Counts,
    closed: VecDeque<(i64, Counts)>,
    sum: Counts,
}

impl SlidingWindow {
    /// Moves to `now`: closes the open bucket when its time is over and drops what has left a window of `length`.
    pub fn advance(&mut self, length: Millis, now: Millis) {
        let index = bucket_index(length, now);
        if index > self.open_index {
            if !self.open.is_zero() {
                self.closed.push_back((self.open_index, self.open));
                self.open = Counts::default();
            }
            self.open_index = index;
        }
        while let Some(&(oldest, counts)) = self.closed.front() {
            if bucket_expires_at(length, oldest) > now {
                break;
            }
            self.sum.subtract(&counts);
            self.closed.pop_front();
        }
    }

    /// Counts `counts` into the open bucket.
    pub fn charge(&mut self, counts: &Counts) {
        self.open.add(counts);
        self.sum.add(counts);
    }

    /// Counts what is told later than it was used, into the bucket of its own time, if that still counts at `now`.
    pub fn charge_at(&mut self, length: Millis, at: Millis, counts: &Counts, now: Millis) {
        let index = bucket_index(length, at);
        if index >= self.open_index {
            return self.charge(counts);
        }
        if bucket_expires_at(length, index) <= now {
            return;
        }
        let place = self.closed.partition_point(|(i, _)| *i < index);
        match self.closed.get_mut(place) {
            Some((i, bucket)) if *i == index => bucket.add(counts),
            _ => self.closed.insert(place, (index, *counts)),
        }
        self.sum.add(counts);
    }

    /// Takes back what was charged at `at`, from the bucket it went into, if that is still counted.
    pub fn refund(&mut self, length: Millis, at: Millis, counts: &Counts) {
        let index = bucket_index(length, at);
        if index >= self.open_index {
            self.open.subtract(counts);
        } else if let Some((_, bucket)) = self.closed.iter_mut().find(|(i, _)| *i == index) {
            bucket.subtract(counts);
        } else {
            return;
        }
        self.sum.subtract(counts);
    }

    /// What the window holds now (call [`SlidingWindow::advance`] first).
    pub fn sum(&self) -> Counts {
        self.sum
    }

    /// When the oldest usage still counted leaves a window of `length`; `now` when it is empty.
    pub fn resets_at(&self, length: Millis, now: Millis) -> Millis {
        match self.closed.front() {
            Some(&(oldest, _)) => bucket_expires_at(length, oldest),
            None if self.open.is_zero() => now,
            None => bucket_expires_at(length, self.open_index),
        }
    }

    /// When `amount` more of `unit` will fit under `limit`, if nothing else comes in between.
    /// `None` when it never will.
    pub fn admits_at(&self, length: Millis, unit: Unit, amount: u64, limit: u64) -> Option<Millis> {
        let mut excess = self.sum.of(unit).saturating_add(amount).saturating_sub(limit);
        for (index, counts) in self.closed.iter().copied().chain([(self.open_index, self.open)]) {
            excess = excess.saturating_sub(counts.of(unit));
            if excess == 0 {
                return Some(bucket_expires_at(length, index));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Millis = MINUTE;

    fn tokens(tokens: u64) -> Counts {
        Counts { requests: 1, tokens, ..Counts::default() }
    }

    #[test]
    fn nothing_inside_the_true_span_is_forgotten() {
        let mut window = SlidingWindow::default();
        let start = 1_700_000_000_123;
        window.advance(LENGTH, start);
        window.charge(&tokens(5));
        window.advance(LENGTH, start + LENGTH);
        assert_eq!(window.sum().tokens, 5);
        window.advance(LENGTH, start + LENGTH + LENGTH / 60);
        assert_eq!(window.sum().tokens, 0);
    }

    #[test]
    fn a_window_holds_few_buckets_at_any_rate() {
        let mut window = SlidingWindow::default();
        for tick in 0..100_000 {
            window.advance(LENGTH, 1_700_000_000_000 + tick * 7);
            window.charge(&tokens(1));
        }
        assert!(window.closed.len() <= 66, "{}", window.closed.len());
    }

    #[test]
    fn the_promised_moment_of_admission_is_true() {
        let mut window = SlidingWindow::default();
        let start = 1_700_000_000_000;
        for step in 0..10 {
            window.advance(LENGTH, start + step * 3_000);
            window.charge(&tokens(10));
        }
        let at = window.admits_at(LENGTH, Unit::Tokens, 25, 100).unwrap();
        window.advance(LENGTH, at - 1);
        assert!(window.sum().tokens + 25 > 100);
        window.advance(LENGTH, at);
        assert!(window.sum().tokens + 25 <= 100);
        assert_eq!(window.admits_at(LENGTH, Unit::Tokens, 101, 100), None);
    }

    #[test]
    fn a_refund_comes_out_of_the_bucket_it_went_into() {
        let mut window = SlidingWindow::default();
        let start = 1_700_000_000_000;
        window.advance(LENGTH, start);
        window.charge(&tokens(10));
        window.advance(LENGTH, start + 10_000);
        window.charge(&tokens(3));
        window.refund(LENGTH, start, &tokens(10));
        assert_eq!(window.sum(), tokens(3));
        window.refund(LENGTH, start - 90_000, &tokens(3));
        assert_eq!(window.sum(), tokens(3));
    }

    #[test]
    fn a_share_of_a_limit_is_rounded_down() {
        let limits =
            WindowLimits { tokens: [Some(999), None, Some(u64::MAX), None], ..WindowLimits::default() };
        assert_eq!(limits.at_share(250).tokens, [Some(249), None, Some(u64::MAX / 4), None]);
    }
}
