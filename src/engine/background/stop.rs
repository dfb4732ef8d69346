//! The end of the upkeep: what is in memory goes to the store, or, where the store takes it not, to a journal in the
//! data directory that the next start reads.

use std::{fs, io, path::Path, time::Duration};

use super::{
    journal::Leftovers,
    stopped::{Stopped, take},
    upkeep::Upkeep,
};
use crate::{
    clock,
    engine::{kept_file, options::DataDirectory},
    store::{StoreError, patient},
};

/// How long a stop waits for a store that does not answer.
const WAIT: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(200);
/// The folder of journals in the data directory.
const FOLDER: &str = "journal";

impl Upkeep {
    /// Writes what is in memory, for as long as it may take; else leaves a journal.
    pub(super) async fn finish(&self) -> Stopped {
        let until = clock::instant() + WAIT;
        let error = loop {
            let error = match self.write_what_is_left().await {
                Ok(()) => return self.close().await,
                Err(error) => error,
            };
            if clock::instant() >= until {
                break error;
            }
            clock::sleep(AGAIN).await;
        };
        self.leave(&error).await
    }

    async fn write_what_is_left(&self) -> Result<(), StoreError> {
        self.probe().await?;
        self.write_all().await?;
        self.profiles.flush(&*self.shared.store, self.shared.now()).await.map(drop)
    }

    /// Writes all but profiles. Stops at the first error; what is not written is kept.
    pub(super) async fn write_all(&self) -> Result<(), StoreError> {
        self.deferred.charge(self.shared.now()).await?;
        self.reconciler.settle(self.shared.now()).await?;
        self.book.flush(&*self.shared.store, self.shared.now()).await?;
        self.shared.write_events().await
    }

    async fn close(&self) -> Stopped {
        self.drop_journals();
        match patient(self.shared.store.close()).await {
            Ok(()) => Stopped::Stored,
            Err(error) => Stopped::Lost(error.to_string()),
        }
    }

    async fn leave(&self, error: &StoreError) -> Stopped {
        let left = self.gather().await;
        if left.is_empty() {
            return self.close().await;
        }
        let Some(directory) = &self.directory else { return Stopped::Lost(error.to_string()) };
        let path = directory.path.join(FOLDER).join(format!("{}.jsonl", self.book.instance()));
        let (bytes, lost) = left.write(&directory.store);
        // Blocks, and nothing else goes on any more.
        if let Err(failed) = write(&path, &bytes) {
            return Stopped::Lost(format!("{error}; {}: {failed}", path.display()));
        }
        // All that they held is in the new one.
        self.drop_journals();
        match lost {
            0 => Stopped::Journaled(path),
            lost => Stopped::Lost(format!("{error}; the journal {} lacks {lost} entries", path.display())),
        }
    }

    /// All that the store lacks, taken.
    async fn gather(&self) -> Leftovers {
        let now = self.shared.now();
        let reports = self.deferred.leave(now);
        let (standings, debts) = self.reconciler.leave(now).await;
        Leftovers {
            standings,
            debts,
            usage: self.book.leave(now).await,
            reports,
            events: self.shared.outbox.take(now),
            profiles: self.profiles.leave(),
        }
    }

    /// Reads the journals of former runs over this store. What they hold is known here at once, and goes to the store
    /// when it can. Those for another store stay where they are.
    pub(in crate::engine) async fn take_journals(&self) {
        let Some(DataDirectory { path: directory, store, .. }) = &self.directory else { return };
        if let Err(error) = fs::create_dir_all(directory) {
            let path = directory.display();
            return tracing::error!(%path, %error, "nothing can be kept on this machine when the store does not answer");
        }
        let Ok(entries) = fs::read_dir(directory.join(FOLDER)) else { return };
        let paths = entries.flatten().map(|entry| entry.path());
        for path in paths.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")) {
            match take(&path, store) {
                Ok(Some((journal, left))) => {
                    tracing::warn!(path = %path.display(), "what a former run could not write is written now");
                    self.take_over(left).await;
                    self.journals.lock().push(journal);
                }
                Ok(None) => {}
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, %error, "a journal of a former run is not taken; it is left there");
                }
            }
        }
    }

    /// Writes to the store the standings that journals held, before it is compared with what is known here.
    pub(in crate::engine) async fn assert_journals(&self) -> Result<(), StoreError> {
        self.reconciler.assert_standings(self.shared.now()).await
    }

    async fn take_over(&self, left: Leftovers) {
        let now = self.shared.now();
        for (subject, standing, detail) in left.standings {
            self.bans.set(&subject, &standing, now);
            self.fallback.owe_standing(&subject, standing, detail);
        }
        self.reconciler.take_over(left.debts).await;
        self.book.take_over(left.usage).await;
        self.deferred.take_over(left.reports);
        self.shared.outbox.put_back(left.events);
        self.profiles.take_over(left.profiles);
    }

    /// Writes to the store what journals held, and removes them once it has all.
    pub(super) async fn settle_journals(&self) -> Result<(), StoreError> {
        if self.journals.lock().is_empty() {
            return Ok(());
        }
        self.write_all().await?;
        self.profiles.flush(&*self.shared.store, self.shared.now()).await?;
        self.drop_journals();
        Ok(())
    }

    fn drop_journals(&self) {
        for journal in self.journals.lock().drain(..) {
            journal.remove();
        }
    }
}

/// Writes a journal. Its folder is made, and no other: a data directory that is gone stays so.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::create_dir(folder)?;
    }
    kept_file::replace(path, bytes)
}
