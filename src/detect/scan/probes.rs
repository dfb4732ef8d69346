//! The refused paths among the last requests, and which of them were look-ups.

use smallvec::SmallVec;

use crate::{
    detect::{Case, Probe, Seen},
    domain::MINUTE,
};

/// A probe that is followed within this time by a success of the same client was a look-up.
const FOLLOWED_WITHIN: i64 = MINUTE;
/// The share of the probes that must be below one path for any of them to be look-ups.
const BELOW_ONE_PATH: f64 = 0.75;
/// How far back probes count, beside the number of requests that are remembered.
const SPAN: i64 = 10 * MINUTE;

/// The probes among the last requests.
pub(super) struct Probes {
    /// All of the last requests, the present one included.
    pub(super) all: u32,
    /// Those of them that succeeded.
    pub(super) succeeded: u32,
    /// Those that probed, the present one included.
    pub(super) probing: SmallVec<[Probe; 32]>,
    /// Those of them that a success of the same client followed.
    pub(super) followed: SmallVec<[Probe; 32]>,
}

impl Probes {
    /// Those of the last requests that `counts` says, and the present one.
    pub(super) fn of(case: &Case<'_>, this: Probe, counts: impl Fn(&Probe) -> bool) -> Self {
        let mut probes = Self { all: 1, succeeded: 0, probing: SmallVec::new(), followed: SmallVec::new() };
        probes.probing.push(this);
        // From the newest on: what comes later was seen before.
        let mut successes: SmallVec<[&Seen; 32]> = SmallVec::new();
        for seen in case.recent.since(case.now() - SPAN) {
            probes.all += 1;
            if seen.succeeded {
                probes.succeeded += 1;
                successes.push(seen);
            }
            let Some(probe) = seen.probe.filter(&counts) else { continue };
            probes.probing.push(probe);
            let follows =
                |later: &&Seen| later.client == seen.client && later.at - seen.at <= FOLLOWED_WITHIN;
            if successes.iter().any(follows) {
                probes.followed.push(probe);
            }
        }
        probes
    }

    /// To how many different paths they went.
    pub(super) fn different(&self) -> u32 {
        let mut paths: SmallVec<[u32; 32]> = self.probing.iter().map(|probe| probe.path).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.len() as u32
    }

    /// How many of them were look-ups, which expect to miss: below the one path of most, and followed by a success.
    pub(super) fn looked_up(&self) -> u32 {
        let below = |parent: u32| self.probing.iter().filter(|probe| probe.parent == parent).count();
        let parent = self.probing.iter().map(|probe| probe.parent).max_by_key(|parent| below(*parent));
        let Some(parent) = parent.filter(|p| below(*p) as f64 >= BELOW_ONE_PATH * self.probing.len() as f64)
        else {
            return 0;
        };
        self.followed.iter().filter(|probe| probe.parent == parent).count() as u32
    }
}
