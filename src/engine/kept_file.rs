//! Small files that outlive the process, beside the store: written whole or not at all, readable by their owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Puts a file in place of the one before, if any. When this returns, the disk has it; while it fails, the one before
/// stands.
///
/// # Errors
/// When the file cannot be written. A directory that is not there is not made: it may be one that was taken away.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let next = path.with_extension("next");
    let mut file = owners_alone().create(true).truncate(true).write(true).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&next, path)?;
    // The name is on the disk only when the directory is.
    File::open(directory)?.sync_all()
}

#[cfg(unix)]
fn owners_alone() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn owners_alone() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        for text in ["one", "another"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_but_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        replace(&path, b"text").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        assert!(replace(&gone.join("kept.jsonl"), b"text").is_err());
        assert!(!gone.exists());
    }
}
