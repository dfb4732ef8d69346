//! Subjects in the order in which they were last seen: merged over the partitions, each of which keeps a sorted set.

use redis::Cmd;

use super::{RedisStore, keys::Keys};
use crate::{
    domain::{Millis, subject::Subject},
    store::{SeenSubject, StoreError},
};

/// The next `limit` subjects behind `after`, of all partitions.
pub(super) async fn page(
    store: &RedisStore,
    after: Option<&SeenSubject>,
    limit: usize,
) -> Result<Vec<SeenSubject>, StoreError> {
    let mut seen = Vec::new();
    let mut rounds: Vec<Round> = (0..store.keys.partitions()).map(Round::new).collect();
    while !rounds.is_empty() {
        let commands = rounds.iter().map(|round| vec![round.command(&store.keys, after, limit)]).collect();
        let replies = store.aside.send(commands).await?;
        let mut next = Vec::new();
        for (round, reply) in rounds.into_iter().zip(replies.into_iter().flatten()) {
            let entries: Vec<(String, f64)> = store.read(reply)?;
            next.extend(round.take(&entries, after, limit, &mut seen));
        }
        rounds = next;
    }
    seen.sort_by(|a, b| (b.last_seen, b.subject.as_str()).cmp(&(a.last_seen, a.subject.as_str())));
    seen.truncate(limit);
    Ok(seen)
}

/// What is read next of one partition.
struct Round {
    partition: u16,
    /// Entries that were read already: those that were seen in the very millisecond in which the page before ended.
    offset: usize,
}

impl Round {
    fn new(partition: u16) -> Self {
        Self { partition, offset: 0 }
    }

    fn command(&self, keys: &Keys, after: Option<&SeenSubject>, limit: usize) -> Cmd {
        let newest = after.map_or_else(|| "+inf".to_owned(), |seen| seen.last_seen.to_string());
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command.arg(keys.seen(self.partition)).arg(newest).arg("-inf").arg("WITHSCORES");
        command.arg("LIMIT").arg(self.offset).arg(limit);
        command
    }

    /// Keeps what is behind `after`. Returns the next round where nothing of a full answer was.
    fn take(
        self,
        entries: &[(String, f64)],
        after: Option<&SeenSubject>,
        limit: usize,
        seen: &mut Vec<SeenSubject>,
    ) -> Option<Self> {
        let before = seen.len();
        let read = entries.iter().filter_map(|(name, score)| {
            let subject = Subject::stored(name).ok()?;
            Some(SeenSubject { subject, last_seen: *score as Millis })
        });
        seen.extend(read.filter(|one| after.is_none_or(|after| after.precedes(one))));
        let is_short = seen.len() - before < limit && entries.len() == limit;
        is_short.then(|| Self { offset: self.offset + entries.len(), ..self })
    }
}
