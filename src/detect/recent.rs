//! The last requests of a key, as this instance saw them: what a single request cannot show, a run of them does.
//!
//! They are kept in memory beside the profile and never stored: a run is worth minutes.

use std::{cell::Cell, collections::VecDeque};

use super::seasonal_baseline::SeasonalBaseline;
use crate::domain::{Millis, profile::Part, stable_hash};

/// Requests of one key that are remembered: enough for the longest run, and bounded.
pub(super) const CAPACITY: usize = 32;

/// What is remembered of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// When it was judged.
    pub at: Millis,
    /// Standard deviations of the logarithm of its tokens above the usual mean; `None` without tokens, or a known size.
    pub size_z: Option<f64>,
    /// Natural logarithm of its tokens, less the usual mean.
    pub size_shift: f64,
    /// A hash of client and endpoint ([`Context::any_model`](crate::domain::profile::Context)).
    pub context: u32,
    /// Whether its model was new, or had been until a day before.
    pub fresh_model: bool,
    /// Which path it asked for, if that was refused or not there (401, 403, 404, 405).
    pub probe: Option<Probe>,
    /// Prompt tokens, or all tokens where the prompt is not told; 0 for none.
    pub prompt: u64,
    /// The part of the key's traffic that it belongs to.
    pub part: Part,
    /// A hash of its client family.
    pub client: u32,
    /// Whether its status was that of a success.
    pub succeeded: bool,
}

/// A path that was probed, hashed as it was sent: the paths of a scan may have one template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// A hash of the whole path, query included.
    pub path: u32,
    /// A hash of the path without its last segment.
    pub parent: u32,
    /// Whether the key had called an endpoint of this template before.
    pub known: bool,
    /// The number that the path ends with, if it does.
    pub number: Option<u32>,
}

impl Probe {
    /// Hashes a path as it was sent.
    pub fn of(endpoint: &str, known: bool) -> Self {
        let path = endpoint.split(['?', '#']).next().unwrap_or_default();
        let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        let hash = |text: &str| stable_hash(text.as_bytes()) as u32;
        let digits = path.trim_end_matches('/').rsplit(|c: char| !c.is_ascii_digit()).next();
        let number = digits.and_then(|digits| digits.parse().ok());
        Self { path: hash(endpoint), parent: hash(parent), known, number }
    }
}

/// The last requests, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    seen: VecDeque<Seen>,
    /// The seasonal baseline around the present hour, once it was needed: it takes hundreds of hours to work out.
    seasonal: Cell<Option<(i64, Option<SeasonalBaseline>)>>,
}

impl Recent {
    /// Remembers one more request; the oldest leaves where there is no room.
    pub fn push(&mut self, seen: Seen) {
        if self.seen.len() >= CAPACITY {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    /// The last requests since `since`, newest first.
    pub fn since(&self, since: Millis) -> impl Iterator<Item = &Seen> {
        self.seen.iter().rev().take_while(move |seen| seen.at >= since)
    }

    /// The seasonal baseline around `hour`: as it was worked out before in this hour, or worked out now.
    pub fn seasonal(
        &self,
        hour: i64,
        work_out: impl FnOnce() -> Option<SeasonalBaseline>,
    ) -> Option<SeasonalBaseline> {
        match self.seasonal.get() {
            Some((known, seasonal)) if known == hour => seasonal,
            _ => {
                let seasonal = work_out();
                self.seasonal.set(Some((hour, seasonal)));
                seasonal
            }
        }
    }
}
