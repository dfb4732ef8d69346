//! The loop of a sender: take the lease, read on in the log, send, move the cursor, until the process ends.

use std::time::Duration;

use super::{
    log_watch::LogWatch,
    progress::{PAGE, Progress, STORE_RETRY, Stop},
    sender::Sender,
};
use crate::{
    clock,
    forward::error::Problem,
    store::{LogPage, LogPosition, SinkLead, StoreError, patient},
};

/// How often the sink does what is due by time.
const TICK: Duration = Duration::from_secs(1);
/// The cursor is moved at least this often over events that the sink does not want.
const SAVE_SKIPPED: Duration = Duration::from_secs(1);
/// How long a batch that is on its way may go on when the process ends, and how long closing the sink may take.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

impl Sender {
    /// Sends until the process ends.
    pub async fn run(mut self) {
        let stop = self.leader.stop.clone();
        // Where this sink is as far as this instance knows: for one that is new, or a store that has lost its data.
        let mut known = None;
        while !stop.is_cancelled() {
            match self.lead(&mut known).await {
                Ok(Some(lead)) => {
                    self.leader.status.leads(true);
                    // A batch that is on its way may arrive, so that it is not sent again after the restart.
                    let out_of_time = async {
                        stop.cancelled().await;
                        clock::sleep(SHUTDOWN_GRACE).await;
                    };
                    tokio::select! {
                        last = self.send_while_leading(lead, known.clone()) => known = Some(last),
                        () = out_of_time => {}
                    }
                    let _ = clock::timeout(SHUTDOWN_GRACE, self.sink.close()).await;
                    self.leader.status.leads(false);
                }
                Ok(None) => self.leader.status.recovered(),
                Err(error) => {
                    self.leader.status.failed(&Problem::because("the cursor cannot be read", &error));
                }
            }
            self.leader.pause(STORE_RETRY).await;
        }
        self.leader.leave().await;
    }

    async fn lead(&self, known: &mut Option<LogPosition>) -> Result<Option<SinkLead>, StoreError> {
        if known.is_none() {
            *known = Some(self.leader.first_position().await?);
        }
        self.leader.lead().await
    }

    /// Returns the saved position when this instance no longer leads.
    async fn send_while_leading(&mut self, lead: SinkLead, known: Option<LogPosition>) -> LogPosition {
        let is_new = lead.position.is_none();
        let position = lead.position.clone().or(known).unwrap_or_default();
        self.sink.restore(&lead.state);
        let log_watch = LogWatch::new(self.leader.context.log_changes.clone());
        let mut progress = Progress::new(&lead, position, self.leader.common.batch, log_watch);
        let leader = self.leader.clone();
        let sending = async {
            // Where a new sink begins must be known to whoever comes next.
            if !is_new || self.save_cursor(&mut progress, Vec::new()).await.is_ok() {
                self.send_on(&mut progress).await;
            }
        };
        tokio::select! {
            () = leader.keep_leading(lead.epoch) => {}
            () = sending => {}
        }
        progress.saved
    }

    async fn send_on(&mut self, progress: &mut Progress) {
        loop {
            match self.round(progress).await {
                Ok(()) => {}
                Err(Stop::NotLeading | Stop::Stopped) => return,
                Err(Stop::Store(_)) if self.leader.stop.is_cancelled() => return,
                Err(Stop::Store(error)) => {
                    self.leader.status.failed(&Problem::because("the log cannot be read", &error));
                    self.leader.pause(STORE_RETRY).await;
                }
            }
        }
    }

    /// Reads a page and sends what is wanted of it, until the page is done with or something fails.
    async fn round(&mut self, progress: &mut Progress) -> Result<(), Stop> {
        self.redeliver(progress).await?;
        self.tick(progress).await?;
        progress.log_watch.mark_seen();
        let page = patient(self.leader.context.store.read_log(&progress.position, PAGE)).await?;
        if page.gap && progress.reported_gap.as_ref() != Some(&progress.position) {
            progress.reported_gap = Some(progress.position.clone());
            (self.leader.context.log_event)(self.leader.gap_event());
        }
        if !self.send_page(progress, &page).await? {
            return Ok(());
        }
        self.leader.status.waits_since(None);
        if progress.redelivery.is_well() {
            self.leader.status.recovered();
        }
        self.pass_page(progress, page).await
    }

    /// Sends what is wanted of a page; says whether the page is done with.
    async fn send_page(&mut self, progress: &mut Progress, page: &LogPage) -> Result<bool, Stop> {
        let wants = |n: &usize| self.leader.common.filter.admits(&page.events[*n]);
        let wanted: Vec<usize> = (0..page.events.len()).filter(wants).collect();
        let mut rest = wanted.as_slice();
        while let Some(first) = rest.first() {
            if self.leader.stop.is_cancelled() {
                return Err(Stop::Stopped);
            }
            self.leader.status.waits_since(Some(page.events[*first].time));
            let batch = &rest[..rest.len().min(progress.batch)];
            match self.attempt(progress, page, batch).await? {
                Some(done) => rest = &rest[done..],
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Goes on behind a page that is done with; waits for more where the log has ended.
    async fn pass_page(&mut self, progress: &mut Progress, page: LogPage) -> Result<(), Stop> {
        // Also without events: what cannot be read is passed over.
        if page.next != progress.position {
            progress.position = page.next;
            progress.unsaved_since.get_or_insert_with(clock::instant);
        }
        let stops = self.leader.stop.is_cancelled();
        let due = if stops { Duration::ZERO } else { SAVE_SKIPPED };
        if progress.unsaved_since.is_some_and(|since| since.elapsed() >= due) {
            self.save_cursor(progress, Vec::new()).await?;
        }
        if !page.events.is_empty() {
            return Ok(());
        }
        if stops {
            return Err(Stop::Stopped);
        }
        let interval = progress.log_watch.poll_interval();
        let change = async {
            tokio::select! {
                () = progress.log_watch.changed() => {}
                () = self.leader.stop.cancelled() => {}
            }
        };
        let _ = clock::timeout(interval, change).await;
        Ok(())
    }

    /// Lets the sink do what is due by time.
    async fn tick(&mut self, progress: &mut Progress) -> Result<(), Stop> {
        if progress.ticked.elapsed() < TICK {
            return Ok(());
        }
        progress.ticked = clock::instant();
        let now = (self.leader.context.now)();
        self.leader.status.measure(now);
        let changed = match clock::timeout(self.leader.common.timeout(), self.sink.tick(now)).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => {
                self.leader.status.ticked(Err(Problem::from(&error)));
                return Ok(());
            }
            Err(_) => {
                self.leader.status.ticked(Err(Problem::new("no answer in time")));
                return Ok(());
            }
        };
        match self.sink.trouble() {
            None => self.leader.status.ticked(Ok(())),
            Some(problem) if changed => self.leader.status.ticked(Err(problem.clone())),
            // It was reported when it came.
            Some(_) => {}
        }
        if changed { self.save_cursor(progress, Vec::new()).await } else { Ok(()) }
    }
}
