//! The data directory, which belongs to one process at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use crate::store::{StoreError, StoreFault};

/// A data directory held by this process. The lock goes with the value, and with the process however it ends.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if needed and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let refused = |what: &str, error: std::io::Error| {
            StoreError::Refused(StoreFault::because(format_args!("{what} in {}", path.display()), error))
        };
        fs::create_dir_all(path).map_err(|error| refused("cannot make the data directory", error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("keyward.lock"))
            .map_err(|error| refused("cannot open keyward.lock", error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(in_use(path)),
            Err(TryLockError::Error(error)) => Err(refused("cannot lock keyward.lock", error)),
        }
    }

    /// The path of the database file in it.
    pub(super) fn database(&self) -> PathBuf {
        database(&self.path)
    }
}

fn in_use(path: &Path) -> StoreError {
    let what = format!(
        "the data directory {} is in use by another keyward process; \
         stop it, give this one another directory, or let both use Redis",
        path.display()
    );
    StoreError::Refused(what.into())
}

/// The path of the database file in a data directory.
pub(super) fn database(directory: &Path) -> PathBuf {
    directory.join("keyward.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_by_name_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let held = Directory::take(&path).unwrap();
        let error = Directory::take(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        drop(held);
        Directory::take(&path).unwrap();
    }
}
