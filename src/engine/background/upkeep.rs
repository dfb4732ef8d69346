//! When each part of the background is run, off the hot path; with it go flushing profiles, ending bans, following the
//! store's clock, and finding the store back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use tokio_util::sync::CancellationToken;

use super::{
    alerts::{self, AlertWatch},
    answers::AnswersForOthers,
    deferred_reports::DeferredReports,
    event_counts::EventCounts,
    known::KnownFile,
    log::LogFollower,
    reconcile::Reconciler,
    reservations::{self, Reservations},
    spend::SpendWatch,
    stopped::{Journal, Stopped},
    usage_book::UsageBook,
};
use crate::{
    clock,
    domain::Millis,
    engine::{
        bans::BanIndex, events, fallback::Fallback, in_force::InForce, options::DataDirectory,
        profiles::ProfileBook, shared::Shared, standings::Standings, upkeep_health::Work,
    },
    store::{DataGone, LogPosition, StoreError, patient},
};

/// The rhythm of the background.
const TICK: Duration = Duration::from_millis(200);
/// Usage is added to the store this often: what a killed process loses of it.
const USAGE_TICK: Duration = Duration::from_millis(400);
/// Profiles whose turn it is are flushed, and bans ended, every this many ticks: 1 s.
const SECOND_TICKS: u64 = 5;
/// The clock that is followed is read every this many ticks: 2 s.
const CLOCK_TICKS: u64 = 10;
/// Amounts of reservations whose instance is gone are counted every this many ticks: 5 s.
const CHARGED_TICKS: u64 = 25;
/// Bans are read anew every this many ticks, so that any instance re-asserts what a store has lost: 30 s.
const RELOAD_TICKS: u64 = 150;
/// Alert rules are looked at this often.
const ALERT_TICK: Duration = Duration::from_secs(2);
/// The log is read on for the counts of events this often.
const COUNT_TICK: Duration = Duration::from_secs(1);
/// Sums by key and model are read so many times less long than they are left alone: at most a twentieth of the time.
const REST: u32 = 19;
/// What a probe of a lost store may take.
const PROBE: Duration = Duration::from_millis(500);
/// Reasons why a lost store is not found back that are said, at most.
const MOST_REASONS: usize = 20;

/// Runs the background, each part in its own rhythm.
pub(in crate::engine) struct Upkeep {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) in_force: Arc<InForce>,
    pub(in crate::engine) bans: Arc<BanIndex>,
    pub(in crate::engine) standings: Arc<Standings>,
    pub(in crate::engine) profiles: Arc<ProfileBook>,
    pub(in crate::engine) fallback: Arc<Fallback>,
    pub(in crate::engine) log: LogFollower,
    pub(in crate::engine) book: Arc<UsageBook>,
    pub(in crate::engine) deferred: Arc<DeferredReports>,
    pub(in crate::engine) answers: Arc<AnswersForOthers>,
    pub(in crate::engine) reservations: Arc<Reservations>,
    pub(in crate::engine) reconciler: Reconciler,
    pub(in crate::engine) alerts: AlertWatch,
    pub(in crate::engine) event_counts: Arc<EventCounts>,
    pub(in crate::engine) spend: SpendWatch,
    pub(in crate::engine) known: KnownFile,
    /// The data directory, if there is one.
    pub(in crate::engine) directory: Option<DataDirectory>,
    /// Journals of former runs that the store does not have all of yet.
    pub(in crate::engine) journals: Mutex<Vec<Journal>>,
    /// Why a lost store was not found back, as far as that was said.
    pub(in crate::engine) away: Mutex<BTreeSet<String>>,
}

impl Upkeep {
    /// Runs until `shutdown`, then writes what is left.
    pub(in crate::engine) async fn run(&self, shutdown: &CancellationToken) -> Stopped {
        tokio::join!(
            self.tend_until(shutdown),
            self.add_usage_until(shutdown),
            self.tell_answers_until(shutdown),
            self.watch_until(shutdown),
            self.count_events_until(shutdown)
        );
        self.shared.outbox.end_folds();
        self.known.keep_last().await;
        self.finish().await
    }

    async fn tend_until(&self, shutdown: &CancellationToken) {
        let mut ticks = clock::ticks(TICK);
        let mut position = self.log.begin();
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
                self.shared.note_upkeep(Work::Reports, self.deferred.charge(now).await);
                let flushed = self.book.flush(&*self.shared.store, now).await;
                if self.shared.note_upkeep(Work::Usage, flushed).is_some() {
                    flushed_at = now;
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
                && let Err(error) = self.answers.write(self.shared.now()).await
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
            self.shared.note_upkeep(Work::Alerts, self.alerts.watch(&alerts::FEW, self.shared.now()).await);
            let began = clock::instant();
            if began >= rested {
                let many = self.alerts.watch(&alerts::MANY, self.shared.now()).await;
                self.shared.note_upkeep(Work::Sums, many);
                rested = clock::instant() + began.elapsed() * REST;
            }
            self.shared.note_upkeep(Work::Spend, self.spend.watch(self.shared.now()).await);
        }
    }

    /// Counts of events, apart from all else: after a start there may be much to read.
    async fn count_events_until(&self, shutdown: &CancellationToken) {
        let mut ticks = clock::ticks(COUNT_TICK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if self.shared.is_answering()
                && let Err(error) = self.event_counts.follow().await
            {
                tracing::debug!(%error, "the log could not be read for its counts; it is tried again");
            }
        }
    }

    async fn tick(&self, tick: u64, position: &mut Option<LogPosition>) {
        match position {
            Some(position) if self.shared.is_answering() => {
                self.tend(tick, position).await;
            }
            position => {
                self.shared.note_upkeep(Work::Tick, self.find_store_back(position).await);
            }
        }
        if tick.is_multiple_of(SECOND_TICKS) {
            let now = self.shared.now();
            self.bans.prune(now);
            self.known.keep();
            self.shared.look_at_answers();
            self.fallback.sweep(now);
            metrics::gauge!("keyward_bans_held").set(self.bans.len() as f64);
            metrics::gauge!("keyward_events_waiting").set(self.shared.outbox.waiting() as f64);
        }
    }

    /// Does what is due at this tick, in this order. What fails is noted and done again; the rest has its turn all the
    /// same, as long as the store answers.
    async fn tend(&self, tick: u64, position: &mut LogPosition) {
        let note = |work, done| self.shared.note_upkeep(work, done);
        // What is done seldom is done again within a second where it failed.
        let is_due = |work, every: u64| {
            let is_again = tick.is_multiple_of(SECOND_TICKS) && self.shared.upkeep.is_failing(work);
            self.shared.is_answering() && (is_again || tick.is_multiple_of(every))
        };
        if note(Work::Tick, self.each_tick(position).await).is_none() {
            return;
        }
        if is_due(Work::Clock, CLOCK_TICKS) {
            note(Work::Clock, self.shared.follow_clock().await);
        }
        // What this instance ends it counts at once; this is for those whose instance is gone.
        if is_due(Work::Charged, CHARGED_TICKS) {
            note(Work::Charged, reservations::count_charged(&self.shared, self.shared.now()).await);
        }
        if is_due(Work::Second, SECOND_TICKS) {
            note(Work::Second, self.each_second().await);
        }
        if tick > 0 && is_due(Work::Reload, RELOAD_TICKS) {
            note(Work::Reload, self.reload(self.shared.now()).await);
        }
    }

    async fn each_tick(&self, position: &mut LogPosition) -> Result<(), StoreError> {
        self.log.read(position).await?;
        self.shared.write_events().await?;
        patient(self.in_force.refresh_if_changed()).await?;
        // At once for those that were made here, so that nothing is held past its lease.
        if self.reservations.may_end(self.shared.now()) {
            patient(self.reservations.end(self.shared.now())).await?;
        }
        Ok(())
    }

    async fn each_second(&self) -> Result<(), StoreError> {
        // Every partition is asked for those that have ended: where one is away, the rest is done all the same.
        let ended = patient(self.reservations.end(self.shared.now())).await;
        patient(self.shared.store.ping()).await?;
        // Also without an outage: a single trip that failed, or one that ended while the store came back.
        self.reconciler.settle(self.shared.now()).await?;
        self.settle_journals().await?;
        let flushed = patient(self.profiles.flush_due(&*self.shared.store, self.shared.now())).await;
        let heard = patient(self.profiles.read_news(&*self.shared.store, self.shared.now())).await;
        let expired = patient(self.shared.store.expire_bans(self.shared.now())).await?;
        self.shared.metrics.events_written.increment(expired as u64);
        ended.and(flushed.and(heard).map(drop))
    }

    /// Whether the store answers. To join one that was away at the start may take longer than that.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        patient(self.shared.store.reach()).await?;
        clock::timeout(PROBE, self.shared.store.ping()).await.unwrap_or(Err(StoreError::Deadline(PROBE)))
    }

    /// Probes a lost store; when it answers, tells it what happened meanwhile.
    async fn find_store_back(&self, position: &mut Option<LogPosition>) -> Result<(), StoreError> {
        if let Err(error) = self.probe().await {
            self.tell_away(&error);
            // That it is away is told in another way than that it cannot be used.
            let is_away = error.is_absence() || error.is_caused_by::<DataGone>();
            return if is_away { Ok(()) } else { Err(error) };
        }
        self.shared.follow_clock().await?;
        if position.is_none() {
            *position = Some(patient(self.shared.store.log_end()).await?);
        }
        let now = self.shared.now();
        let reconciled = self.reconciler.settle(now).await?;
        self.reload(now).await?;
        patient(self.in_force.refresh_if_changed()).await?;
        // A store that reads but takes no writes is not back.
        self.shared.write_events().await?;
        self.away.lock().clear();
        if let Some(since) = self.shared.found_back() {
            tracing::info!("the store answers again");
            metrics::gauge!("keyward_degraded").set(0.0);
            self.shared.outbox.push(events::recovered(since, reconciled, now));
        }
        Ok(())
    }

    /// Says why a lost store cannot be found back: each reason once.
    fn tell_away(&self, error: &StoreError) {
        let mut said = self.away.lock();
        if said.len() < MOST_REASONS && said.insert(error.to_string()) {
            tracing::warn!(%error, "the store is still away");
        }
    }

    /// Reads every ban in force, and tells of those that the store had lost.
    async fn reload(&self, now: Millis) -> Result<(), StoreError> {
        let known = self.bans.len();
        let lost = self.standings.reload(now).await?;
        self.known.tell_missing(lost, known, 0, now);
        Ok(())
    }
}
