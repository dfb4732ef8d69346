//! Which partition a record goes to: by murmur2 of its key, as the Java client does it, so that whoever reads by key
//! and relies on that finds our records where its own would be.

use serde::Deserialize;

use crate::domain::event::Event;

/// What decides the partition of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PartitionKey {
    /// The subject: the events of one subject stay in order.
    #[default]
    Subject,
    /// The event's id: events are spread evenly, in no order.
    Id,
}

impl PartitionKey {
    /// The key of an event; `None` for an event without a subject.
    pub(super) fn of(self, event: &Event) -> Option<Vec<u8>> {
        match self {
            Self::Subject => event.subject.as_ref().map(|subject| subject.as_str().into()),
            Self::Id => Some(event.id.clone().into_bytes()),
        }
    }
}

/// The partition for a key among so many, at least one. Without a key: as if the key were empty, so that those without
/// one stay in order among themselves.
pub(super) fn partition_of(key: Option<&[u8]>, partitions: i32) -> i32 {
    let positive = (murmur2(key.unwrap_or_default()) & 0x7fff_ffff) as i32;
    positive % partitions.max(1)
}

/// MurmurHash2 with the seed of `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (n, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * n);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `testMurmur2` in `UtilsTest` of Apache Kafka.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn a_partition_is_one_that_there_is() {
        for partitions in 1..50 {
            for key in 0..200_u32 {
                let partition = partition_of(Some(&key.to_be_bytes()), partitions);
                assert!((0..partitions).contains(&partition));
            }
        }
        assert_eq!(partition_of(None, 7), partition_of(Some(b""), 7));
    }
}
