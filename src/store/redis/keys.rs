//! The names of everything in Redis. A script gets whole keys from here and never makes one.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use crate::domain::{stable_hash, subject::Subject, window::WINDOW_COUNT};

/// Version of the layout of keys and of what is in them; a new one lives beside the old one.
pub const LAYOUT: u32 = 1;

/// Makes keys under one namespace, for a keyspace of so many partitions.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    partitions: AtomicU16,
}

/// The keys of one subject.
pub(super) struct SubjectKeys {
    /// Packed standing, windows and peers.
    pub state: String,
    /// Closed buckets of each window, shortest first: sorted sets.
    pub windows: [String; WINDOW_COUNT],
    /// Detail of the standing, JSON.
    pub detail: String,
    /// The packed profile, behind its version.
    pub profile: String,
}

impl Keys {
    /// Keys under `namespace`; at least one partition.
    pub(super) fn new(namespace: &str, partitions: u16) -> Self {
        Self { prefix: format!("{namespace}:{LAYOUT}"), partitions: AtomicU16::new(partitions.max(1)) }
    }

    /// Takes over the number of partitions that the keyspace really has, before anything else is asked for.
    pub(super) fn adopt_partitions(&self, partitions: u16) {
        self.partitions.store(partitions.max(1), Relaxed);
    }

    /// How many partitions there are.
    pub(super) fn partitions(&self) -> u16 {
        self.partitions.load(Relaxed)
    }

    /// The partition of what belongs to `subject`; what belongs to nobody is in partition 0.
    pub(super) fn partition(&self, subject: Option<&Subject>) -> u16 {
        subject.map_or(0, |s| s.partition(self.partitions()))
    }

    /// Facts about the keyspace (layout, partitions, peppers): a hash.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    /// Scratch keys by which rights are tried: a string, a hash, a set, a sorted set and a stream.
    pub(super) fn scratch(&self) -> [String; 5] {
        ["string", "hash", "set", "sorted", "stream"]
            .map(|kind| self.in_partition(0, &format!("rights:{kind}")))
    }

    /// The keys of one subject, all in the slot of its partition.
    pub(super) fn subject(&self, subject: &Subject) -> SubjectKeys {
        let base = self.in_partition(self.partition(Some(subject)), "");
        SubjectKeys {
            state: format!("{base}s:{subject}"),
            windows: std::array::from_fn(|w| format!("{base}w{w}:{subject}")),
            detail: format!("{base}d:{subject}"),
            profile: format!("{base}p:{subject}"),
        }
    }

    /// Only the state of a subject.
    pub(super) fn state(&self, subject: &Subject) -> String {
        let base = self.in_partition(self.partition(Some(subject)), "");
        format!("{base}s:{subject}")
    }

    /// The standings in force in a partition.
    pub(super) fn in_force(&self, partition: u16) -> String {
        self.in_partition(partition, "in_force")
    }

    /// The subjects of a partition that have a profile, by when they were last seen.
    pub(super) fn seen(&self, partition: u16) -> String {
        self.in_partition(partition, "seen")
    }

    /// The subjects of a partition whose profiles others are to look at, by when that was.
    pub(super) fn profile_news(&self, partition: u16) -> String {
        self.in_partition(partition, "profile_news")
    }

    /// The event stream of a partition.
    pub(super) fn events(&self, partition: u16) -> String {
        self.in_partition(partition, "events")
    }

    /// The documents: beside the stream of partition 0, so that one script writes both.
    pub(super) fn documents(&self) -> String {
        self.in_partition(0, "documents")
    }

    /// What changed in the documents, beside them.
    pub(super) fn document_changes(&self) -> String {
        self.in_partition(0, "document_changes")
    }

    /// A roll-up of usage in a partition, by its name such as `m:28333333`.
    pub(super) fn usage(&self, partition: u16, name: &str) -> String {
        self.in_partition(partition, &format!("usage:{name}"))
    }

    /// The number of the last batch of an instance's debts that a partition has.
    pub(super) fn debts(&self, partition: u16, instance: &str) -> String {
        self.in_partition(partition, &format!("debts:{instance}"))
    }

    /// The claim of a piece of work.
    pub(super) fn claim(&self, name: &str) -> String {
        let partition = (stable_hash(name.as_bytes()) % u64::from(self.partitions())) as u16;
        self.in_partition(partition, &format!("claim:{name}"))
    }

    /// The claim of a request of a subject, in the slot of its partition.
    pub(super) fn request_claim(&self, subject: &Subject, claim: u128) -> String {
        self.in_partition(self.partition(Some(subject)), &format!("claim:{claim:032x}"))
    }

    /// The mark of what a charge has done in another slot than that of its key.
    pub(super) fn charge_mark(&self, partition: u16, claim: u128, attempt: u64) -> String {
        self.in_partition(partition, &format!("claim:{claim:032x}:{attempt}"))
    }

    /// A counter of a scope.
    pub(super) fn counter(&self, partition: u16, scope: &str, id: u64) -> String {
        self.in_partition(partition, &format!("q{id:016x}:{scope}"))
    }

    /// The reservations of a partition.
    pub(super) fn reservations(&self, partition: u16) -> String {
        self.in_partition(partition, "reservations")
    }

    /// Their ids, by the moment of their end.
    pub(super) fn reservation_ends(&self, partition: u16) -> String {
        self.in_partition(partition, "reservation_ends")
    }

    /// A sink, its dead letters, and which of them are to be sent again.
    pub(super) fn sink(&self, name: &str) -> [String; 3] {
        let partition = (stable_hash(name.as_bytes()) % u64::from(self.partitions())) as u16;
        ["", ":dead", ":again"].map(|part| self.in_partition(partition, &format!("sink:{name}{part}")))
    }

    fn in_partition(&self, partition: u16, name: &str) -> String {
        format!("{}:{{{partition}}}:{name}", self.prefix)
    }
}

/// Indices with the partition of each, as groups: one of each partition, in which indices keep their order.
pub(super) fn by_partition<T>(placed: impl Iterator<Item = (u16, T)>) -> BTreeMap<u16, Vec<T>> {
    let mut groups = BTreeMap::<u16, Vec<T>>::new();
    for (partition, one) in placed {
        groups.entry(partition).or_default().push(one);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_subject_has_one_hash_tag() {
        let keys = Keys::new("kw", 8);
        let subject = Subject::key("k1:abc");
        let tag = format!("kw:1:{{{}}}:", subject.partition(8));
        let of = keys.subject(&subject);
        let all = [&of.state, &of.detail, &of.profile].into_iter().chain(&of.windows);
        assert!(all.into_iter().all(|key| key.starts_with(&tag)));
        assert!(keys.events(subject.partition(8)).starts_with(&tag));
        assert_eq!(keys.state(&subject), of.state);
    }
}
