//! Roll-ups: the minutes, hours and days that usage is summed over, how long each is kept, and what is added to them.

use std::{collections::BTreeMap, sync::Arc};

use super::{Measured, Side, UsageKey};
use crate::domain::{DAY, HOUR, MINUTE, Millis};

/// A span over which usage is summed, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// A full minute of UTC.
    Minute,
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Bucket {
    /// Every bucket, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How long it is.
    pub fn millis(self) -> Millis {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The start of the one that a moment is in.
    pub fn start(self, at: Millis) -> Millis {
        at.div_euclid(self.millis()).saturating_mul(self.millis())
    }

    /// The name of it in questions and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// How finely a roll-up tells series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// By project, model and key.
    Series,
    /// By project alone: few, so that sums and forecasts over weeks are read quickly.
    Projects,
    /// By project, model, key, endpoint and user: many, and read only where endpoint or user are asked for.
    Endpoints,
}

impl Detail {
    /// Every kind of roll-up.
    pub const ALL: [Self; 3] = [Self::Series, Self::Projects, Self::Endpoints];

    fn of(self, key: &UsageKey) -> UsageKey {
        match self {
            Self::Endpoints => key.clone(),
            Self::Series => UsageKey { endpoint: None, user: None, ..key.clone() },
            Self::Projects => {
                let all = UsageKey { project: key.project.clone(), ..UsageKey::default() };
                match key.clone().side().0 {
                    Side::Records => all,
                    Side::Estimates => all.of_estimates(),
                    Side::TakenBack => all.of_estimates_taken_back(),
                }
            }
        }
    }
}

/// One roll-up: what a store keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// How long it is.
    pub bucket: Bucket,
    /// How finely it tells apart.
    pub detail: Detail,
    /// When its bucket starts, in milliseconds.
    pub start: Millis,
}

/// How long roll-ups are kept after they end, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how many days minutes are kept.
    pub minute_days: u32,
    /// For how many days hours are kept.
    pub hour_days: u32,
    /// For how many days days are kept.
    pub day_days: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { minute_days: 2, hour_days: 35, day_days: 400 }
    }
}

impl Keep {
    fn millis(self, bucket: Bucket) -> Millis {
        let days = match bucket {
            Bucket::Minute => self.minute_days,
            Bucket::Hour => self.hour_days,
            Bucket::Day => self.day_days,
        };
        Millis::from(days) * DAY
    }

    /// The first start of a bucket that is still kept at `now`.
    pub fn first(self, bucket: Bucket, now: Millis) -> Millis {
        bucket.start(now.saturating_sub(self.millis(bucket)))
    }

    /// How long after `now` a roll-up is still kept, in milliseconds; 0: it is gone.
    pub fn left(self, bucket: Bucket, start: Millis, now: Millis) -> Millis {
        let gone = start.saturating_add(bucket.millis()).saturating_add(self.millis(bucket));
        gone.saturating_sub(now).max(0)
    }
}

/// What a series used in a minute, to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDelta {
    /// The start of the minute.
    pub minute: Millis,
    /// The series that it belongs to.
    pub key: UsageKey,
    /// How much is added to it.
    pub measured: Measured,
}

/// Deltas that are added once, however often they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// Who sends: new for each start of an instance.
    pub instance: Arc<str>,
    /// Larger than that of any batch this instance sent before. The next is sent when this one is acknowledged.
    pub seq: u64,
    /// When it is sent: decides what is too old to be kept.
    pub now: Millis,
    /// What is added to which series.
    pub deltas: Vec<UsageDelta>,
}

impl UsageBatch {
    /// What to add to which roll-up; to those that are gone already, nothing.
    pub fn cells(&self, keep: Keep) -> BTreeMap<Cell, BTreeMap<UsageKey, Measured>> {
        let mut cells: BTreeMap<Cell, BTreeMap<UsageKey, Measured>> = BTreeMap::new();
        for delta in &self.deltas {
            for bucket in Bucket::ALL {
                let start = bucket.start(delta.minute);
                if keep.left(bucket, start, self.now) == 0 {
                    continue;
                }
                for detail in Detail::ALL {
                    let cell = cells.entry(Cell { bucket, detail, start }).or_default();
                    cell.entry(detail.of(&delta.key)).or_default().merge(&delta.measured);
                }
            }
        }
        cells
    }
}
