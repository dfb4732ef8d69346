//! What was done about one key or address over a whole replay.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::SubjectRow;
use crate::domain::{
    Millis,
    decision::{Action, Would},
    subject::Subject,
};

/// What was done about one key or address, or would have been.
#[derive(Debug, Default)]
pub(super) struct Done {
    requests: u64,
    pub(super) refused: u64,
    pub(super) throttled: u64,
    pub(super) bans: u64,
    first_ban: Option<Millis>,
    /// Requests refused, by the reason.
    reasons: BTreeMap<&'static str, u64>,
    /// Which findings banned it.
    detectors: BTreeSet<&'static str>,
}

impl Done {
    /// Whether there is anything to show of it.
    pub(super) fn is_anything(&self) -> bool {
        self.bans > 0 || self.refused > 0 || self.throttled > 0
    }

    /// Counts what was ruled about one request.
    pub(super) fn count(&mut self, ruling: &Would) {
        self.requests += 1;
        if !ruling.allowed {
            self.refused += 1;
            *self.reasons.entry(reason_of(ruling)).or_default() += 1;
        } else if ruling.action == Action::Throttle {
            self.throttled += 1;
        }
    }

    /// Counts a ban that began, and the detectors that found what it is for.
    pub(super) fn count_ban(&mut self, now: Millis, detectors: impl Iterator<Item = &'static str>) {
        self.bans += 1;
        self.first_ban.get_or_insert(now);
        self.detectors.extend(detectors);
    }

    /// Its row in the table of subjects.
    pub(super) fn row(&self, subject: &Subject) -> SubjectRow {
        SubjectRow {
            subject: subject.to_string(),
            requests: self.requests,
            refused: self.refused,
            throttled: self.throttled,
            bans: self.bans,
            first_ban: self.first_ban,
            detectors: self.detectors.iter().copied().collect(),
            reasons: self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect(),
        }
    }
}

/// The reason of a refusal, as it is on the wire.
pub(super) fn reason_of(ruling: &Would) -> &'static str {
    ruling.reason.map_or("UNKNOWN", |reason| reason.name())
}
