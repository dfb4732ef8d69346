//! Read-only connections for queries, made when they are needed and kept for the next.

use std::path::PathBuf;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::sqlite::open_reader;
use crate::store::StoreError;

/// Connections that are kept while nobody needs them.
const KEPT: usize = 4;

/// A pool of connections that cannot write.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the database at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
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
        if idle.len() < KEPT {
            idle.push(connection);
        }
        answer
    }
}
