//! Read-only connections for queries, made when they are needed and kept for the next. There are few: who asks for more
//! at once waits for their turn, so that neither threads nor memory grow with the number of those who ask.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sqlite::open_reader;
use crate::store::StoreError;

/// Queries of people and streams that run at once: some read much.
const LARGE: usize = 4;
/// Queries that requests wait for and that run at once, beside the others.
const SMALL: usize = 4;
/// Queries of the service itself that run at once, beside both.
const OWN: usize = 4;

/// A pool of connections that cannot write.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// How much a query reads, and who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Any number of rows.
    Large,
    /// A row by its key, which a request may wait for.
    Small,
    /// What the service reads to go on: what came into the log, changed documents, bans in force.
    Own,
}

impl Readers {
    /// Readers of the database at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        let turns = |at_once| Arc::new(Semaphore::new(at_once));
        Self { path, idle: Mutex::default(), large: turns(LARGE), small: turns(SMALL), own: turns(OWN) }
    }

    /// Waits for the turn of a query, first come, first served; its turn is over when this is dropped.
    pub(super) async fn turn(&self, size: Size) -> Option<OwnedSemaphorePermit> {
        let turns = match size {
            Size::Large => &self.large,
            Size::Small => &self.small,
            Size::Own => &self.own,
        };
        // It is never closed.
        turns.clone().acquire_owned().await.ok()
    }

    /// Runs a query. Blocks: not for the threads of an executor.
    pub(super) fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let connection = idle.map_or_else(|| open_reader(&self.path), Ok)?;
        let answer = query(&connection);
        let mut idle = self.idle.lock();
        if idle.len() < LARGE + SMALL + OWN {
            idle.push(connection);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use futures::FutureExt;

    use super::*;
    use crate::{
        domain::{
            event::{Event, EventType},
            finding::Severity,
        },
        store::{
            DocumentStore, EventLog, EventWriter, LogPosition, Revision, StandingLookup,
            embedded::{Backing, EmbeddedOptions, EmbeddedStore},
        },
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_streams_and_lists_share_few_threads() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reads = (0..100).map(|_| {
            let (at_once, most) = (at_once.clone(), most.clone());
            store.read(move |_| {
                most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                (0..200).for_each(|_| std::thread::yield_now());
                at_once.fetch_sub(1, SeqCst);
                Ok(())
            })
        });
        assert!(futures::future::join_all(reads).await.iter().all(Result::is_ok));
        assert!(most.load(SeqCst) <= LARGE, "{most:?}");
    }

    #[tokio::test]
    async fn a_query_whose_caller_has_left_keeps_its_turn_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
        let Backing::File { readers, .. } = &store.backing else { panic!("it is in a file") };
        let (begun, begins) = mpsc::channel();
        let begin = |_| {
            let ((end, ended), begun) = (mpsc::channel::<()>(), begun.clone());
            let read = store.read(move |_| {
                begun.send(()).unwrap();
                // Until the other end is gone.
                let _ = ended.recv();
                Ok(())
            });
            // The caller leaves.
            assert!(read.now_or_never().is_none());
            end
        };
        let ends: Vec<_> = (0..LARGE).map(begin).collect();
        (0..LARGE).for_each(|_| begins.recv().unwrap());
        assert_eq!(readers.large.available_permits(), 0);
        drop(ends);
        assert!(store.read(|_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn what_requests_and_the_service_wait_for_does_not_stand_behind_large_queries() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
        let Backing::File { readers, .. } = &store.backing else { panic!("it is in a file") };
        let large = futures::future::join_all((0..LARGE).map(|_| readers.turn(Size::Large))).await;
        assert!(store.read_sized(Size::Small, |_| Ok(())).await.is_ok());
        let event = Event::new(1, EventType::Throttled, Severity::Low, None);
        assert_eq!(store.append(&[event]).await.map(drop).ok(), Some(()));
        assert!(store.read_log(&LogPosition::default(), 10).await.is_ok());
        assert!(store.documents_since(Revision::default()).await.is_ok());
        assert!(store.standings_in_force(0).await.is_ok());
        drop(large);
    }
}
