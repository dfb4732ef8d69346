//! The one place that writes to SQLite: transactions of jobs. Snapshots of memory are in `snapshots`.
//!
//! Changes are atomic against concurrent charges without any lock being held over a commit: every change goes
//! through this one place in sequence, versions are compared inside the transaction, and memory learns the
//! outcome (standing and refunds of a subject in one step) after the commit. Until then charges see the old
//! standing, as they would have a moment earlier; a failed commit has nothing to take back.

mod snapshots;

use std::{collections::VecDeque, sync::Arc};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    directory::Directory, effects::Effects, memory::Memory, options::EmbeddedOptions, presence::Presence,
    sqlite::failed,
};
use crate::{domain::subject::Subject, store::StoreError};

/// Work inside a transaction, with somebody who waits for its outcome.
pub(super) trait Job: Send {
    /// Does the work. An error undoes this job alone.
    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> bool;
    /// Tells the outcome after the commit, or why there was none.
    fn done(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A [`Job`] made of a closure.
pub(super) struct Task<F, T> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Task<F, T> {
    /// A job that answers through `reply`.
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work: Some(work), outcome: None, reply }
    }
}

impl<F, T> Job for Task<F, T>
where
    F: FnOnce(&Connection, &mut Effects) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection, effects: &mut Effects) -> bool {
        self.outcome = self.work.take().map(|work| work(connection, effects));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn done(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, reply, .. } = *self;
        let lost = || StoreError::Unavailable("the change was not made".into());
        let outcome = committed.and_then(|()| outcome.unwrap_or_else(|| Err(lost())));
        // Whoever asked may have stopped waiting; what was committed stays committed.
        drop(reply.send(outcome));
    }
}

/// What of which subject waits to be written to a snapshot.
enum Unsaved {
    Windows(Subject),
    Profile(Subject),
}

/// The writing connection and what it keeps of memory.
pub(super) struct Core {
    connection: Connection,
    memory: Arc<Memory>,
    options: EmbeddedOptions,
    backlog: VecDeque<Unsaved>,
    /// Last, so that the directory is free only after the database is closed.
    held: Option<(Directory, Presence)>,
}

impl Core {
    /// A core over an open database; memory learns what the database holds.
    pub(super) fn new(
        connection: Connection,
        memory: Arc<Memory>,
        options: EmbeddedOptions,
        held: Option<(Directory, Presence)>,
    ) -> Result<Self, StoreError> {
        let core = Self { connection, memory, options, backlog: VecDeque::new(), held };
        core.load()?;
        Ok(core)
    }

    /// The connection, for queries of a store that has no file.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs jobs in one transaction and tells each its outcome.
    pub(super) fn run(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let committed = self.commit(&mut jobs);
        for job in jobs {
            job.done(committed.clone());
        }
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let mut effects = Effects::new();
        for job in jobs {
            let before = effects.len();
            step(&transaction, "SAVEPOINT job")?;
            if !job.run(&transaction, &mut effects) {
                effects.truncate(before);
                step(&transaction, "ROLLBACK TO job")?;
            }
            step(&transaction, "RELEASE job")?;
        }
        // What goes into a file that is gone is acknowledged to nobody.
        self.held.as_ref().map_or(Ok(()), |(_, presence)| presence.check())?;
        transaction.commit().map_err(failed)?;
        self.memory.learn(effects);
        Ok(())
    }
}

fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests;
