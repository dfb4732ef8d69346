//! Files that may change under way, as they look from outside: whether there is something new to load.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What a look at files led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files are as they were when they were last looked at.
    Unchanged,
    /// Changed files are in force now.
    Reloaded,
    /// Changed files cannot be used; those before stay in force.
    Failed,
}

/// How files look, beside the last look and beside those in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As at the last look.
    Same,
    /// Again as those in force: a change was taken back.
    Back,
    /// As they have not looked before.
    New,
}

/// What a file looks like from outside; `None` when it cannot be seen.
type Fingerprint = Option<(SystemTime, u64)>;

/// Files as they were last looked at.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    in_force: Vec<Fingerprint>,
    looked_at: Vec<Fingerprint>,
}

impl Watch {
    /// Looks at files that are about to be loaded: before they are read, so that a change in between is seen as one.
    pub fn new(files: &[PathBuf]) -> Self {
        let seen = fingerprints(files);
        Self { files: files.to_vec(), in_force: seen.clone(), looked_at: seen }
    }

    /// The files that are looked at, in the order that was given.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Looks at the files again, and says how they look beside the last time and those in force.
    pub fn look(&mut self) -> Look {
        let seen = fingerprints(&self.files);
        if seen == self.looked_at {
            return Look::Same;
        }
        self.looked_at = seen;
        if self.looked_at == self.in_force { Look::Back } else { Look::New }
    }

    /// What was last looked at is in force now.
    pub fn taken(&mut self) {
        self.in_force.clone_from(&self.looked_at);
    }
}

fn fingerprints(files: &[PathBuf]) -> Vec<Fingerprint> {
    files.iter().map(|path| fingerprint(path)).collect()
}

fn fingerprint(path: &Path) -> Fingerprint {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
