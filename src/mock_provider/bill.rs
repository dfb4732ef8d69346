//! What the mock provider has answered: sums as a provider would bill them, and the last requests as they came.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

/// Requests that are remembered.
const REMEMBERED: usize = 64;

/// Sums over all requests since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that were answered with a success, wholly or in part.
    pub requests: u64,
    /// Requests that were answered with an error.
    pub errors: u64,
    /// Answers whose client left before their end.
    pub cancelled: u64,
    /// Requests that are being answered now.
    pub open: u64,
    /// Tokens of all prompts together.
    pub input_tokens: u64,
    /// Tokens of all answers together.
    pub output_tokens: u64,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and path with its query.
    pub line: String,
    /// Names and values of its headers.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: bytes::Bytes,
}

/// What a mock provider has answered so far.
#[derive(Debug, Default)]
pub struct Bill {
    totals: Mutex<Totals>,
    seen: Mutex<VecDeque<Seen>>,
}

impl Bill {
    /// The sums so far.
    pub fn totals(&self) -> Totals {
        *self.totals.lock()
    }

    /// The last requests, at most 64, the oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().iter().cloned().collect()
    }

    pub(super) fn see(&self, seen: Seen) {
        let mut all = self.seen.lock();
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(seen);
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals.lock());
    }
}
