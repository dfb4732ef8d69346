//! Hours of a history, packed: four weeks of them are the most of a profile. Those that are over take as many bits of
//! each count as the largest one needs, in units of their greatest common divisor (costs are multiples of a price);
//! nothing is rounded. The newest two, which change, are as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::rows::Rows;

/// Hours kept: 28 days.
pub(super) const HOURS_KEPT: u32 = 28 * 24;

/// What happened in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HourStat {
    /// Requests that were admitted and learned.
    pub requests: u64,
    /// Tokens, prompt and completion together.
    pub tokens: u64,
    /// The sum of costs, in nano-dollars.
    pub cost_nanos: u64,
    /// The most requests that any 5 minutes ending in this hour held.
    pub five_minute_peak: u64,
    /// The most requests that any minute ending in this hour held.
    pub one_minute_peak: u64,
}

/// Hours that are not packed: the present one, and the one before for what is reported late.
const OPEN: usize = 2;
/// Counts of an hour.
const COLUMNS: usize = 5;

/// Counts by hour since the epoch. An hour without requests has no row.
#[derive(Debug, Clone, Default)]
pub(super) struct Hours {
    packed: Option<Box<PackedHours>>,
    /// Newer than all that is packed.
    open: Rows<u32, HourStat>,
}

/// One column of counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Column {
    /// Bits of each value.
    bits: u8,
    /// What the values are multiples of; 0 where all are 0.
    unit: u64,
}

/// Rows of fixed width, and which hours they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PackedHours {
    first: u32,
    last: u32,
    columns: [Column; COLUMNS],
    /// A bit for each hour from the first one on: whether it has a row.
    #[serde(with = "words")]
    present: Box<[u64]>,
    #[serde(with = "words")]
    values: Box<[u64]>,
}

fn values(row: &HourStat) -> [u64; COLUMNS] {
    [row.requests, row.tokens, row.cost_nanos, row.five_minute_peak, row.one_minute_peak]
}

impl PackedHours {
    /// Packs rows, in ascending order of their hours, none of them too old; `None` of none.
    fn of(rows: &[(u32, HourStat)]) -> Option<Box<Self>> {
        let (first, last) = (rows.first()?.0, rows.last()?.0);
        let mut columns = [Column::default(); COLUMNS];
        for (n, column) in columns.iter_mut().enumerate() {
            let all = || rows.iter().map(|(_, row)| values(row)[n]);
            column.unit = all().fold(0, gcd);
            let largest = all().max().unwrap_or_default() / column.unit.max(1);
            column.bits = (u64::BITS - largest.leading_zeros()) as u8;
        }
        let width: usize = columns.iter().map(|column| usize::from(column.bits)).sum();
        let mut present = vec![0_u64; (last - first) as usize / 64 + 1];
        let mut packed = vec![0_u64; (width * rows.len()).div_ceil(64)];
        let mut at = 0;
        for (hour, row) in rows {
            let offset = (hour - first) as usize;
            present[offset / 64] |= 1 << (offset % 64);
            for (column, value) in columns.iter().zip(values(row)) {
                put(&mut packed, at, value / column.unit.max(1), column.bits);
                at += usize::from(column.bits);
            }
        }
        Some(Box::new(Self { first, last, columns, present: present.into(), values: packed.into() }))
    }

    fn get(&self, hour: u32) -> Option<HourStat> {
        let offset = hour.checked_sub(self.first)? as usize;
        let (word, bit) = (offset / 64, offset % 64);
        let here = *self.present.get(word)?;
        if here >> bit & 1 == 0 {
            return None;
        }
        let before: u32 = self.present.iter().take(word).map(|word| word.count_ones()).sum();
        let row = before + (here & ((1 << bit) - 1)).count_ones();
        Some(self.row(row as usize))
    }

    fn width(&self) -> usize {
        self.columns.iter().map(|column| usize::from(column.bits)).sum()
    }

    /// The row with so many before it.
    fn row(&self, index: usize) -> HourStat {
        let mut at = self.width() * index;
        let [requests, tokens, cost_nanos, five_minute_peak, one_minute_peak] = self.columns.map(|column| {
            let value = take(&self.values, at, column.bits);
            at += usize::from(column.bits);
            value.saturating_mul(column.unit)
        });
        HourStat { requests, tokens, cost_nanos, five_minute_peak, one_minute_peak }
    }

    fn has(&self, hour: u32) -> bool {
        let offset = (hour - self.first) as usize;
        self.present.get(offset / 64).is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    /// Hours that have a row, ascending.
    fn hours(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        (self.first..=self.last).filter(|hour| self.has(*hour))
    }

    fn len(&self) -> usize {
        self.present.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(&self) -> PackedRows<'_> {
        PackedRows { packed: self, hours: self.first..self.last + 1, rows: 0..self.len() }
    }

    /// Whether all of it is there, as it must be of what was read.
    fn is_whole(&self) -> bool {
        let bits = self.columns.iter().all(|column| u32::from(column.bits) <= u64::BITS);
        let span = self.last.checked_sub(self.first).filter(|span| *span < HOURS_KEPT);
        let ends = self.last < u32::MAX - HOURS_KEPT;
        bits && ends
            && span.is_some_and(|span| self.present.len() == span as usize / 64 + 1)
            && self.values.len() == (self.width() * self.len()).div_ceil(64)
    }
}

/// The rows of packed hours, from both ends.
struct PackedRows<'a> {
    packed: &'a PackedHours,
    hours: std::ops::Range<u32>,
    rows: std::ops::Range<usize>,
}

impl Iterator for PackedRows<'_> {
    type Item = (u32, HourStat);

    fn next(&mut self) -> Option<Self::Item> {
        let hour = self.hours.by_ref().find(|hour| self.packed.has(*hour))?;
        self.rows.next().map(|row| (hour, self.packed.row(row)))
    }
}

impl DoubleEndedIterator for PackedRows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let hour = self.hours.by_ref().rfind(|hour| self.packed.has(*hour))?;
        self.rows.next_back().map(|row| (hour, self.packed.row(row)))
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Writes the lowest `bits` of a value from the bit `at` on; they were 0.
fn put(words: &mut [u64], at: usize, value: u64, bits: u8) {
    let (word, shift) = (at / 64, at % 64);
    if bits == 0 {
        return;
    }
    words[word] |= value << shift;
    if shift + usize::from(bits) > 64 {
        words[word + 1] |= value >> (64 - shift);
    }
}

/// Reads `bits` from the bit `at` on.
fn take(words: &[u64], at: usize, bits: u8) -> u64 {
    let (word, shift) = (at / 64, at % 64);
    if bits == 0 {
        return 0;
    }
    let low = words.get(word).map_or(0, |low| low >> shift);
    let over = shift + usize::from(bits) > 64;
    let high = words.get(word + 1).filter(|_| over).map_or(0, |high| high << (64 - shift));
    (low | high) & (u64::MAX >> (64 - bits))
}

impl Hours {
    /// Changes the row of an hour, a new one where there is none. Nothing is kept of an hour that is too old.
    pub(super) fn change(&mut self, hour: u32, change: impl FnOnce(&mut HourStat)) {
        if self.packed.as_ref().is_none_or(|packed| hour > packed.last) {
            let before = self.open.len();
            change(self.open.get_or_insert(hour, HourStat::default));
            if self.open.len() > before {
                self.settle();
            }
            return;
        }
        self.change_all(|rows| change(rows.get_or_insert(hour, HourStat::default)));
    }

    /// Merges rows of another history into those of the same hours.
    pub(super) fn merge(&mut self, other: &Self, merge: impl Fn(&mut HourStat, &HourStat)) {
        if other.packed.is_none() {
            other.open.iter().for_each(|(hour, row)| self.change(*hour, |mine| merge(mine, row)));
            return;
        }
        self.change_all(|rows| {
            other.iter().for_each(|(hour, row)| merge(rows.get_or_insert(hour, HourStat::default), &row));
        });
    }

    fn change_all(&mut self, change: impl FnOnce(&mut Rows<u32, HourStat>)) {
        let mut rows: Rows<u32, HourStat> = self.iter().collect();
        change(&mut rows);
        *self = rows.iter().map(|(hour, row)| (*hour, *row)).collect();
    }

    /// Packs what is over, and lets go what is too old, where there is a new hour.
    fn settle(&mut self) {
        let last = self.last().unwrap_or_default();
        let is_old = |first: u32| first + HOURS_KEPT <= last;
        let holds_old = self.packed.as_ref().is_some_and(|packed| is_old(packed.first))
            || self.open.iter().next().is_some_and(|(first, _)| is_old(*first));
        if holds_old || self.open.len() > OPEN {
            *self = self.iter().collect();
        }
    }

    /// The last hour that has a row.
    pub(super) fn last(&self) -> Option<u32> {
        self.open.last().map(|(hour, _)| *hour).or_else(|| self.packed.as_ref().map(|packed| packed.last))
    }

    /// The row of an hour since the epoch.
    pub(super) fn get(&self, hour: u32) -> Option<HourStat> {
        let packed = || self.packed.as_ref().and_then(|packed| packed.get(hour));
        self.open.get(&hour).copied().or_else(packed)
    }

    /// Rows, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, HourStat)> + '_ {
        let packed = self.packed.iter().flat_map(|packed| packed.iter());
        packed.chain(self.open.iter().map(|(hour, row)| (*hour, *row)))
    }

    /// Bytes that they take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let words = |packed: &PackedHours| 8 * (packed.present.len() + packed.values.len());
        self.open.bytes() + self.packed.as_ref().map_or(0, |packed| size_of::<PackedHours>() + words(packed))
    }

    /// Hours that have a row, oldest first: quicker than the rows.
    pub(super) fn hours(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let packed = self.packed.iter().flat_map(|packed| packed.hours());
        packed.chain(self.open.iter().map(|(hour, _)| *hour))
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.len()) + self.open.len()
    }
}

impl FromIterator<(u32, HourStat)> for Hours {
    /// Rows in ascending order of their hours; those that are older than what is kept are left out.
    fn from_iter<I: IntoIterator<Item = (u32, HourStat)>>(rows: I) -> Self {
        let mut rows: Vec<(u32, HourStat)> = rows.into_iter().collect();
        let last = rows.last().map_or(0, |(hour, _)| *hour);
        rows.retain(|(hour, _)| hour + HOURS_KEPT > last);
        let open = rows.split_off(rows.len().saturating_sub(OPEN));
        Self { packed: PackedHours::of(&rows), open: open.into_iter().collect() }
    }
}

impl PartialEq for Hours {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Hours {}

impl Serialize for Hours {
    /// People read rows; what is stored has all of them packed, the newest too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_map(self.iter());
        }
        PackedHours::of(&self.iter().collect::<Vec<_>>()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(BTreeMap::<u32, HourStat>::deserialize(deserializer)?.into_iter().collect());
        }
        match Option::<Box<PackedHours>>::deserialize(deserializer)? {
            Some(packed) if !packed.is_whole() => Err(D::Error::custom("the hours of a profile are damaged")),
            Some(packed) => Ok(packed.iter().collect()),
            None => Ok(Self::default()),
        }
    }
}

/// Words as bytes, without the zeros behind the last one that is not.
mod words {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(words: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // The length in words tells how many zeros are missing.
        let zeros = bytes.len() - end;
        let cut = bytes.len() - zeros.min(7);
        serializer.serialize_bytes(&bytes[..cut])
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u64]>, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        };
        Ok(bytes.chunks(8).map(word).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same counts without packing: what [`Hours`] must equal.
    #[derive(Default)]
    struct Plain(BTreeMap<u32, HourStat>);

    impl Plain {
        fn add(&mut self, hour: u32, more: &HourStat) {
            add(self.0.entry(hour).or_default(), more);
            let last = self.0.last_key_value().map_or(0, |(hour, _)| *hour);
            self.0.retain(|hour, _| hour + HOURS_KEPT > last);
        }
    }

    fn add(mine: &mut HourStat, more: &HourStat) {
        mine.requests += more.requests;
        mine.tokens = mine.tokens.saturating_add(more.tokens);
        mine.cost_nanos = mine.cost_nanos.saturating_add(more.cost_nanos);
        mine.five_minute_peak = mine.five_minute_peak.max(more.five_minute_peak);
        mine.one_minute_peak = mine.one_minute_peak.max(more.one_minute_peak);
    }

    fn row(requests: u64, tokens: u64, cost: u64) -> HourStat {
        HourStat {
            requests,
            tokens,
            cost_nanos: cost.saturating_mul(500),
            five_minute_peak: requests / 3,
            one_minute_peak: requests / 9,
        }
    }

    /// Hours around each other, a few of them far off.
    fn additions() -> impl Strategy<Value = Vec<(u32, HourStat)>> {
        let hour = prop_oneof![8 => 489_000..489_060_u32, 2 => 488_000..490_500_u32];
        let counts = (0..5_000_u64, prop_oneof![0..1_000_000_u64, Just(u64::MAX)], 0..1_000_000_000_u64);
        proptest::collection::vec((hour, counts.prop_map(|(a, b, c)| row(a, b, c))), 0..120)
    }

    fn hours(additions: &[(u32, HourStat)]) -> Hours {
        let mut hours = Hours::default();
        additions.iter().for_each(|(hour, more)| hours.change(*hour, |mine| add(mine, more)));
        hours
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn packed_hours_are_the_same_as_plain_ones(additions in additions()) {
            let (hours, mut plain) = (hours(&additions), Plain::default());
            additions.iter().for_each(|(hour, more)| plain.add(*hour, more));
            let rows: Vec<_> = plain.0.iter().map(|(hour, row)| (*hour, *row)).collect();
            prop_assert_eq!(hours.iter().collect::<Vec<_>>(), rows.clone());
            prop_assert_eq!(hours.iter().rev().collect::<Vec<_>>(), rows.iter().rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(hours.len(), rows.len());
            for hour in 488_990..489_070 {
                prop_assert_eq!(hours.get(hour), plain.0.get(&hour).copied());
            }
        }

        #[test]
        fn packed_hours_come_back_and_merge_as_if_they_were_learned_together(a in additions(), b in additions()) {
            let bytes = postcard::to_allocvec(&hours(&a)).unwrap();
            let mut merged: Hours = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&merged, &hours(&a));
            merged.merge(&hours(&b), add);
            // What one of them had let go as too old is not there to be merged.
            let mut together = hours(&a);
            hours(&b).iter().for_each(|(hour, row)| together.change(hour, |mine| add(mine, &row)));
            prop_assert_eq!(merged, together);
        }
    }

    #[test]
    fn four_weeks_around_the_clock_take_less_than_six_kilobytes() {
        let mut hours = Hours::default();
        for hour in 0..HOURS_KEPT {
            let requests = u64::from(40 + hour * 7919 % 60);
            let more = row(requests, requests * 1_200 + u64::from(hour * 104_729 % 50_000), requests * 9_400);
            hours.change(489_000 + hour, |mine| *mine = more);
        }
        let bytes = postcard::to_allocvec(&hours).unwrap();
        assert!(bytes.len() < 6 * 1024, "{}", bytes.len());
    }

    #[test]
    fn damaged_hours_are_not_read() {
        let hours = hours(&[(489_000, row(1, 2, 3)), (489_001, row(4, 5, 6)), (489_005, row(7, 8, 9))]);
        let packed = PackedHours::of(&hours.iter().collect::<Vec<_>>()).unwrap();
        let damages: [fn(&mut PackedHours); 4] = [
            |packed| packed.last += HOURS_KEPT,
            |packed| packed.values = Box::new([]),
            |packed| packed.columns[0].bits = 65,
            |packed| packed.present[0] = u64::MAX,
        ];
        for damage in damages {
            let mut damaged = packed.clone();
            damage(&mut damaged);
            let bytes = postcard::to_allocvec(&Some(damaged)).unwrap();
            assert!(postcard::from_bytes::<Hours>(&bytes).is_err());
        }
    }
}
