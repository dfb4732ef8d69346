//! The embedded store as a [`Store`]. Charges are answered from memory, changes go to the writer, queries to a
//! reader off the executor's threads.

use std::sync::Arc;

use futures::{FutureExt, future};
use rusqlite::{Connection, OptionalExtension};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Backing, EmbeddedStore,
    changes::{self, Effects},
    core::Task,
    documents, log, sinks,
    sqlite::{decode_profile, failed},
    standings, usage,
};
use crate::domain::{
    Millis,
    event::Event,
    observation::{Charge, Observation},
    profile::Profile,
    quota::{Counter, Lease, QuotaChange, QuotaCount},
    subject::Subject,
    usage::{UsageBatch, UsageQuery, UsageTable},
};
use crate::store::{
    Changed, Claim, DeadLetter, DeadLetterAct, Document, EventQuery, LogPage, LogPosition, Page, Refund,
    Respond, Responded, Revision, SinkHealth, SinkLead, SinkRecord, SinkStep, StandingRecord, Stepped, Store,
    StoreError, StoreResult,
};

impl EmbeddedStore {
    /// Runs `work` in a transaction; the answer comes after the commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Effects) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task::new(work, reply));
        match &self.backing {
            Backing::File { writer, .. } => writer.submit(job),
            Backing::Memory(core) => core.lock().run(vec![job]),
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer has ended".to_owned())))
    }

    /// Runs a query where it may block; right here when there is no executor to disturb.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = match &self.backing {
            Backing::Memory(core) => return query(core.lock().connection()),
            Backing::File { readers, .. } => Arc::clone(readers),
        };
        let Ok(executor) = Handle::try_current() else { return readers.query(query) };
        let answer = executor.spawn_blocking(move || readers.query(query)).await;
        answer.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }

    async fn load_profile(&self, subject: &Subject) -> Result<Option<Profile>, StoreError> {
        if matches!(self.backing, Backing::Memory(_)) {
            return Ok(None);
        }
        let subject = subject.clone();
        self.read(move |connection| {
            let sql = "SELECT profile FROM profiles WHERE subject = ?";
            let blob: Option<Vec<u8>> = connection
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    statement.query_row([subject.as_str()], |row| row.get(0)).optional()
                })
                .map_err(failed)?;
            blob.map(|blob| decode_profile(&blob)).transpose()
        })
        .await
    }
}

impl Store for EmbeddedStore {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        let observe = |charge: &Charge| {
            let counters = &self.memory.counters;
            if charge.quotas.is_empty() && charge.lease.is_none() {
                counters.observe(charge)
            } else {
                self.memory.quotas.observe(charge, counters)
            }
        };
        future::lazy(move |_| Ok(charges.iter().map(observe).collect())).boxed()
    }

    fn change_quotas<'a>(&'a self, changes: &'a [QuotaChange], now: Millis) -> StoreResult<'a, ()> {
        future::lazy(move |_| {
            self.memory.quotas.change(changes, now);
            Ok(())
        })
        .boxed()
    }

    fn quotas<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<QuotaCount>> {
        future::lazy(move |_| Ok(self.memory.quotas.used(counters, now))).boxed()
    }

    fn take_lease<'a>(&'a self, _key: &'a Subject, id: &'a str) -> StoreResult<'a, Option<Lease>> {
        future::lazy(move |_| Ok(self.memory.quotas.take_lease(id))).boxed()
    }

    fn ended_leases(&self, now: Millis, limit: usize) -> StoreResult<'_, Vec<Lease>> {
        future::lazy(move |_| Ok(self.memory.quotas.ended(now, limit))).boxed()
    }

    fn end_lease<'a>(&'a self, lease: &'a Lease, _now: Millis) -> StoreResult<'a, bool> {
        // Both in one breath of this process: a crash between them forgets the same snapshot of either.
        future::lazy(move |_| {
            let taken = self.memory.quotas.take_lease(&lease.id);
            if let Some(lease) = &taken {
                let refund = Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None };
                self.memory.counters.apply(&lease.subject(), None, &[refund]);
            }
            Ok(taken.is_some())
        })
        .boxed()
    }

    fn respond<'a>(&'a self, respond: &'a Respond) -> StoreResult<'a, Responded> {
        self.memory.tell(respond.now);
        let respond = respond.clone();
        self.write(move |connection, effects| changes::respond(connection, respond, effects)).boxed()
    }

    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>> {
        let subject = subject.clone();
        self.read(move |connection| standings::find(connection, &subject)).boxed()
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        future::lazy(move |_| Ok(self.memory.counters.inspect(subject, now))).boxed()
    }

    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>> {
        self.read(move |connection| standings::in_force(connection, now)).boxed()
    }

    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize> {
        async move {
            self.memory.tell(now);
            if let Backing::Memory(core) = &self.backing {
                core.lock().sweep(now)?;
            }
            if !self.memory.something_ended(now) {
                return Ok(0);
            }
            self.write(move |connection, effects| changes::expire_bans(connection, now, effects)).await
        }
        .boxed()
    }

    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>> {
        let events = events.to_vec();
        self.write(move |connection, effects| changes::append(connection, events, effects)).boxed()
    }

    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>> {
        let query = query.clone();
        self.read(move |connection| log::list(connection, &query)).boxed()
    }

    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>> {
        let id = id.to_owned();
        self.read(move |connection| log::find(connection, &id)).boxed()
    }

    fn log_end(&self) -> StoreResult<'_, LogPosition> {
        future::lazy(|_| Ok(log::position(self.memory.log_end()))).boxed()
    }

    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition> {
        let (id, end) = (id.to_owned(), self.memory.log_end());
        self.read(move |connection| log::after(connection, &id, end)).boxed()
    }

    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage> {
        async move {
            let end = self.memory.log_end();
            let seq = log::seq_of(position, end)?;
            if seq == end {
                return Ok(LogPage { events: Vec::new(), next: log::position(seq), gap: false });
            }
            self.read(move |connection| log::follow(connection, seq, limit)).await
        }
        .boxed()
    }

    fn advance(&self, _position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        log::behind(id)
    }

    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>> {
        let (sink, owner) = (sink.to_owned(), owner.to_owned());
        self.write(move |connection, _| sinks::lead(connection, &sink, &owner, now, until)).boxed()
    }

    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>> {
        let (sink, health) = (sink.to_owned(), health.clone());
        self.write(move |connection, _| sinks::renew(connection, &sink, epoch, until, &health)).boxed()
    }

    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()> {
        let (sink, owner) = (sink.to_owned(), owner.to_owned());
        self.write(move |connection, _| sinks::leave(connection, &sink, &owner)).boxed()
    }

    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped> {
        let step = step.clone();
        self.write(move |connection, _| sinks::step(connection, &step)).boxed()
    }

    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>> {
        let sink = sink.to_owned();
        self.read(move |connection| sinks::record(connection, &sink)).boxed()
    }

    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>> {
        let sink = sink.to_owned();
        self.read(move |connection| sinks::letters(connection, &sink)).boxed()
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize> {
        let (sink, ids) = (sink.to_owned(), ids.to_vec());
        self.write(move |connection, _| sinks::act(connection, &sink, act, &ids)).boxed()
    }

    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>> {
        async move {
            let mark = match self.memory.profiles.get(subject) {
                Ok(profile) => return Ok(Some(profile)),
                Err(mark) => mark,
            };
            let loaded = self.load_profile(subject).await?;
            if let Some(profile) = &loaded {
                self.memory.profiles.keep_loaded(subject, mark, profile);
            }
            Ok(loaded)
        }
        .boxed()
    }

    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile> {
        async move {
            loop {
                let mark = match self.memory.profiles.merge(subject, delta) {
                    Ok(merged) => return Ok(merged),
                    Err(mark) => mark,
                };
                let loaded = self.load_profile(subject).await?;
                if let Some(merged) = self.memory.profiles.merge_loaded(subject, mark, loaded, delta) {
                    return Ok(merged);
                }
            }
        }
        .boxed()
    }

    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()> {
        let (subject, event) = (subject.clone(), event.clone());
        self.write(move |connection, effects| changes::forget(connection, subject, event, effects)).boxed()
    }

    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)> {
        self.read(documents::all).boxed()
    }

    fn documents_revision(&self) -> StoreResult<'_, Revision> {
        future::lazy(|_| Ok(documents::unmarked(self.memory.revision()))).boxed()
    }

    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>> {
        self.read(move |connection| documents::since(connection, known)).boxed()
    }

    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool> {
        let (document, event) = (document.clone(), event.clone());
        self.write(move |connection, effects| changes::write_document(connection, &document, event, effects))
            .boxed()
    }

    fn claim<'a>(&'a self, request: &'a str, now: Millis) -> StoreResult<'a, Claim> {
        future::lazy(move |_| Ok(self.memory.claims.claim(request, now))).boxed()
    }

    fn finish_claim<'a>(&'a self, request: &'a str, answer: &'a [u8], now: Millis) -> StoreResult<'a, ()> {
        future::lazy(move |_| {
            self.memory.claims.finish(request, answer, now);
            Ok(())
        })
        .boxed()
    }

    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>> {
        let (name, fingerprint) = (name.to_owned(), fingerprint.to_owned());
        self.write(move |connection, _| changes::register_pepper(connection, &name, &fingerprint)).boxed()
    }

    fn add_usage<'a>(&'a self, batch: &'a UsageBatch) -> StoreResult<'a, ()> {
        let (batch, keep) = (batch.clone(), self.keep);
        self.write(move |connection, _| usage::add(connection, &batch, keep)).boxed()
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> StoreResult<'a, UsageTable> {
        let (query, keep) = (query.clone(), self.keep);
        self.read(move |connection| usage::read(connection, &query, keep)).boxed()
    }

    fn clock(&self) -> StoreResult<'_, Option<Millis>> {
        future::ready(Ok(None)).boxed()
    }

    fn ping(&self) -> StoreResult<'_, ()> {
        let running = match &self.backing {
            Backing::File { writer, .. } => writer.is_running(),
            Backing::Memory(_) => true,
        };
        let answer =
            if running { Ok(()) } else { Err(StoreError::Unavailable("the store is closed".to_owned())) };
        future::ready(answer).boxed()
    }

    fn close(&self) -> StoreResult<'_, ()> {
        async move {
            match &self.backing {
                Backing::File { writer, .. } => writer.close().await,
                Backing::Memory(_) => Ok(()),
            }
        }
        .boxed()
    }
}
