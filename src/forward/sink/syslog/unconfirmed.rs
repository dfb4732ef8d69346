//! What was written over a connection and is not confirmed, kept to be written again.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use crate::clock::Instant;

/// The most bytes that are kept. By Linux's defaults at most 6 MiB wait in the receiver's buffers, and ours are small.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a receiver may need for what it has read, until it is kept.
pub(super) const RECEIVER_GRACE: Duration = Duration::from_secs(2);
/// How often a batch is written again at most: a receiver that never ends connections in order must not make us repeat
/// ourselves for ever.
const MAX_RETRANSMITS: u8 = 3;

/// A batch of frames as it was written.
struct WrittenBatch {
    frames: Bytes,
    at: Instant,
    retransmits: u8,
}

/// The batches that are not confirmed, oldest first.
#[derive(Default)]
pub(super) struct UnconfirmedWrites {
    batches: VecDeque<WrittenBatch>,
    bytes: usize,
}

impl UnconfirmedWrites {
    /// Whether nothing waits to be confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many bytes wait to be confirmed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a batch that was written. The oldest give way, never the newest.
    pub(super) fn push(&mut self, frames: Bytes, at: Instant) {
        self.bytes += frames.len();
        self.batches.push_back(WrittenBatch { frames, at, retransmits: 0 });
        while self.bytes > MAX_BYTES && self.batches.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Forgets everything: all of it is confirmed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what the other side has certainly kept, since it has read everything. What it read lately it may not
    /// have kept.
    pub(super) fn received_until(&mut self, now: Instant) {
        while self.batches.front().is_some_and(|oldest| now - oldest.at > RECEIVER_GRACE) {
            self.drop_oldest();
        }
    }

    /// The batches that must be written again, oldest first.
    pub(super) fn to_retransmit(&self) -> VecDeque<Bytes> {
        self.batches.iter().map(|batch| batch.frames.clone()).collect()
    }

    /// Notes that all of it was written again.
    pub(super) fn retransmitted(&mut self, now: Instant) {
        for batch in &mut self.batches {
            batch.at = now;
            batch.retransmits += 1;
        }
        let worn = |batch: &WrittenBatch| batch.retransmits >= MAX_RETRANSMITS;
        self.batches.retain(|batch| !worn(batch));
        self.bytes = self.batches.iter().map(|batch| batch.frames.len()).sum();
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= oldest.frames.len();
        }
    }
}
