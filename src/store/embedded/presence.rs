//! Whether the database is still the file that was opened: one that was removed goes on taking writes that nobody will
//! ever read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::store::{DataGone, StoreError, StoreFault};

/// A file, and which one it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    path: PathBuf,
    opened: Identity,
}

/// Device and number of a file.
type Identity = (u64, u64);

impl Presence {
    /// The file that is there now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let because = |error| StoreError::Refused(StoreFault::because(path.display(), error));
        Ok(Self { path: path.to_owned(), opened: identity(path).map_err(because)? })
    }

    /// Whether the same file is there. Asks the system, which takes about a microsecond.
    ///
    /// # Errors
    /// [`DataGone`] when it is not.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match identity(&self.path) {
            Ok(found) if found == self.opened => Ok(()),
            _ => Err(StoreError::Refused(StoreFault::of(DataGone { path: self.path.clone() }))),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|_| (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_removed_or_replaced_is_gone_and_one_that_is_put_back_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let (path, aside) = (directory.path().join("db"), directory.path().join("aside"));
        fs::write(&path, "a").unwrap();
        let presence = Presence::of(&path).unwrap();
        presence.check().unwrap();
        fs::rename(&path, &aside).unwrap();
        let error = presence.check().unwrap_err();
        assert_eq!(error.cause::<DataGone>().unwrap().path, path);
        fs::write(&path, "another").unwrap();
        assert!(presence.check().is_err());
        fs::rename(&aside, &path).unwrap();
        presence.check().unwrap();
    }
}
