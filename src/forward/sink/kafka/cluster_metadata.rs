//! Which broker leads which partition, and where it is: as the cluster said last.

use std::collections::BTreeMap;

use super::{
    error_code::error_of,
    messages::{Metadata, Topic},
};
use crate::{
    clock::{self, Instant},
    forward::error::SendError,
};

/// Most partitions that a topic is believed to have.
const MAX_PARTITIONS: usize = 200_000;

/// The brokers of a cluster, and who leads each partition of one topic.
#[derive(Debug)]
pub(super) struct ClusterMetadata {
    brokers: BTreeMap<i32, (String, u16)>,
    /// The leader of each partition; `None` where an election goes on.
    leaders: Vec<Option<i32>>,
    pub learned: Instant,
}

impl ClusterMetadata {
    /// What the cluster said of a topic.
    ///
    /// # Errors
    /// When there is no such topic, or it may not be seen.
    pub(super) fn of(response: &Metadata, topic: &str) -> Result<Self, SendError> {
        let found = response.topics.iter().find(|found| found.name == topic);
        let found = found
            .ok_or_else(|| SendError::unreachable(format!("the cluster says nothing of topic {topic}")))?;
        match found.error {
            0 => {}
            // Right after the topic was made it may be so for a moment.
            3 => {
                return Err(SendError::denied(format!("topic {topic} is not there"))
                    .detail("create it, or correct topic"));
            }
            code => return Err(error_of(code, Some(&format!("topic {topic}")))),
        }
        let brokers = response.brokers.iter();
        let brokers =
            brokers.filter_map(|(id, host, port)| Some((*id, (host.clone(), u16::try_from(*port).ok()?))));
        Ok(Self { brokers: brokers.collect(), leaders: leaders(found)?, learned: clock::instant() })
    }

    /// How many partitions there are, at least one.
    pub(super) fn partitions(&self) -> i32 {
        self.leaders.len() as i32
    }

    /// The id of the broker that leads a partition; `None` while an election goes on.
    pub(super) fn leader(&self, partition: i32) -> Option<i32> {
        let leader = usize::try_from(partition).ok().and_then(|n| *self.leaders.get(n)?);
        leader.filter(|leader| self.brokers.contains_key(leader))
    }

    /// The host and the port of a broker.
    pub(super) fn address(&self, broker: i32) -> Option<(&str, u16)> {
        self.brokers.get(&broker).map(|(host, port)| (host.as_str(), *port))
    }

    /// Every broker, and where it is.
    pub(super) fn brokers(&self) -> impl Iterator<Item = (i32, &str, u16)> {
        self.brokers.iter().map(|(id, (host, port))| (*id, host.as_str(), *port))
    }
}

/// By partition, which must be numbered from 0 on without a gap.
fn leaders(topic: &Topic) -> Result<Vec<Option<i32>>, SendError> {
    let malformed =
        || SendError::unreachable(format!("what the cluster says of topic {} is no topic", topic.name));
    let count = topic.partitions.len();
    let mut leaders = vec![None; count];
    if count == 0 || count > MAX_PARTITIONS {
        return Err(malformed());
    }
    let mut seen = vec![false; count];
    for (_, index, leader) in &topic.partitions {
        let n = usize::try_from(*index).ok().filter(|n| *n < count).ok_or_else(malformed)?;
        if std::mem::replace(&mut seen[n], true) {
            return Err(malformed());
        }
        // Whatever its error is, a leader that is named can be asked.
        leaders[n] = (*leader >= 0).then_some(*leader);
    }
    Ok(leaders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(partitions: &[(i16, i32, i32)]) -> Result<ClusterMetadata, SendError> {
        let topic = Topic { error: 0, name: "t".to_owned(), partitions: partitions.to_vec() };
        let brokers = vec![(1, "a.example".to_owned(), 9092), (2, "b.example".to_owned(), 70_000)];
        ClusterMetadata::of(&Metadata { throttle: 0, brokers, topics: vec![topic] }, "t")
    }

    #[test]
    fn a_partition_has_a_leader_or_an_election_goes_on() {
        let metadata = metadata(&[(0, 1, 1), (5, 0, -1), (0, 2, 2), (0, 3, 9)]).unwrap();
        assert_eq!(metadata.partitions(), 4);
        assert_eq!((0..5).map(|n| metadata.leader(n)).collect::<Vec<_>>(), [None, Some(1), None, None, None]);
        assert_eq!(metadata.address(1), Some(("a.example", 9092)));
    }

    #[test]
    fn partitions_that_cannot_be_are_not_believed() {
        for partitions in [&[][..], &[(0, 1, 1)], &[(0, -1, 1)], &[(0, 0, 1), (0, 0, 1)]] {
            assert!(metadata(partitions).is_err(), "{partitions:?}");
        }
    }
}
