//! What was written over a connection and is not confirmed: the end of the stream, kept to be written again.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

/// The most bytes that are kept. By Linux's defaults at most 6 MiB wait in the receiver's buffers, and ours are small.
pub const MOST: usize = 8 * 1024 * 1024;
/// How long a receiver may need for what it has read, until it is kept.
pub const DIGESTION: Duration = Duration::from_secs(2);
/// A batch is written again so often at most: a receiver that never ends connections in order must not make us repeat
/// ourselves for ever.
const MOST_REPEATS: u8 = 3;

/// A batch as it was written.
struct Written {
    frames: Bytes,
    at: Instant,
    repeats: u8,
}

/// The end of the stream, oldest first.
#[derive(Default)]
pub struct Tail {
    batches: VecDeque<Written>,
    bytes: usize,
}

impl Tail {
    /// Nothing waits to be confirmed.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How much waits.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A batch was written. The oldest give way, never the newest.
    pub fn push(&mut self, frames: Bytes, at: Instant) {
        self.bytes += frames.len();
        self.batches.push_back(Written { frames, at, repeats: 0 });
        while self.bytes > MOST && self.batches.len() > 1 {
            self.drop_oldest();
        }
    }

    /// All of it is confirmed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The other side has read all of it; what it read lately it may not have kept.
    pub fn read_by(&mut self, now: Instant) {
        while self.batches.front().is_some_and(|oldest| now - oldest.at > DIGESTION) {
            self.drop_oldest();
        }
    }

    /// What must be written again.
    pub fn repeat(&self) -> VecDeque<Bytes> {
        self.batches.iter().map(|batch| batch.frames.clone()).collect()
    }

    /// All of it was written again.
    pub fn repeated(&mut self, now: Instant) {
        for batch in &mut self.batches {
            batch.at = now;
            batch.repeats += 1;
        }
        let worn = |batch: &Written| batch.repeats >= MOST_REPEATS;
        self.batches.retain(|batch| !worn(batch));
        self.bytes = self.batches.iter().map(|batch| batch.frames.len()).sum();
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= oldest.frames.len();
        }
    }
}
