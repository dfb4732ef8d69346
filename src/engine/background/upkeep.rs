//! What happens in the background, off the hot path: following the log, writing events, flushing profiles, ending
//! bans, following the store's clock, finding the store back.

use std::{sync::Arc, time::Duration};

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
    engine::{Engine, events, shared::measured},
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
/// Charges and changes of counters written at a time.
const OWED_PAGE: usize = 500;

impl Engine {
    /// Runs until `shutdown`, then writes what is left.
    pub async fn upkeep(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(
            self.tend_until(&shutdown),
            self.add_usage_until(&shutdown),
            self.tell_answers_until(&shutdown),
            self.watch_until(&shutdown)
        );
        self.shared.outbox.end_folds();
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
        let mut flushed_at = self.shared.now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let now = self.shared.now();
            if self.shared.is_answering() {
                if let Err(error) = self.count_deferred(now).await {
                    tracing::warn!(%error, "reports of refused keys could not be counted; they are kept");
                }
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
            if self.shared.is_answering()
                && let Err(error) = self.write_answers(self.shared.now()).await
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
            if !self.shared.is_answering() {
                continue;
            }
            let mut watched = vec![self.watch_rules(&alerts::FEW, self.shared.now()).await];
            let began = clock::instant();
            if began >= rested {
                watched.push(self.watch_rules(&alerts::MANY, self.shared.now()).await);
                rested = clock::instant() + began.elapsed() * REST;
            }
            watched.push(self.watch_spend(self.shared.now()).await);
            for error in watched.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "usage could not be held against rules; it is tried again");
            }
        }
    }

    async fn tick(&self, tick: u64, position: &mut LogPosition) {
        let done = if !self.shared.is_answering() {
            self.find_store_back().await
        } else {
            self.tend(tick, position).await
        };
        if let Err(error) = done {
            self.shared.store_failed(&error, self.shared.now());
        }
        if tick.is_multiple_of(SECOND_TICKS) {
            let now = self.shared.now();
            self.bans.prune(now);
            self.fallback.sweep(now);
            metrics::gauge!("keyward_bans_held").set(self.bans.len() as f64);
            metrics::gauge!("keyward_events_waiting").set(self.shared.outbox.waiting() as f64);
        }
    }

    async fn tend(&self, tick: u64, position: &mut LogPosition) -> Result<(), StoreError> {
        self.follow_log(position).await?;
        self.shared.write_events().await?;
        patient(self.in_force.refresh_if_changed()).await?;
        if tick.is_multiple_of(CLOCK_TICKS) {
            self.follow_clock().await?;
        }
        // At once for those that were made here, so that nothing is held past its lease.
        if self.reservations.may_end(self.shared.now()) || tick.is_multiple_of(SECOND_TICKS) {
            patient(self.end_reservations(self.shared.now())).await?;
        }
        if tick.is_multiple_of(SECOND_TICKS) {
            // Also without an outage: a single trip that failed, or one that ended while the store came back.
            self.settle(self.shared.now()).await?;
            patient(self.profiles.flush(&*self.shared.store)).await?;
            let ended = patient(self.shared.store.expire_bans(self.shared.now())).await?;
            self.shared.metrics.events_written.increment(ended as u64);
        }
        if tick > 0 && tick.is_multiple_of(RELOAD_TICKS) {
            self.reload_bans(self.shared.now()).await?;
        }
        Ok(())
    }

    /// Reads what came into the log, tells the followers, and takes over bans that others made or lifted.
    async fn follow_log(&self, position: &mut LogPosition) -> Result<(), StoreError> {
        loop {
            let LogPage { events, next, .. } =
                measured(self.shared.store.read_log(position, LOG_PAGE), &self.shared.metrics.read_log)
                    .await?;
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
        let stored = patient(self.shared.store.standing(subject)).await?.map(|record| record.standing);
        self.bans.replace(subject, held, &stored.unwrap_or_default(), self.shared.now());
        if event.kind == EventType::SubjectForgotten {
            self.profiles.forget(subject);
        }
        Ok(())
    }

    async fn follow_clock(&self) -> Result<(), StoreError> {
        let asked = clock::instant();
        match patient(self.shared.store.clock()).await? {
            Some(time) => self.shared.clock.follow(time, asked.elapsed()),
            None => self.shared.clock.catch_up(),
        }
        Ok(())
    }

    /// Reads every ban in force. Those that the store has lost (a failover, a restart without its last second) are
    /// written again.
    pub(in crate::engine) async fn reload_bans(&self, now: Millis) -> Result<(), StoreError> {
        let records = patient(self.shared.store.standings_in_force(now)).await?;
        let stored: Vec<(Subject, Standing)> = records.into_iter().map(|r| (r.subject, r.standing)).collect();
        for (subject, standing) in self.bans.reload(&stored, now) {
            match patient(self.shared.store.standing(&subject)).await? {
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
        let mut current = patient(self.shared.store.standing(subject))
            .await?
            .map_or_else(Standing::default, |r| r.standing);
        while known.is_banned_at(now) && !current.counting(known.unenforced).is_banned_at(now) {
            let standing = Standing { version: current.version + 1, ..known };
            let respond = Respond {
                subject: subject.clone(),
                now,
                standing: Some((standing, detail.clone())),
                refunds: Vec::new(),
                events: Vec::new(),
            };
            match patient(self.shared.store.respond(&respond)).await? {
                Responded::Done(_) => current = standing,
                Responded::Conflict(other) => current = other,
            }
        }
        self.bans.replace(subject, Some(known.version), &current, now);
        Ok(())
    }

    /// Probes a lost store; when it answers, tells it what happened meanwhile.
    async fn find_store_back(&self) -> Result<(), StoreError> {
        let found = matches!(clock::timeout(PROBE, self.shared.store.ping()).await, Ok(Ok(())));
        if !found {
            return Ok(());
        }
        self.follow_clock().await?;
        let now = self.shared.now();
        let reconciled = self.settle(now).await?;
        self.reload_bans(now).await?;
        patient(self.in_force.refresh_if_changed()).await?;
        // A store that reads but takes no writes is not back.
        self.shared.write_events().await?;
        if let Some(since) = self.shared.breaker.close() {
            tracing::info!("the store answers again");
            metrics::gauge!("keyward_degraded").set(0.0);
            self.shared.outbox.push(events::recovered(since, reconciled, now));
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
        for (done, page) in changes.chunks(OWED_PAGE).enumerate() {
            if let Err(error) = patient(self.shared.store.change_counters(page, now)).await {
                self.fallback.owe_changes(&changes[done * OWED_PAGE..]);
                return Err(error);
            }
        }
        let usage = self.fallback.take_usage(now);
        for (done, page) in usage.chunks(OWED_PAGE).enumerate() {
            if let Err(error) = patient(self.shared.store.observe(page)).await {
                usage[done * OWED_PAGE..].iter().for_each(|c| self.fallback.owe_usage(&c.subject, &c.counts));
                return Err(error);
            }
        }
        Ok(usage.len())
    }

    /// Writes what is still in memory, once, before the process ends.
    async fn finish(&self) {
        let written = async {
            let deferred = self.count_deferred(self.shared.now()).await;
            let counted = self.flush_usage(self.shared.now()).await;
            self.shared.write_events().await?;
            deferred?;
            counted?;
            self.profiles.flush(&*self.shared.store).await?;
            self.shared.store.close().await
        };
        if let Err(error) = patient(written).await {
            tracing::error!(%error, "the last usage, events and profiles could not be written");
        }
    }
}
