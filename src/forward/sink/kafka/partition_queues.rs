//! Events on their way: a queue for each partition, in each queue batches of records, one behind another.
//!
//! Of a queue only the first batch is on its way at a time. The next one goes when that was taken, or refused for
//! good. So no event overtakes another one in its partition.

use std::collections::{BTreeMap, VecDeque};

/// The records of one batch, by the indexes of their events; never none.
pub(super) type RecordBatch = Vec<usize>;

/// The batches that are still to be sent, by partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionQueues(BTreeMap<i32, VecDeque<RecordBatch>>);

impl PartitionQueues {
    /// Queues of events in their order, each with its index, partition and size. A batch has at most `max_bytes`,
    /// unless a single event has more.
    pub(super) fn of(events: impl Iterator<Item = (usize, i32, usize)>, max_bytes: usize) -> Self {
        let mut queues: BTreeMap<i32, VecDeque<RecordBatch>> = BTreeMap::new();
        let mut last: BTreeMap<i32, usize> = BTreeMap::new();
        for (place, partition, size) in events {
            let (queue, bytes) = (queues.entry(partition).or_default(), last.entry(partition).or_default());
            match queue.back_mut() {
                Some(batch) if *bytes + size <= max_bytes => {
                    batch.push(place);
                    *bytes += size;
                }
                _ => {
                    queue.push_back(vec![place]);
                    *bytes = size;
                }
            }
        }
        Self(queues)
    }

    /// The first batch of each queue.
    pub(super) fn first(&self) -> impl Iterator<Item = (i32, &RecordBatch)> {
        self.0.iter().filter_map(|(partition, queue)| Some((*partition, queue.front()?)))
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the first batch out of a queue: it is done with.
    pub(super) fn pass(&mut self, partition: i32) -> RecordBatch {
        let Some(queue) = self.0.get_mut(&partition) else { return RecordBatch::new() };
        let batch = queue.pop_front().unwrap_or_default();
        if queue.is_empty() {
            self.0.remove(&partition);
        }
        batch
    }

    /// Puts a batch before all others of a queue.
    pub(super) fn put_back(&mut self, partition: i32, batch: RecordBatch) {
        if !batch.is_empty() {
            self.0.entry(partition).or_default().push_front(batch);
        }
    }

    /// Makes two batches of the first one of a queue.
    pub(super) fn halve(&mut self, partition: i32) {
        let mut first = self.pass(partition);
        let second = first.split_off(first.len().div_ceil(2));
        self.put_back(partition, second);
        self.put_back(partition, first);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes everything out, as if all were taken; partition by partition.
    fn passed(mut queues: PartitionQueues) -> BTreeMap<i32, Vec<RecordBatch>> {
        let mut passed: BTreeMap<i32, Vec<RecordBatch>> = BTreeMap::new();
        let next = |queues: &PartitionQueues| queues.first().map(|(partition, _)| partition).next();
        while let Some(partition) = next(&queues) {
            passed.entry(partition).or_default().push(queues.pass(partition));
        }
        assert!(queues.is_empty());
        passed
    }

    #[test]
    fn a_batch_ends_where_it_would_be_too_large() {
        let sizes = [30, 30, 60, 1, 200, 1];
        let queues = PartitionQueues::of(sizes.into_iter().enumerate().map(|(n, size)| (n, 0, size)), 100);
        assert_eq!(passed(queues)[&0], [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
    }

    #[test]
    fn halves_stay_in_order() {
        let mut queues = PartitionQueues::of((0..5).map(|n| (n, 7, 1)), 3);
        queues.halve(7);
        assert_eq!(passed(queues)[&7], [vec![0, 1], vec![2], vec![3, 4]]);
        let mut one = PartitionQueues::of([(9, 7, 1)].into_iter(), 3);
        one.halve(7);
        assert_eq!(passed(one)[&7], [vec![9]]);
    }

    proptest! {
        #[test]
        fn every_event_is_in_its_queue_once_and_in_order(
            events in prop::collection::vec((0..5_i32, 1..200_usize), 0..100),
            most in 1..500_usize,
            halved in prop::collection::vec(0..5_i32, 0..10),
        ) {
            let places = events.iter().enumerate().map(|(n, (partition, size))| (n, *partition, *size));
            let mut queues = PartitionQueues::of(places.clone(), most);
            halved.iter().for_each(|partition| queues.halve(*partition));
            let passed = passed(queues);
            for partition in 0..5 {
                let own = places.clone().filter(|(_, p, _)| *p == partition);
                let expected: Vec<usize> = own.map(|(n, ..)| n).collect();
                let found: Vec<usize> = passed.get(&partition).into_iter().flatten().flatten().copied().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
