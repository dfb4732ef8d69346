//! The one place that writes to SQLite: transactions of jobs, snapshots, and forgetting what is old.
//!
//! Changes are atomic against concurrent charges without any lock being held over a commit: every change goes
//! through this one place in sequence, versions are compared inside the transaction, and memory learns the
//! outcome (standing and refunds of a subject in one step) after the commit. Until then charges see the old
//! standing, as they would have a moment earlier; a failed commit has nothing to take back.

use std::{collections::VecDeque, sync::Arc};

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{
    EmbeddedOptions,
    changes::{Effect, Effects},
    directory::Directory,
    documents, log,
    memory::Memory,
    quota_rows,
    sqlite::{decode, encode, encode_profile, failed},
    standings,
};
use crate::domain::{DAY, HOUR, Millis, subject::Subject};
use crate::store::StoreError;

/// Most rows of one table that are written or deleted in one go, so that nobody waits long for the writer.
const AT_ONCE: usize = 500;
/// Windows older than this are empty.
const IDLE: Millis = 25 * HOUR;

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
        let lost = || StoreError::Unavailable("the change was not made".to_owned());
        let outcome = committed.and_then(|()| outcome.unwrap_or_else(|| Err(lost())));
        // Whoever asked may have stopped waiting; what was committed stays committed.
        drop(reply.send(outcome));
    }
}

/// What waits to be written to a snapshot.
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
    _directory: Option<Directory>,
}

impl Core {
    /// A core over an open database; memory learns what the database holds.
    pub(super) fn new(
        connection: Connection,
        memory: Arc<Memory>,
        options: EmbeddedOptions,
        directory: Option<Directory>,
    ) -> Result<Self, StoreError> {
        let core = Self { connection, memory, options, backlog: VecDeque::new(), _directory: directory };
        core.load()?;
        Ok(core)
    }

    fn load(&self) -> Result<(), StoreError> {
        let sql =
            "SELECT subject, state FROM subjects WHERE last_now > (SELECT max(last_now) FROM subjects) - ?";
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
        quota_rows::load(&self.connection, &self.memory.quotas)?;
        for record in standings::all(&self.connection)? {
            self.memory.counters.apply(&record.subject, Some(record.standing), &[]);
        }
        self.memory.learn(vec![
            Effect::LogEnd(log::last_seq(&self.connection)?),
            Effect::Revision(documents::revision(&self.connection)?),
            Effect::NextEnd(standings::next_end(&self.connection)?.unwrap_or(Millis::MAX)),
        ]);
        Ok(())
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
        transaction.commit().map_err(failed)?;
        self.memory.learn(effects);
        Ok(())
    }

    /// Notes what has changed since the last tick, for [`Core::save_some`], and forgets what is old.
    pub(super) fn tick(&mut self) {
        self.memory.profiles.shrink();
        self.backlog.extend(self.memory.counters.take_dirty().into_iter().map(Unsaved::Windows));
        self.backlog.extend(self.memory.profiles.take_dirty().into_iter().map(Unsaved::Profile));
        let now = self.memory.latest();
        self.memory.quotas.sweep(now);
        let forgotten = self.delete_old(now).and_then(|()| self.sweep(now));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old entries could not be deleted");
        }
    }

    /// Writes the counters of limits, and reservations, that have changed.
    pub(super) fn save_counters(&mut self) {
        if let Err(error) = self.save_quotas() {
            tracing::warn!(%error, "counters of limits could not be written; they stay in memory");
        }
    }

    fn save_quotas(&mut self) -> Result<(), StoreError> {
        let unsaved = self.memory.quotas.take_dirty();
        if unsaved.counters.is_empty() && unsaved.leases.is_empty() {
            return Ok(());
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let saved = quota_rows::save(&transaction, &unsaved);
        let saved = saved.and_then(|()| transaction.commit().map_err(failed));
        if saved.is_err() {
            self.memory.quotas.wait_again(&unsaved);
        }
        saved
    }

    /// Whether [`Core::save_some`] has work.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Writes a bounded part of what waits. What cannot be written waits for the next tick; counting goes on.
    pub(super) fn save_some(&mut self) -> Result<(), StoreError> {
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
    pub(super) fn save_all(&mut self) -> Result<(), StoreError> {
        self.tick();
        self.save_counters();
        while self.has_backlog() {
            self.save_some()?;
        }
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)
    }

    /// Forgets idle subjects, when it is time; their standings go from the table in the same breath, before any
    /// other change, so memory and table never disagree about a version.
    pub(super) fn sweep(&mut self, now: Millis) -> Result<(), StoreError> {
        if !self.memory.sweep_is_due(now) {
            return Ok(());
        }
        let ended = self.memory.counters.sweep(now);
        let transaction = self.connection.transaction().map_err(failed)?;
        for subject in &ended {
            standings::delete(&transaction, subject)?;
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
        ] {
            let old = format!("SELECT {key} FROM {table} WHERE {age} < ? LIMIT {AT_ONCE}");
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

fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(failed)
}

fn save_windows(connection: &Connection, memory: &Memory, subject: &Subject) -> Result<(), StoreError> {
    let Some((last_now, saved)) = memory.counters.save(subject) else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO subjects (subject, last_now, state) VALUES (?, ?, ?)";
    let values = params![subject.as_str(), last_now, encode(&saved)?];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
}

fn save_profile(connection: &Connection, memory: &Memory, subject: &Subject) -> Result<(), StoreError> {
    let read = |profile: &crate::domain::profile::Profile| (profile.last_seen, encode_profile(profile));
    let Some((last_seen, blob)) = memory.profiles.save(subject, read) else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO profiles (subject, last_seen, profile) VALUES (?, ?, ?)";
    let values = params![subject.as_str(), last_seen.unwrap_or_default(), blob?];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::{Event, EventType},
        finding::Severity,
        observation::{Charge, ChargeMode},
        profile::Profile,
        standing::{Standing, StandingDetail, StandingState},
        window::{Counts, WindowLimits},
    };
    use crate::store::{
        Respond, Responded,
        embedded::{changes, counters::Counters, sqlite},
    };

    const START: Millis = 1_760_000_000_000;

    fn core() -> Core {
        let options = EmbeddedOptions { event_retention_days: 1, ..EmbeddedOptions::default() };
        let memory = Arc::new(Memory::new(&options, Counters::tracking_changes(100)));
        Core::new(sqlite::open_in_memory().unwrap(), memory, options, None).unwrap()
    }

    /// Makes the database as large as it may ever be.
    fn fill_disk(core: &Core) {
        let pages: u32 = core.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        core.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }

    fn free_disk(core: &Core) {
        core.connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    }

    fn subject() -> Subject {
        Subject::key("k1:1")
    }

    fn charge(now: Millis) -> Charge {
        Charge {
            subject: subject(),
            now,
            counts: Counts { requests: 1, ..Counts::default() },
            limits: WindowLimits::default(),
            mode: ChargeMode::Admit,
            peer: None,
            peer_capacity: 1,
            may_create: true,
            observing: false,
            quotas: Vec::new(),
            lease: None,
        }
    }

    fn ban(reason: &str) -> Respond {
        let standing =
            Standing { version: 1, state: StandingState::PermanentlyBanned, ..Standing::default() };
        let detail = StandingDetail { reason: reason.to_owned(), ..StandingDetail::default() };
        let standing = Some((standing, detail));
        Respond { subject: subject(), now: START, standing, refunds: vec![], events: vec![] }
    }

    type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

    fn task<T: Send + 'static>(
        work: impl FnOnce(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    ) -> (Box<dyn Job>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Task::new(work, reply)), answer)
    }

    fn append(core: &mut Core, event: Event) -> Result<Vec<Event>, StoreError> {
        let (job, mut answer) = task(move |c, effects| changes::append(c, vec![event], effects));
        core.run(vec![job]);
        answer.try_recv().unwrap()
    }

    fn event(time: Millis) -> Event {
        Event::new(time, EventType::Throttled, Severity::Low, None)
    }

    #[test]
    fn a_full_disk_refuses_the_change_and_counting_goes_on() {
        let mut core = core();
        core.memory.counters.observe(&charge(START));
        fill_disk(&core);
        let large = ban(&"x".repeat(100_000));
        let (job, mut answer) = task(move |c, effects| changes::respond(c, large, effects));
        core.run(vec![job]);
        assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::Refused(_))));
        let seen = core.memory.counters.observe(&charge(START));
        assert!(seen.admitted && seen.counts[0].requests == 2);
        free_disk(&core);
        let (job, mut answer) = task(move |c, effects| changes::respond(c, ban("now it fits"), effects));
        core.run(vec![job]);
        assert!(matches!(answer.try_recv().unwrap(), Ok(Responded::Done(_))));
        assert!(!core.memory.counters.observe(&charge(START)).admitted);
    }

    #[test]
    fn a_snapshot_that_failed_is_written_later() {
        let mut core = core();
        let profile = Profile { requests: 5, last_seen: Some(START), ..Profile::default() };
        for number in 0..200 {
            let subject = Subject::key(&format!("k1:{number}"));
            core.memory.counters.observe(&Charge { subject: subject.clone(), ..charge(START) });
            let mark = core.memory.profiles.get(&subject).unwrap_err();
            core.memory.profiles.merge_loaded(&subject, mark, None, &profile).unwrap();
        }
        fill_disk(&core);
        core.tick();
        assert!(core.save_some().is_err());
        assert!(!core.has_backlog());
        free_disk(&core);
        core.tick();
        while core.has_backlog() {
            core.save_some().unwrap();
        }
        for (table, expected) in [("subjects", 100), ("profiles", 200)] {
            let sql = format!("SELECT count(*) FROM {table}");
            let rows: i64 = core.connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(rows, expected, "{table}");
        }
    }

    #[test]
    fn one_job_that_fails_takes_no_other_with_it() {
        let mut core = core();
        let (good, mut first) = task(|c, effects| changes::append(c, vec![event(START)], effects));
        let (bad, mut second) = task(|c, effects| {
            changes::append(c, vec![event(START)], effects)?;
            Err::<(), _>(StoreError::BadCursor)
        });
        let (also_good, mut third) = task(|c, effects| changes::append(c, vec![event(START)], effects));
        core.run(vec![good, bad, also_good]);
        assert!(first.try_recv().unwrap().is_ok());
        assert!(matches!(second.try_recv().unwrap(), Err(StoreError::BadCursor)));
        let last = third.try_recv().unwrap().unwrap().remove(0);
        assert_eq!(log::follow(&core.connection, 0, 10).unwrap().events.len(), 2);
        assert_eq!(
            log::position(core.memory.log_end()),
            log::after(&core.connection, &last.id, i64::MAX).unwrap()
        );
    }

    #[test]
    fn old_events_go_and_their_numbers_are_not_given_again() {
        let mut core = core();
        append(&mut core, event(START)).unwrap();
        let second = append(&mut core, event(START + 1)).unwrap().remove(0);
        core.memory.tell(START + DAY + 1);
        core.tick();
        assert_eq!(log::follow(&core.connection, 0, 10).unwrap().events, std::slice::from_ref(&second));
        core.memory.tell(START + 3 * DAY);
        core.tick();
        assert!(log::find(&core.connection, &second.id).unwrap().is_none());
        let third = append(&mut core, event(START + 3 * DAY)).unwrap().remove(0);
        let position = log::after(&core.connection, &second.id, core.memory.log_end()).unwrap();
        let seq = log::seq_of(&position, core.memory.log_end()).unwrap();
        assert_eq!(log::follow(&core.connection, seq, 10).unwrap().events, [third]);
    }
}
