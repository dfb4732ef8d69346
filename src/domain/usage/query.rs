//! What is asked of roll-ups, and the table that answers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Latencies, Side, Totals, UsageKey,
    rollup::{Detail, Keep},
    rows::{Rows, Run},
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
    /// Whether rows are told apart by endpoint.
    pub endpoint: bool,
    /// Whether rows are told apart by user.
    pub user: bool,
}

impl Grouping {
    /// The names of a series that rows are told apart by.
    fn of(self, series: UsageKey) -> UsageKey {
        let UsageKey { project, model, key, endpoint, user } = series;
        UsageKey {
            project: project.filter(|_| self.project),
            model: model.filter(|_| self.model),
            key: key.filter(|_| self.key),
            endpoint: endpoint.filter(|_| self.endpoint),
            user: user.filter(|_| self.user),
        }
    }
}

/// Which usage is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// What each row is about.
    pub rows: Rows,
    /// The start of the first row.
    pub from: Millis,
    /// Rows that start before this, in milliseconds.
    pub to: Millis,
    /// When it is asked: decides what is gone.
    pub now: Millis,
    /// By what rows are told apart.
    pub group: Grouping,
    /// Only this project, model, key, endpoint and user, as far as they are named.
    pub only: UsageKey,
    /// Whether it is also asked how long requests took.
    pub latencies: bool,
    /// The most rows that are put together.
    pub max_rows: usize,
    /// Most series that are looked at.
    pub max_scanned: usize,
}

impl UsageQuery {
    /// Asks for the sum of everything in each row, however many rows there are.
    pub fn new(rows: Rows, (from, to): (Millis, Millis), now: Millis) -> Self {
        let (group, only) = (Grouping::default(), UsageKey::default());
        Self {
            rows,
            from,
            to,
            now,
            group,
            only,
            latencies: false,
            max_rows: usize::MAX,
            max_scanned: usize::MAX,
        }
    }

    /// The coarsest roll-up that can answer it.
    pub fn detail(&self) -> Detail {
        let (group, only) = (self.group, &self.only);
        if group.endpoint || group.user || only.endpoint.is_some() || only.user.is_some() {
            Detail::Endpoints
        } else if group.model || group.key || only.model.is_some() || only.key.is_some() {
            Detail::Series
        } else {
            Detail::Projects
        }
    }

    /// The roll-ups that it asks for and that are still kept, oldest first.
    pub fn runs(&self, keep: Keep) -> Vec<Run> {
        self.rows.runs((self.from, self.to), keep, self.now)
    }

    fn asks_for(&self, key: &UsageKey) -> bool {
        let asked = |only: &Option<Arc<str>>, has: &Option<Arc<str>>| only.is_none() || only == has;
        asked(&self.only.project, &key.project)
            && asked(&self.only.model, &key.model)
            && asked(&self.only.key, &key.key)
            && asked(&self.only.endpoint, &key.endpoint)
            && asked(&self.only.user, &key.user)
    }
}

/// The answer to a [`UsageQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTable {
    /// Rows by start and group.
    pub rows: BTreeMap<(Millis, UsageKey), Totals>,
    /// The sum of all rows.
    pub total: Totals,
    /// How long the requests of a row took, where it was asked for and reported.
    pub latencies: BTreeMap<(Millis, UsageKey), Latencies>,
    /// How long those of all rows took.
    pub all_latencies: Latencies,
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
        Self { kept_from: query.rows.kept_from(keep, query.now), ..Self::default() }
    }

    /// Takes in what a roll-up holds of one series, in the row that starts at `row`.
    pub fn add(&mut self, query: &UsageQuery, row: Millis, key: UsageKey, totals: &Totals) {
        let (side, key) = key.side();
        self.scanned += 1;
        self.overflowed |= self.scanned > query.max_scanned;
        if self.overflowed || !query.asks_for(&key) {
            return;
        }
        let place = (row, query.group.of(key));
        match side {
            Side::TakenBack => return self.taken_back.entry(place).or_default().merge(totals),
            Side::Estimates => self.estimated.entry(place.clone()).or_default().merge(totals),
            Side::Records => {}
        }
        self.rows.entry(place).or_default().merge(totals);
        self.total.merge(totals);
        self.overflowed |= self.rows.len() > query.max_rows;
    }

    /// Takes in how long the requests of one series took, as [`UsageTable::add`] does what they used.
    pub fn add_latencies(&mut self, query: &UsageQuery, row: Millis, key: UsageKey, latencies: &Latencies) {
        if query.asks_for(&key) {
            self.latencies.entry((row, query.group.of(key))).or_default().merge(latencies);
            self.all_latencies.merge(latencies);
        }
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
