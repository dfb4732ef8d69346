//! What happens in the background, off the hot path: following the log, writing events, flushing profiles, ending
//! bans, following the store's clock, finding the store back.

use std::{sync::Arc, time::Duration};

use metrics::Histogram;
use tokio_util::sync::CancellationToken;

use super::alerts;
use crate::{
    clock,
    domain::{
        Millis,
        event::{Event, EventType},
        standing::{Standing, StandingDetail},
        subject::Subject,
    },
    engine::{Engine, events},
    store::{LogPage, LogPosition, Respond, Responded, StoreError, patient},
};

/// The rhythm of the background.
const TICK: Duration = Duration::from_millis(200);
/// Usage is added to the store this often: what a killed process loses of it.
const USAGE_TICK: Duration = Duration::from_millis(400);
/// Profiles are flushed and bans ended every this many ticks: 1 s.
const SECOND_TICKS: u64 = 5;
/// The store's clock is read every this many ticks: 10 s.
const CLOCK_TICKS: u64 = 50;
/// Bans are read anew every this many ticks, so that any instance re-asserts what a store has lost: 30 s.
const RELOAD_TICKS: u64 = 150;
/// Alert rules are looked at this often.
const ALERT_TICK: Duration = Duration::from_secs(2);
/// Sums by key and model are read so many times less long than they are left alone: at most a twentieth of the time.
const REST: u32 = 19;
/// Events read from the log at a time.
const LOG_PAGE: usize = 1_000;
/// What a probe of a lost store may take.
const PROBE: Duration = Duration::from_millis(500);
/// Events written at a time.
const APPEND_PAGE: usize = 500;

impl Engine {
    /// Runs until `shutdown`, then writes what is left.
    pub async fn upkeep(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(
            self.tend_until(&shutdown),
            self.add_usage_until(&shutdown),
            self.tell_answers_until(&shutdown),
            self.watch_until(&shutdown)
        );
        self.outbox.end_folds();
        self.finish().await;
    }

    async fn tend_until(&self, shutdown: &CancellationToken) {
        let mut ticks = clock::ticks(TICK);
        let mut position = self.begin.clone();
        for tick in 0_u64.. {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => self.tick(tick, &mut position).await,
            }
        }
    }

    /// Apart from all else, so that nothing slow holds it up.
    async fn add_usage_until(&self, shutdown: &CancellationToken) {
        let mut ticks = clock::ticks(USAGE_TICK);
        let mut flushed_at = self.now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let now = self.now();
            if self.breaker.open_since().is_none() {
                match self.flush_usage(now).await {
                    Ok(()) => flushed_at = now,
                    Err(error) => tracing::warn!(%error, "usage could not be added to the store; it is kept"),
                }
            }
            metrics::gauge!("keyward_usage_lag_seconds").set((now - flushed_at) as f64 / 1000.0);
        }
    }

    /// Answers for retries on other instances, as they come.
    async fn tell_answers_until(&self, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.answers.news() => {}
            }
            if self.breaker.open_since().is_none()
                && let Err(error) = self.write_answers(self.now()).await
            {
                tracing::debug!(%error, "answers could not be kept for retries on other instances");
            }
        }
    }

    /// What is spent: alert rules, and each key's days. Apart from all else too: it may read much.
    async fn watch_until(&self, shutdown: &CancellationToken) {
        let mut ticks = clock::ticks_after(ALERT_TICK, ALERT_TICK);
        let mut rested = clock::instant();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if self.breaker.open_since().is_some() {
                continue;
            }
            let mut watched = vec![self.watch_rules(&alerts::FEW, self.now()).await];
            let began = clock::instant();
            if began >= rested {
                watched.push(self.watch_rules(&alerts::MANY, self.now()).await);
                rested = clock::instant() + began.elapsed() * REST;
            }
            watched.push(self.watch_spend(self.now()).await);
            for error in watched.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "usage could not be held against rules; it is tried again");
            }
        }
    }

    async fn tick(&self, tick: u64, position: &mut LogPosition) {
        let done = if self.breaker.open_since().is_some() {
            self.find_store_back().await
        } else {
            self.tend(tick, position).await
        };
        if let Err(error) = done {
            self.store_failed(&error, self.now());
        }
        if tick.is_multiple_of(SECOND_TICKS) {
            let now = self.now();
            self.bans.prune(now);
            self.fallback.sweep(now);
            metrics::gauge!("keyward_bans_held").set(self.bans.len() as f64);
            metrics::gauge!("keyward_events_waiting").set(self.outbox.waiting() as f64);
        }
    }

    async fn tend(&self, tick: u64, position: &mut LogPosition) -> Result<(), StoreError> {
        self.follow_log(position).await?;
        self.write_events().await?;
        self.count_deferred(self.now()).await?;
        patient(self.refresh_documents_if_changed()).await?;
        if tick.is_multiple_of(CLOCK_TICKS) {
            self.follow_clock().await?;
        }
        // At once for those that were made here, so that nothing is held past its lease.
        if self.reservations.may_end(self.now()) || tick.is_multiple_of(SECOND_TICKS) {
            patient(self.end_reservations(self.now())).await?;
        }
        if tick.is_multiple_of(SECOND_TICKS) {
            // Also without an outage: a single trip that failed, or one that ended while the store came back.
            self.settle(self.now()).await?;
            patient(self.profiles.flush(&*self.store)).await?;
            let ended = patient(self.store.expire_bans(self.now())).await?;
            self.metrics.events_written.increment(ended as u64);
        }
        if tick > 0 && tick.is_multiple_of(RELOAD_TICKS) {
            self.reload_bans(self.now()).await?;
        }
        Ok(())
    }

    /// Reads what came into the log, tells the followers, and takes over bans that others made or lifted.
    async fn follow_log(&self, position: &mut LogPosition) -> Result<(), StoreError> {
        loop {
            let LogPage { events, next, .. } =
                measured(self.store.read_log(position, LOG_PAGE), &self.metrics.read_log).await?;
            // A page that is not full may still not be all: one partition may have more than its share of a page.
            let is_all = events.is_empty();
            for event in &events {
                self.take_over(event).await?;
            }
            *position = next;
            if !is_all {
                self.news.send_modify(|count| *count = count.wrapping_add(1));
            }
            for event in events {
                let _ = self.followers.send(Arc::new(event));
            }
            if is_all {
                return Ok(());
            }
        }
    }

    async fn take_over(&self, event: &Event) -> Result<(), StoreError> {
        let changes = matches!(
            event.kind,
            EventType::TemporaryBan
                | EventType::PermanentBan
                | EventType::BanLifted
                | EventType::SubjectForgotten
        );
        let (true, Some(subject)) = (changes, &event.subject) else { return Ok(()) };
        let held = self.bans.version(subject);
        let stored = patient(self.store.standing(subject)).await?.map(|record| record.standing);
        self.bans.replace(subject, held, &stored.unwrap_or_default(), self.now());
        if event.kind == EventType::SubjectForgotten {
            self.profiles.forget(subject);
        }
        Ok(())
    }

    async fn write_events(&self) -> Result<(), StoreError> {
        let events = self.outbox.take(self.now());
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (page, later) = rest.split_at(rest.len().min(APPEND_PAGE));
            if let Err(error) = measured(self.store.append(page), &self.metrics.append).await {
                self.outbox.put_back(rest.to_vec());
                return Err(error);
            }
            self.metrics.events_written.increment(page.len() as u64);
            rest = later;
        }
        Ok(())
    }

    async fn follow_clock(&self) -> Result<(), StoreError> {
        let asked = clock::instant();
        match patient(self.store.clock()).await? {
            Some(time) => self.clock.follow(time, asked.elapsed()),
            None => self.clock.catch_up(),
        }
        Ok(())
    }

    /// Reads every ban in force. Those that the store has lost (a failover, a restart without its last second) are
    /// written again.
    pub(in crate::engine) async fn reload_bans(&self, now: Millis) -> Result<(), StoreError> {
        let records = patient(self.store.standings_in_force(now)).await?;
        let stored: Vec<(Subject, Standing)> = records.into_iter().map(|r| (r.subject, r.standing)).collect();
        for (subject, standing) in self.bans.reload(&stored, now) {
            match patient(self.store.standing(&subject)).await? {
                // A later version without a ban is a person's word, not a loss.
                Some(record) if record.standing.version >= standing.version => {
                    self.bans.replace(&subject, Some(standing.version), &record.standing, now);
                }
                _ => {
                    let detail = StandingDetail {
                        reason: "re-asserted: the store had lost it".to_owned(),
                        ..StandingDetail::default()
                    };
                    self.assert_standing(&subject, standing, detail, now).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes a ban that is in force here and unknown to the store, unless the store holds one that is. One that was
    /// only observed is none in place of one that is enforced.
    async fn assert_standing(
        &self,
        subject: &Subject,
        known: Standing,
        detail: StandingDetail,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut current =
            patient(self.store.standing(subject)).await?.map_or_else(Standing::default, |r| r.standing);
        while known.is_banned_at(now) && !current.counting(known.unenforced).is_banned_at(now) {
            let standing = Standing { version: current.version + 1, ..known };
            let respond = Respond {
                subject: subject.clone(),
                now,
                standing: Some((standing, detail.clone())),
                refunds: Vec::new(),
                events: Vec::new(),
            };
            match patient(self.store.respond(&respond)).await? {
                Responded::Done(_) => current = standing,
                Responded::Conflict(other) => current = other,
            }
        }
        self.bans.replace(subject, Some(known.version), &current, now);
        Ok(())
    }

    /// Probes a lost store; when it answers, tells it what happened meanwhile.
    async fn find_store_back(&self) -> Result<(), StoreError> {
        let found = matches!(clock::timeout(PROBE, self.store.ping()).await, Ok(Ok(())));
        if !found {
            return Ok(());
        }
        self.follow_clock().await?;
        let now = self.now();
        let reconciled = self.settle(now).await?;
        self.reload_bans(now).await?;
        patient(self.refresh_documents_if_changed()).await?;
        // A store that reads but takes no writes is not back.
        self.write_events().await?;
        if let Some(since) = self.breaker.close() {
            tracing::info!("the store answers again");
            metrics::gauge!("keyward_degraded").set(0.0);
            self.outbox.push(events::recovered(since, reconciled, now));
        }
        Ok(())
    }

    /// Tells the store what was decided and admitted without it; says of how many subjects there was usage.
    async fn settle(&self, now: Millis) -> Result<usize, StoreError> {
        let mut standings = self.fallback.take_standings().into_iter();
        while let Some((subject, standing, detail)) = standings.next() {
            if let Err(error) = self.assert_standing(&subject, standing, detail.clone(), now).await {
                self.fallback.owe_standing(&subject, standing, detail);
                standings.for_each(|(subject, s, detail)| self.fallback.owe_standing(&subject, s, detail));
                return Err(error);
            }
        }
        let changes = self.fallback.take_counters();
        for (done, page) in changes.chunks(APPEND_PAGE).enumerate() {
            if let Err(error) = patient(self.store.change_counters(page, now)).await {
                self.fallback.owe_changes(&changes[done * APPEND_PAGE..]);
                return Err(error);
            }
        }
        let usage = self.fallback.take_usage(now);
        for (done, page) in usage.chunks(APPEND_PAGE).enumerate() {
            if let Err(error) = patient(self.store.observe(page)).await {
                usage[done * APPEND_PAGE..]
                    .iter()
                    .for_each(|c| self.fallback.owe_usage(&c.subject, &c.counts));
                return Err(error);
            }
        }
        Ok(usage.len())
    }

    /// Writes what is still in memory, once, before the process ends.
    async fn finish(&self) {
        let written = async {
            let deferred = self.count_deferred(self.now()).await;
            let counted = self.flush_usage(self.now()).await;
            self.write_events().await?;
            deferred?;
            counted?;
            self.profiles.flush(&*self.store).await?;
            self.store.close().await
        };
        if let Err(error) = patient(written).await {
            tracing::error!(%error, "the last usage, events and profiles could not be written");
        }
    }
}

/// Bounds a background call, and notes how long it took, answered or not.
pub(super) async fn measured<T>(
    call: impl Future<Output = Result<T, StoreError>>,
    took: &Histogram,
) -> Result<T, StoreError> {
    let asked = clock::instant();
    let answer = patient(call).await;
    took.record(asked.elapsed());
    answer
}
