//! The thread that owns the writing connection: what is queued is committed together, and between commits it
//! writes snapshots.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::core::{Core, Job};
use crate::{
    clock,
    store::{StoreError, StoreFault},
};

/// Changes that may wait. More than that means the disk does not keep up: callers are told so at once.
const QUEUE: usize = 8_192;
/// Changes in one transaction, so that the first does not wait for all.
const GROUP: usize = 256;
/// Counters of limits are written this often, apart from all else: a budget is the last thing that a crash may forget.
const COUNTERS: Duration = Duration::from_millis(250);
/// With very many of them less often, so that no more than this part of the thread's time goes into it.
const COUNTERS_SHARE: u32 = 20;

/// Between two snapshots of windows and profiles there is so many times what the former took, so that no more than this
/// part of the thread's time goes into them; but no more than `LONGEST`, which a crash may lose then.
const SNAPSHOT_SHARE: u32 = 10;
/// Between two snapshots there is no more than this, whatever they take.
const LONGEST: Duration = Duration::from_secs(20);

/// Whoever waits for the store to close.
type Closing = oneshot::Sender<Result<(), StoreError>>;

enum Message {
    Job(Box<dyn Job>),
    Close(Closing),
}

/// The way to the writer thread. Dropping it writes what is in memory and waits for the thread to end.
pub(super) struct Writer {
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread; it writes snapshots `every` so often.
    pub(super) fn start(core: Core, every: Duration) -> Result<Self, StoreError> {
        let (queue, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("keyward-writer".to_owned())
            .spawn(move || run(core, &messages, every))
            .map_err(|error| {
                StoreError::Refused(StoreFault::because("cannot start the writer thread", error))
            })?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job, or says why it cannot be.
    pub(super) fn submit(&self, job: Box<dyn Job>) {
        if let Err((Message::Job(job), error)) = self.send(Message::Job(job)) {
            job.done(Err(error));
        }
    }

    /// Writes all that is in memory and ends the thread. Again: does nothing.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        match self.send(Message::Close(done)) {
            Ok(()) => {
                let saved = closed.await.unwrap_or_else(|_| Err(gone()));
                self.join();
                saved
            }
            Err((_, error)) if self.is_running() => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// Whether the thread takes jobs.
    pub(super) fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits for the end of the thread, which must be on its way there.
    fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A panic in the thread has been reported there; there is nobody left to tell here.
            drop(thread.join());
        }
    }

    fn send(&self, message: Message) -> Result<(), (Message, StoreError)> {
        let Some(queue) = &self.queue else { return Err((message, gone())) };
        queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => {
                (message, StoreError::Unavailable("the disk does not keep up".into()))
            }
            TrySendError::Disconnected(message) => (message, gone()),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        self.join();
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

fn run(mut core: Core, messages: &Receiver<Message>, every: Duration) {
    let mut due = clock::instant() + every;
    let mut snapshot = Duration::ZERO;
    let mut counters_due = clock::instant() + COUNTERS;
    let close = loop {
        let next = due.min(counters_due);
        let wait = if core.has_backlog() {
            Duration::ZERO
        } else {
            next.saturating_duration_since(clock::instant())
        };
        match messages.recv_timeout(wait) {
            Ok(first) => {
                let (jobs, close) = group(first, messages);
                core.run(jobs);
                if close.is_some() {
                    break close;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break None,
        }
        let began = clock::instant();
        if began >= counters_due {
            core.save_counters();
            counters_due = clock::instant() + COUNTERS.max(began.elapsed() * COUNTERS_SHARE);
        }
        if core.has_backlog() {
            if let Err(error) = core.save_some() {
                tracing::warn!(%error, "windows and profiles could not be written; they stay in memory");
            }
            snapshot += began.elapsed();
            due = due.max(clock::instant() + rest(snapshot, every));
        } else if clock::instant() >= due {
            core.tick();
            snapshot = began.elapsed();
            due = clock::instant() + rest(snapshot, every);
        }
    };
    let saved = core.save_all();
    if let Err(error) = &saved {
        tracing::warn!(%error, "windows and profiles could not be written before the end");
    }
    // The directory is free before anybody hears that the store is closed.
    drop(core);
    if let Some(close) = close {
        drop(close.send(saved));
    }
}

/// How long there is no snapshot after one that took so long.
fn rest(snapshot: Duration, every: Duration) -> Duration {
    (snapshot * SNAPSHOT_SHARE).min(LONGEST).max(every)
}

/// The jobs that wait behind `first`, up to a group, and the call to close if one is among them.
fn group(first: Message, messages: &Receiver<Message>) -> (Vec<Box<dyn Job>>, Option<Closing>) {
    let mut jobs = Vec::new();
    for message in std::iter::once(first).chain(messages.try_iter()) {
        match message {
            Message::Job(job) => jobs.push(job),
            Message::Close(done) => return (jobs, Some(done)),
        }
        if jobs.len() >= GROUP {
            break;
        }
    }
    (jobs, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_take_long_are_made_less_often_but_not_for_ever() {
        let every = Duration::from_secs(2);
        let after = |millis| rest(Duration::from_millis(millis), every);
        assert_eq!((after(1), after(200)), (every, every));
        assert_eq!((after(700), after(5_000)), (Duration::from_secs(7), LONGEST));
        assert_eq!(rest(Duration::from_secs(5), LONGEST * 2), LONGEST * 2, "as it is set");
    }
}
