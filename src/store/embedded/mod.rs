//! The embedded store: counts in memory, keeps in SQLite, in this process alone.
//!
//! [`Counters`] is the hot path and never waits. Standings, events and documents are committed by the writer
//! before they are acknowledged; windows and profiles are written in snapshots, so a crash loses at most
//! [`EmbeddedOptions::snapshot_seconds`] of them. The store reads no clock: what is old is judged by the latest
//! time that callers named.

mod claim_rows;
mod claims;
mod control;
mod core;
mod counters;
mod directory;
mod document_rows;
mod documents;
mod effects;
mod event_rows;
mod events;
mod ledger_rows;
mod memory;
mod options;
mod presence;
mod profiles;
mod readers;
mod reservations;
mod sinks;
mod sqlite;
mod standing_rows;
mod standings;
mod usage;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::{runtime::Handle, sync::oneshot};

pub use memory::{Counters, Ledger};
pub use options::EmbeddedOptions;
pub use sqlite::LAYOUT;

use self::{
    core::{Core, Task},
    directory::Directory,
    effects::Effects,
    memory::Memory,
    presence::Presence,
    readers::{Readers, Size},
    writer::Writer,
};
use crate::{
    domain::usage::Keep,
    store::{StoreError, StoreFault},
};

/// The layout of the database in a directory, which is not changed; `None` when there is no database yet.
///
/// # Errors
/// When the file cannot be read.
pub fn layout(directory: &Path) -> Result<Option<u32>, StoreError> {
    let path = directory::database(directory);
    if path.exists() { sqlite::layout_of(&path).map(Some) } else { Ok(None) }
}

/// Every role of a [`Store`](super::Store), in the process.
pub struct EmbeddedStore {
    memory: Arc<Memory>,
    backing: Backing,
    keep: Keep,
}

/// Where the store's database is, and who works on it.
enum Backing {
    /// In a file: a thread writes, a pool reads.
    File { writer: Writer, readers: Arc<Readers>, presence: Presence },
    /// In memory: quick enough to be worked on by whoever calls.
    Memory(Mutex<Core>),
}

impl EmbeddedStore {
    /// Opens `keyward.db` in a directory, which is made if needed and belongs to this process from then on.
    /// Blocks while it reads; to be called before requests are served.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when another process has the directory or it cannot be written;
    /// [`StoreError::Incompatible`] when the file is not of this version.
    pub fn open(directory: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let directory = Directory::take(directory)?;
        let path = directory.database();
        let connection = sqlite::open_writer(&path)?;
        let presence = Presence::of(&path)?;
        let counters = Counters::tracking_changes(options.max_subjects);
        let memory = Arc::new(Memory::new(&options, counters));
        let every = Duration::from_secs(options.snapshot_seconds.max(1));
        let keep = options.usage;
        let held = Some((directory, presence.clone()));
        let core = Core::new(connection, Arc::clone(&memory), options, held)?;
        let backing = Backing::File {
            writer: Writer::start(core, every)?,
            readers: Arc::new(Readers::new(path)),
            presence,
        };
        Ok(Self { memory, backing, keep })
    }

    /// A store of the same meaning that is gone with the process: for `replay` and tests. Profiles are never
    /// dropped to make room, as there is no disk to read them from again.
    ///
    /// # Errors
    /// When memory is out.
    pub fn in_memory(options: EmbeddedOptions) -> Result<Self, StoreError> {
        let connection = sqlite::open_in_memory()?;
        let memory = Arc::new(Memory::new(&options, Counters::new(options.max_subjects)));
        let keep = options.usage;
        let core = Core::new(connection, Arc::clone(&memory), options, None)?;
        Ok(Self { memory, backing: Backing::Memory(Mutex::new(core)), keep })
    }

    /// Runs `work` in a transaction; the answer comes after the commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task::new(work, reply));
        match &self.backing {
            Backing::File { writer, .. } => writer.submit(job),
            Backing::Memory(core) => core.lock().run(vec![job]),
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer has ended".into())))
    }

    /// Runs a query where it may block; right here when there is no executor to disturb.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_sized(Size::Large, query).await
    }

    /// The same in the turn of queries of that size.
    async fn read_sized<T: Send + 'static>(
        &self,
        size: Size,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = match &self.backing {
            Backing::Memory(core) => return query(core.lock().connection()),
            Backing::File { readers, presence, .. } => {
                presence.check()?;
                Arc::clone(readers)
            }
        };
        let Ok(executor) = Handle::try_current() else { return readers.query(query) };
        // It goes on when the caller leaves, and its turn with it.
        let turn = readers.turn(size).await;
        let answer = executor.spawn_blocking(move || {
            let _turn = turn;
            readers.query(query)
        });
        answer.await.unwrap_or_else(|error| Err(StoreError::Unavailable(StoreFault::of(error))))
    }
}
