//! How a run of the service ended, and journals that former runs left.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::journal::Leftovers;

/// What became of what was in memory when the service stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The store has all of it.
    Stored,
    /// A journal has what the store lacks; the next start writes it to the store.
    Journaled(PathBuf),
    /// Some of it is lost; why.
    Lost(String),
}

/// A journal of a former run that this process alone applies. The lock goes with the value.
#[derive(Debug)]
pub(in crate::engine) struct Journal {
    path: PathBuf,
    _lock: File,
}

impl Journal {
    /// Removes it: the store has all that it held.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::error!(path = %self.path.display(), %error, "a journal that is done cannot be removed");
        }
    }
}

/// Takes a journal for this process and store; `None` where another process has it.
pub(super) fn take(path: &Path, store: &str) -> io::Result<Option<(Journal, Leftovers)>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Who had it before has removed it meanwhile.
    if !path.exists() {
        return Ok(None);
    }
    let left = Leftovers::read(&bytes, store)
        .map_err(|unread| io::Error::new(io::ErrorKind::InvalidData, unread))?;
    Ok(Some((Journal { path: path.to_owned(), _lock: file }, left)))
}
