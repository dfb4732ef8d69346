//! The last requests of a key as this instance saw them: what a single request cannot show, a run of them does.
//! Kept in memory beside the profile, never stored: it is worth minutes.

use std::{cell::Cell, collections::VecDeque};

use super::seasonal_baseline::SeasonalBaseline;
use crate::domain::{Millis, stable_hash};

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
    /// Client and endpoint, hashed ([`Context::any_model`](crate::domain::profile::Context)).
    pub context: u32,
    /// Whether its model was new, or had been until a day before.
    pub fresh_model: bool,
    /// Where it probed, if its endpoint was new and it was refused (403, 404, 405).
    pub probe: Option<Probe>,
    /// Its client, hashed.
    pub client: u32,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// A path that was probed, hashed as it was sent: a template would take the paths of a scan for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The whole path, query included.
    pub path: u32,
    /// The path without its last segment.
    pub parent: u32,
}

impl Probe {
    /// The probe of a path.
    pub fn of(endpoint: &str) -> Self {
        let path = endpoint.split(['?', '#']).next().unwrap_or_default();
        let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        Self { path: stable_hash(endpoint.as_bytes()) as u32, parent: stable_hash(parent.as_bytes()) as u32 }
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
    /// Remembers one more.
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
