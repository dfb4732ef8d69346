//! Bounded tables of what a subject is familiar with, with forgetting.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::domain::{DAY, Millis};

/// Milliseconds after which a request counts half: 14 days, so that a month ago still shows.
pub(super) const HALF_LIFE: Millis = 14 * DAY;
/// The landmark of forward decay, at which a request weighs 1 (2020-01-01T00:00:00Z).
const LANDMARK: Millis = 1_577_836_800_000;
/// Rows that a table keeps: what a subject is familiar with is less than this.
pub(super) const TABLE_CAP: usize = 48;
/// Rows above the cap that are tolerated, so that a full table is not sorted with each new row.
const TABLE_SLACK: usize = 16;

/// A count in which each request's weight halves every `HALF_LIFE`.
///
/// Kept as the sum of `2^((t - landmark) / half_life)` (forward decay; Cormode, Shkapenyuk, Srivastava, Xu,
/// "Forward Decay", ICDE 2009), so that sums merge without knowing the present. A double holds this until 2058.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
pub struct Mass(f64);

impl Mass {
    /// What a request at `at` adds.
    pub(super) fn weight(at: Millis) -> f64 {
        thread_local! {
            // One request asks some thirty times for the weight of one moment.
            static LAST: Cell<(Millis, f64)> = const { Cell::new((LANDMARK, 1.0)) };
        }
        let (of, weight) = LAST.get();
        if of == at {
            return weight;
        }
        let weight = ((at - LANDMARK) as f64 / HALF_LIFE as f64).clamp(-500.0, 1000.0).exp2();
        LAST.set((at, weight));
        weight
    }

    /// Counts one request made at `at`.
    pub fn add(&mut self, at: Millis) {
        self.0 += Self::weight(at);
    }

    /// Adds an amount that was multiplied by [`Mass::weight`].
    pub(super) fn add_weighted(&mut self, weighted: f64) {
        self.0 += weighted;
    }

    /// Orders masses by size, as of any one moment.
    pub(super) fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }

    /// Adds the requests of another mass.
    pub fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }

    /// The count as it weighs at `now`.
    pub fn at(self, now: Millis) -> f64 {
        self.0 / Self::weight(now)
    }
}

/// The days (UTC) of the last 32 on which something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DaySet {
    last_day: u32,
    mask: u32,
}

impl DaySet {
    /// Notes the day of `at`.
    pub fn insert(&mut self, at: Millis) {
        let day = u32::try_from(at.div_euclid(DAY)).unwrap_or(0);
        self.merge(&Self { last_day: day, mask: 1 });
    }

    /// Adds the days of another set.
    pub fn merge(&mut self, other: &Self) {
        let last_day = self.last_day.max(other.last_day);
        let aligned = |set: &Self| set.mask.checked_shl(last_day - set.last_day).unwrap_or(0);
        *self = Self { last_day, mask: aligned(self) | aligned(other) };
    }

    /// How many days are in the set.
    pub fn count(self) -> u32 {
        self.mask.count_ones()
    }
}

/// How familiar one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Familiar {
    /// How often it was seen, ever.
    pub count: u64,
    /// How often it was seen, with forgetting.
    pub mass: Mass,
    /// When it was seen first.
    pub first_seen: Millis,
    /// When it was seen last.
    pub last_seen: Millis,
    /// The days of the last 32 on which it was seen.
    pub days: DaySet,
}

impl Familiar {
    fn touch(&mut self, at: Millis) {
        self.count += 1;
        self.mass.add(at);
        self.first_seen = self.first_seen.min(at);
        self.last_seen = self.last_seen.max(at);
        self.days.insert(at);
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.mass.merge(&other.mass);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.days.merge(&other.days);
    }
}

/// A bounded table: at most `TABLE_CAP` rows (a few more between clean-ups), the lightest out first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    bound = "K: Serialize + serde::de::DeserializeOwned + Clone",
    from = "Vec<(K, Familiar)>",
    into = "Vec<(K, Familiar)>"
)]
pub struct Table<K: Ord + Clone>(Rows<K, Familiar>);

impl<K: Ord + Clone> From<Vec<(K, Familiar)>> for Table<K> {
    fn from(rows: Vec<(K, Familiar)>) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl<K: Ord + Clone> From<Table<K>> for Vec<(K, Familiar)> {
    fn from(table: Table<K>) -> Self {
        table.0.iter().map(|(key, row)| (key.clone(), *row)).collect()
    }
}

impl<K: Ord + Clone> Default for Table<K> {
    fn default() -> Self {
        Self(Rows::default())
    }
}

impl<K: Ord + Clone> Table<K> {
    /// Counts one sighting of `key` at `at`.
    pub fn touch(&mut self, key: K, at: Millis) {
        let new = Familiar {
            count: 0,
            mass: Mass::default(),
            first_seen: at,
            last_seen: at,
            days: DaySet::default(),
        };
        self.0.get_or_insert(key, || new).touch(at);
        self.trim();
    }

    /// Adds the rows of another table; the lightest leave above the cap.
    pub fn merge(&mut self, other: &Self) {
        for (key, row) in other.0.iter() {
            match self.0.get_mut(key) {
                Some(mine) => mine.merge(row),
                None => {
                    self.0.get_or_insert(key.clone(), || *row);
                }
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        if self.0.len() <= TABLE_CAP + TABLE_SLACK {
            return;
        }
        let mut masses: Vec<(Mass, K)> = self.0.iter().map(|(k, row)| (row.mass, k.clone())).collect();
        masses.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        masses.truncate(self.0.len() - TABLE_CAP);
        self.0.retain(|key, _| masses.iter().all(|(_, light)| light != key));
    }

    /// The row of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Familiar>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Every row, by its key in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Familiar)> {
        self.0.iter()
    }

    /// Bytes that the rows take, without the texts among their keys.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Table<String> {
    /// Counts one sighting of a text at `at`; allocates only for a new one.
    pub fn touch_str(&mut self, key: &str, at: Millis) {
        match self.0.get_mut(key) {
            Some(row) => row.touch(at),
            None => self.touch(key.to_owned(), at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_760_000_000_000;

    #[test]
    fn a_mass_halves_with_each_half_life() {
        let mut mass = Mass::default();
        mass.add(NOW);
        mass.add(NOW);
        assert!((mass.at(NOW) - 2.0).abs() < 1e-9);
        assert!((mass.at(NOW + HALF_LIFE) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn days_are_counted_once_and_forgotten_after_32() {
        let mut days = DaySet::default();
        days.insert(NOW);
        days.insert(NOW + 1);
        days.insert(NOW + DAY);
        assert_eq!(days.count(), 2);
        days.insert(NOW + 40 * DAY);
        assert_eq!(days.count(), 1);
    }

    #[test]
    fn a_table_stays_small_and_keeps_what_is_heavy() {
        let mut table = Table::default();
        for round in 0..5 {
            table.touch(7_u64, NOW + round);
        }
        for key in 100..10_000 {
            table.touch(key, NOW);
        }
        assert!(table.len() <= TABLE_CAP + TABLE_SLACK);
        assert_eq!(table.get(&7).unwrap().count, 5);
    }
}
