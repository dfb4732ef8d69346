//! The last requests of a key as this instance saw them: what a single request cannot show, a run of them does.
//! Kept in memory beside the profile, never stored: it is worth minutes.

use std::collections::VecDeque;

use crate::domain::Millis;

/// Requests remembered.
pub const CAPACITY: usize = 32;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// When.
    pub at: Millis,
    /// Standard deviations of its size above the mean, in log space; `None` when sizes say nothing.
    pub size_z: Option<f64>,
    /// Natural logarithm of its tokens, less the profile's mean.
    pub size_shift: f64,
    /// Whether its model was new, or had been until a day before.
    pub fresh_model: bool,
    /// Whether its endpoint was new and it was refused (401, 403, 404, 405).
    pub probing: bool,
}

/// The last requests, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Recent(VecDeque<Seen>);

impl Recent {
    /// Remembers one more.
    pub fn push(&mut self, seen: Seen) {
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(seen);
    }

    /// The last requests since `since`, newest first.
    pub fn since(&self, since: Millis) -> impl Iterator<Item = &Seen> {
        self.0.iter().rev().take_while(move |seen| seen.at >= since)
    }
}
