//! A small map as one sorted vector without spare room: tables of profiles hold few rows, and there are very many of
//! them.

use std::borrow::Borrow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by their keys, in ascending order of these. As bytes it is a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows<K, V>(Vec<(K, V)>);

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Rows<K, V> {
    /// Of rows with one key the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut rows: Vec<(K, V)> = rows.into_iter().collect();
        if !rows.is_sorted_by(|a, b| a.0 < b.0) {
            rows = rows.into_iter().collect::<std::collections::BTreeMap<K, V>>().into_iter().collect();
        }
        rows.shrink_to_fit();
        Self(rows)
    }
}

impl<K: Ord, V> Rows<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// The value of a key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().and_then(|at| self.0.get_mut(at)).map(|(_, value)| value)
    }

    /// The value of a key, which is put there where there is none.
    pub(super) fn get_or_insert(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let at = self.find(&key).unwrap_or_else(|at| {
            if self.0.len() == self.0.capacity() {
                // One in eight to spare, not as many again.
                self.0.reserve_exact(1 + self.0.len() / 8);
            }
            self.0.insert(at, (key, value()));
            at
        });
        &mut self.0[at].1
    }

    /// Keeps the rows that `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    /// Takes the first `count` rows away.
    pub(super) fn remove_first(&mut self, count: usize) {
        self.0.drain(..count.min(self.0.len()));
    }

    /// Every row, by its key in ascending order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The last row.
    pub(super) fn last(&self) -> Option<(&K, &V)> {
        self.0.last().map(|(key, value)| (key, value))
    }

    /// Bytes that the rows take, without what their keys and values hold elsewhere.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(K, V)>()
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Serialize + Ord, V: Serialize> Serialize for Rows<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Rows<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = std::collections::BTreeMap::<K, V>::deserialize(deserializer)?;
        Ok(rows.into_iter().collect())
    }
}
