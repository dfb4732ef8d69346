//! What is asked of roll-ups, and the table that answers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Side, Totals, UsageKey,
    rollup::{Bucket, Cell, Detail, Keep},
};
use crate::domain::Millis;

/// By what rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Whether rows are told apart by project.
    pub project: bool,
    /// Whether rows are told apart by model.
    pub model: bool,
    /// Whether rows are told apart by key.
    pub key: bool,
}

/// Which usage is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// The span of a row.
    pub bucket: Bucket,
    /// The start of the first bucket.
    pub from: Millis,
    /// Buckets that start before this, in milliseconds.
    pub to: Millis,
    /// When it is asked: decides what is gone.
    pub now: Millis,
    /// By what rows are told apart.
    pub group: Grouping,
    /// Only this project, model and key, as far as they are named.
    pub only: UsageKey,
    /// The most rows that are put together.
    pub max_rows: usize,
    /// Most series that are looked at.
    pub max_scanned: usize,
}

impl UsageQuery {
    /// The coarsest roll-up that can answer it.
    pub fn detail(&self) -> Detail {
        let by_project = !self.group.model && !self.group.key;
        let of_project = self.only.model.is_none() && self.only.key.is_none();
        if by_project && of_project { Detail::Projects } else { Detail::Series }
    }

    /// The roll-ups that it asks for and that are still kept, oldest first.
    pub fn cells(&self, keep: Keep) -> impl Iterator<Item = Cell> + use<> {
        let (bucket, detail) = (self.bucket, self.detail());
        let first = bucket.start(self.from).max(keep.first(bucket, self.now));
        // Nothing is counted in buckets to come.
        let end = self.to.min(bucket.start(self.now).saturating_add(bucket.millis()));
        let step = usize::try_from(bucket.millis()).unwrap_or(1);
        (first..end.max(first)).step_by(step).map(move |start| Cell { bucket, detail, start })
    }
}

/// The answer to a [`UsageQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTable {
    /// Rows by start and group.
    pub rows: BTreeMap<(Millis, UsageKey), Totals>,
    /// The sum of all rows.
    pub total: Totals,
    /// What of the rows is estimates of requests that nobody reported.
    pub estimated: BTreeMap<(Millis, UsageKey), Totals>,
    /// Estimates that were corrected, until [`UsageTable::settled`] takes them away.
    taken_back: BTreeMap<(Millis, UsageKey), Totals>,
    /// How many series were looked at.
    pub scanned: usize,
    /// What began before this is no longer kept.
    pub kept_from: Millis,
    /// There would be more rows, or more to look at, than was allowed: it is not whole.
    pub overflowed: bool,
}

impl UsageTable {
    /// A table without rows.
    pub fn new(query: &UsageQuery, keep: Keep) -> Self {
        Self { kept_from: keep.first(query.bucket, query.now), ..Self::default() }
    }

    /// Takes in what a roll-up holds of one series.
    pub fn add(&mut self, query: &UsageQuery, start: Millis, key: UsageKey, totals: &Totals) {
        let (side, key) = key.side();
        self.scanned += 1;
        self.overflowed |= self.scanned > query.max_scanned;
        let asked = |only: &Option<Arc<str>>, has: &Option<Arc<str>>| only.is_none() || only == has;
        let wanted = asked(&query.only.project, &key.project)
            && asked(&query.only.model, &key.model)
            && asked(&query.only.key, &key.key);
        if !wanted || self.overflowed {
            return;
        }
        let UsageKey { project, model, key } = key;
        let group = UsageKey {
            project: project.filter(|_| query.group.project),
            model: model.filter(|_| query.group.model),
            key: key.filter(|_| query.group.key),
        };
        let place = (start, group);
        match side {
            Side::TakenBack => return self.taken_back.entry(place).or_default().merge(totals),
            Side::Estimates => self.estimated.entry(place.clone()).or_default().merge(totals),
            Side::Records => {}
        }
        self.rows.entry(place).or_default().merge(totals);
        self.total.merge(totals);
        self.overflowed |= self.rows.len() > query.max_rows;
    }

    /// The table without the estimates that were corrected, once all has been taken in.
    #[must_use]
    pub fn settled(mut self) -> Self {
        for (place, back) in std::mem::take(&mut self.taken_back) {
            for rows in [&mut self.rows, &mut self.estimated] {
                let left = rows.get(&place).map_or_else(Totals::default, |totals| totals.without(&back));
                if left == Totals::default() {
                    rows.remove(&place)
                } else {
                    rows.insert(place.clone(), left)
                };
            }
            self.total = self.total.without(&back);
        }
        self
    }
}
