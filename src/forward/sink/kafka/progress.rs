//! How far an attempt to send has come: what is left, what was refused, and what failed.

use std::collections::BTreeMap;

use super::{
    error_code::shown,
    partition_queues::{PartitionQueues, RecordBatch},
};
use crate::forward::{
    contract::SendReport,
    error::{SendError, SendErrorKind},
};

/// How far an attempt has come.
#[derive(Default)]
pub(super) struct Progress {
    /// The batches that are left.
    pub queues: PartitionQueues,
    /// Why the attempt ends.
    pub failed: Option<SendError>,
    refused: Vec<(usize, String)>,
    /// The partition and the offset of what was taken last.
    last: Option<(i32, i64)>,
}

impl Progress {
    /// Nothing has been sent yet.
    pub(super) fn new(queues: PartitionQueues) -> Self {
        Self { queues, ..Self::default() }
    }

    /// Notes an error. One about settings is worth more than others: only it says what to correct.
    pub(super) fn fail(&mut self, error: SendError) {
        if self.failed.is_none() || error.kind == SendErrorKind::Denied {
            self.failed = Some(error);
        }
    }

    /// Takes a batch out of its queue that was taken; `offset` is that of its first record.
    pub(super) fn taken(&mut self, partition: i32, offset: i64) -> RecordBatch {
        let batch = self.queues.pass(partition);
        self.last = Some((partition, offset + batch.len() as i64 - 1));
        batch
    }

    /// Takes out of a queue what is refused for good. When it is not known which events that is, makes smaller
    /// batches, and says so.
    pub(super) fn refuse(
        &mut self,
        partition: i32,
        record_errors: &[(i32, Option<String>)],
        why: &str,
    ) -> bool {
        let batch = self.queues.pass(partition);
        let refused: BTreeMap<usize, String> = match batch.as_slice() {
            [_] => BTreeMap::from([(0, why.to_owned())]),
            _ => record_errors
                .iter()
                .filter_map(|(n, message)| {
                    let n = usize::try_from(*n).ok().filter(|n| *n < batch.len())?;
                    let message = message.as_deref().map(shown).filter(|message| !message.is_empty());
                    Some((n, message.map_or_else(|| why.to_owned(), |message| format!("{why}: {message}"))))
                })
                .collect(),
        };
        let rest = (0..batch.len()).filter(|n| !refused.contains_key(n)).map(|n| batch[n]).collect();
        let is_unknown = refused.is_empty();
        self.refused.extend(refused.into_iter().map(|(n, why)| (batch[n], why)));
        self.queues.put_back(partition, rest);
        if is_unknown {
            self.queues.halve(partition);
        }
        is_unknown
    }

    /// What became of all events, when nothing is left.
    pub(super) fn report(self, topic: &str) -> SendReport {
        let answer = match self.last {
            Some((partition, offset)) => format!(
                "{topic} has it on all replicas in sync, the last in partition {partition} at offset {offset}"
            ),
            None => "nothing was left to be sent".to_owned(),
        };
        SendReport { refused: self.refused, answer }
    }
}
