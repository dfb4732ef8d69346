//! How long requests took: counts in buckets of fixed edges, so that merging is exact in any order.
//!
//! Below 16 µs each microsecond has a bucket of its own. Above, each doubling is cut into 16 equal buckets, so that a
//! bucket is 3.1 % to 6.3 % wide, and its middle is within 1/32 of every latency in it. All of it is whole numbers.

use smallvec::SmallVec;

/// Each doubling is cut into two to the power of this many buckets.
const STEP_BITS: u32 = 4;
/// Microseconds in a millisecond, the unit that records report in.
const MICROS: f64 = 1_000.0;
/// Bytes of a packed bucket: its number in two, its count in four, little-endian.
const BUCKET_BYTES: usize = 6;
/// Shares in percent, of which all of a hundred are the slowest.
const HUNDRED: u64 = 100;

/// The latencies of any number of requests, as counts in buckets. Empty where no record reported one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies {
    /// The number of a bucket and how many are in it, by ascending number. A count stops at the largest number.
    counts: SmallVec<[(u16, u32); 2]>,
}

impl Latencies {
    /// The latency of one record, in milliseconds; empty where it reported none.
    pub fn of(latency_ms: Option<f64>) -> Self {
        let counts = latency_ms.map(|latency| (bucket_of((latency.max(0.0) * MICROS).round() as u64), 1));
        Self { counts: counts.into_iter().collect() }
    }

    /// Whether no record reported its latency.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds other counts, bucket by bucket.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            match self.counts.binary_search_by_key(bucket, |(held, _)| *held) {
                Ok(place) => self.counts[place].1 = self.counts[place].1.saturating_add(*count),
                Err(place) => self.counts.insert(place, (*bucket, *count)),
            }
        }
    }

    /// The latency in milliseconds that `percent` of a hundred requests are not above, by the nearest rank: the middle
    /// of its bucket. `None` where no record reported one.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let all: u64 = self.counts.iter().map(|(_, count)| u64::from(*count)).sum();
        let rank = (all * percent).div_ceil(HUNDRED).max(1);
        let mut seen = 0;
        let (bucket, _) = self.counts.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(middle_of(*bucket) / MICROS)
    }

    /// As bytes, six for each bucket that holds anything.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.counts.len() * BUCKET_BYTES);
        for (bucket, count) in &self.counts {
            bytes.extend(bucket.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Latencies::pack`] wrote; `None` for anything else.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let parts = bytes.chunks_exact(BUCKET_BYTES);
        if !parts.remainder().is_empty() {
            return None;
        }
        let read = |part: &[u8]| {
            let (bucket, count) = part.split_at_checked(2)?;
            Some((u16::from_le_bytes(bucket.try_into().ok()?), u32::from_le_bytes(count.try_into().ok()?)))
        };
        let counts: SmallVec<[(u16, u32); 2]> = parts.map(read).collect::<Option<_>>()?;
        counts.is_sorted_by(|a, b| a.0 < b.0).then_some(Self { counts })
    }
}

/// The bucket of a latency in microseconds.
fn bucket_of(micros: u64) -> u16 {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let bucket = (u64::from(shift) << STEP_BITS) + (micros >> shift);
    u16::try_from(bucket).unwrap_or(u16::MAX)
}

/// The middle of a bucket, in microseconds.
fn middle_of(bucket: u16) -> f64 {
    let shift = u32::from(bucket >> STEP_BITS).saturating_sub(1);
    let lowest = f64::from(u32::from(bucket) - (shift << STEP_BITS));
    let width = 2_f64.powi(i32::try_from(shift).unwrap_or(i32::MAX));
    if shift == 0 { lowest } else { (lowest + 0.5) * width }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;

    fn latencies(of: &[f64]) -> Latencies {
        let mut sum = Latencies::default();
        of.iter().for_each(|latency| sum.merge(&Latencies::of(Some(*latency))));
        sum
    }

    fn reported() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(prop_oneof![0.0..3_000.0, Just(0.0), Just(1e12), 0.0..1e12], 0..40)
    }

    proptest! {
        #[test]
        fn merging_latencies_is_exact_in_any_order(a in reported(), b in reported(), c in reported()) {
            let [x, y, z] = [&a, &b, &c].map(|part| latencies(part));
            let sum = |parts: &[&Latencies]| {
                let mut sum = Latencies::default();
                parts.iter().for_each(|part| sum.merge(part));
                sum
            };
            let whole = latencies(&[a, b, c].concat());
            prop_assert_eq!(&sum(&[&x, &y, &z]), &whole);
            prop_assert_eq!(&sum(&[&z, &sum(&[&y, &x])]), &whole);
            prop_assert_eq!(Latencies::unpack(&whole.pack()), Some(whole));
        }

        #[test]
        fn a_percentile_is_within_a_32nd_of_the_nearest_rank(mut of in reported(), percent in 1..=100_u64) {
            prop_assume!(!of.is_empty());
            let shown = latencies(&of).percentile(percent).unwrap();
            of.sort_by(f64::total_cmp);
            let right = of[(of.len() * percent as usize).div_ceil(100) - 1];
            // Latencies are kept to the microsecond.
            prop_assert!((shown - right).abs() <= right / 32.0 + 0.0005, "{} for {}", shown, right);
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut last = 0;
        for micros in 0..100_000 {
            let bucket = bucket_of(micros);
            assert!(bucket == last || bucket == last + 1, "{micros}");
            last = bucket;
        }
        assert!(bucket_of(u64::MAX) < 1_000, "a histogram is bounded whatever is reported");
    }

    #[test]
    fn who_reports_no_latency_has_no_percentile_and_foreign_bytes_are_no_latencies() {
        let mut none = Latencies::of(None);
        none.merge(&Latencies::default());
        assert_eq!((none.percentile(50), none.is_empty()), (None, true));
        assert_eq!(Latencies::unpack(&[1, 0, 1, 0, 0]), None);
        let twice = [Latencies::of(Some(5.0)).pack(), Latencies::of(Some(5.0)).pack()].concat();
        assert_eq!(Latencies::unpack(&twice), None, "a bucket that is there twice");
    }

    #[test]
    fn a_count_stops_at_the_largest_number() {
        let mut full = Latencies { counts: smallvec![(7, u32::MAX - 1)] };
        (0..3).for_each(|_| full.merge(&Latencies { counts: smallvec![(7, 1)] }));
        assert_eq!(full.counts[..], [(7, u32::MAX)]);
    }
}
