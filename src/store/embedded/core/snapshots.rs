//! What the writer keeps of memory: read at the start, written in snapshots, and forgotten when it is old.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Core, Unsaved};
use crate::{
    domain::{DAY, HOUR, Millis, subject::Subject},
    store::{
        StoreError,
        embedded::{
            claim_rows, document_rows,
            effects::Effect,
            event_rows, ledger_rows,
            memory::Memory,
            sqlite::{decode, encode, failed, profile_blob},
            standing_rows,
        },
    },
};

/// Most rows of one table that are written or deleted in one go, so that nobody waits long for the writer.
const AT_ONCE: usize = 500;
/// Windows older than this are empty.
const IDLE: Millis = 25 * HOUR;

impl Core {
    /// Tells memory what the database holds.
    pub(in crate::store::embedded) fn load(&self) -> Result<(), StoreError> {
        // The oldest first: where there is no room for all, they are the first to leave again.
        let sql = "SELECT subject, state FROM subjects WHERE last_now > (SELECT max(last_now) FROM subjects) - ? \
                   ORDER BY last_now";
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let rows = statement
            .query_map([IDLE], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(failed)?;
        for row in rows {
            let (subject, state) = row.map_err(failed)?;
            // A snapshot is a cache of a day at most: one that cannot be read is not worth refusing to start for.
            match (Subject::stored(&subject), decode(&state)) {
                (Ok(subject), Ok(saved)) => self.memory.counters.restore(subject, saved),
                (_, Err(error)) => tracing::warn!(subject, %error, "the windows of a subject are lost"),
                (Err(error), _) => tracing::warn!(subject, %error, "the windows of a subject are lost"),
            }
        }
        ledger_rows::load(&self.connection, &self.memory.ledger)?;
        self.memory.claims.restore(claim_rows::last(&self.connection, self.options.max_claims)?);
        for record in standing_rows::all(&self.connection)? {
            self.memory.counters.apply(&record.subject, Some(record.standing), &[]);
        }
        self.memory.learn(vec![
            Effect::LogEnd(event_rows::last_seq(&self.connection)?),
            Effect::Revision(document_rows::revision(&self.connection)?),
            Effect::NextEnd(standing_rows::next_end(&self.connection)?.unwrap_or(Millis::MAX)),
        ]);
        Ok(())
    }

    /// Notes what has changed since the last tick, for [`Core::save_some`], and forgets what is old.
    pub(in crate::store::embedded) fn tick(&mut self) {
        self.memory.profiles.shrink();
        self.backlog.extend(self.memory.counters.take_dirty().into_iter().map(Unsaved::Windows));
        self.backlog.extend(self.memory.profiles.take_dirty().into_iter().map(Unsaved::Profile));
        let now = self.memory.latest();
        self.memory.ledger.sweep(now);
        let forgotten = self.delete_old(now).and_then(|()| self.sweep(now));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old entries could not be deleted");
        }
    }

    /// Writes the counters of limits, and reservations, that have changed.
    pub(in crate::store::embedded) fn save_counters(&mut self) {
        if let Err(error) = self.save_ledger(AT_ONCE) {
            tracing::warn!(%error, "counters of limits could not be written; they stay in memory");
        }
    }

    /// With up to so many claims of requests.
    fn save_ledger(&mut self, claims: usize) -> Result<(), StoreError> {
        let unsaved = self.memory.ledger.take_dirty(&self.memory.claims, claims);
        if unsaved.counters.is_empty() && unsaved.reservations.is_empty() && unsaved.claims.is_empty() {
            return Ok(());
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let saved = ledger_rows::save(&transaction, &unsaved);
        let saved = saved.and_then(|()| claim_rows::save(&transaction, &unsaved.claims));
        let saved = saved.and_then(|()| transaction.commit().map_err(failed));
        if saved.is_err() {
            self.memory.ledger.wait_again(&unsaved);
            self.memory.claims.wait_again(&unsaved.claims);
        }
        saved
    }

    /// Whether [`Core::save_some`] has work.
    pub(in crate::store::embedded) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Writes a bounded part of what waits. What cannot be written waits for the next tick; counting goes on.
    pub(in crate::store::embedded) fn save_some(&mut self) -> Result<(), StoreError> {
        let count = self.backlog.len().min(AT_ONCE);
        let batch: Vec<_> = self.backlog.drain(..count).collect();
        let saved = self.save(&batch);
        if saved.is_err() {
            for unsaved in batch.iter().chain(&std::mem::take(&mut self.backlog)) {
                match unsaved {
                    Unsaved::Windows(subject) => self.memory.counters.wait_again(subject),
                    Unsaved::Profile(subject) => self.memory.profiles.wait_again(subject),
                }
            }
        }
        saved
    }

    fn save(&mut self, batch: &[Unsaved]) -> Result<(), StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for unsaved in batch {
            match unsaved {
                Unsaved::Windows(subject) => save_windows(&transaction, &self.memory, subject)?,
                Unsaved::Profile(subject) => save_profile(&transaction, &self.memory, subject)?,
            }
        }
        transaction.commit().map_err(failed)
    }

    /// Writes everything that waits and folds the log of SQLite into its file.
    pub(in crate::store::embedded) fn save_all(&mut self) -> Result<(), StoreError> {
        self.tick();
        let ledger = self.save_ledger(usize::MAX);
        while self.has_backlog() {
            self.save_some()?;
        }
        ledger?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)
    }

    /// Forgets idle subjects, when it is time; their standings go from the table in the same breath, before any
    /// other change, so memory and table never disagree about a version.
    pub(in crate::store::embedded) fn sweep(&mut self, now: Millis) -> Result<(), StoreError> {
        if !self.memory.sweep_is_due(now) {
            return Ok(());
        }
        let ended = self.memory.counters.sweep(now);
        let transaction = self.connection.transaction().map_err(failed)?;
        for subject in &ended {
            standing_rows::delete(&transaction, subject)?;
        }
        transaction.commit().map_err(failed)
    }

    fn delete_old(&self, now: Millis) -> Result<(), StoreError> {
        let before = |days: u32| now.saturating_sub(Millis::from(days).saturating_mul(DAY));
        let silent = before(self.options.profile_retention_days);
        for (table, key, age, cutoff) in [
            ("events", "seq", "time", before(self.options.event_retention_days)),
            ("profiles", "subject", "last_seen", silent),
            ("subjects", "subject", "last_now", now.saturating_sub(IDLE)),
            ("claims", "name", "ends", now),
        ] {
            // Claims come by the thousand in a second, and go as they came.
            let most = if table == "claims" { 40 * AT_ONCE } else { AT_ONCE };
            let old = format!("SELECT {key} FROM {table} WHERE {age} < ? LIMIT {most}");
            let sql = format!("DELETE FROM {table} WHERE {key} IN ({old})");
            let deleted =
                self.connection.prepare_cached(&sql).and_then(|mut s| s.execute([cutoff])).map_err(failed)?;
            if deleted > 0 && table == "profiles" {
                self.memory.profiles.remove_silent(silent);
            }
        }
        Ok(())
    }
}

fn save_windows(connection: &Connection, memory: &Memory, subject: &Subject) -> Result<(), StoreError> {
    let Some((last_now, saved)) = memory.counters.save(subject) else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO subjects (subject, last_now, state) VALUES (?, ?, ?)";
    let values = params![subject.as_str(), last_now, encode(&saved)?];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
}

fn save_profile(connection: &Connection, memory: &Memory, subject: &Subject) -> Result<(), StoreError> {
    let read = |packed: &[u8], last_seen| (last_seen, profile_blob(packed));
    let Some((last_seen, blob)) = memory.profiles.save(subject, read) else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO profiles (subject, last_seen, profile) VALUES (?, ?, ?)";
    let values = params![subject.as_str(), last_seen, blob];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
}
