//! The loop that every sink has: lead it, read on in the log, send, move the cursor; wait and try again when it fails; put
//! aside what is refused for good.
//!
//! One instance leads a sink at a time. It renews its lease every quarter of its time; who finds a lease that ran out
//! takes over behind the cursor. An instance that was held up may still send a batch that another has sent already,
//! but it cannot move the cursor. So an event is sent at least once, in order per subject, and twice only when a
//! sender ends, or an answer is lost, between a batch and its cursor.
//!
//! Whether an event is the sink's trouble or the sink itself: a batch that is refused is halved until one event is
//! refused alone, which is parked. What that needs is in `attempt`. `redelivery` sends dead letters again.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Common, Sink, SinkContext, Status, attempt::Suspicion, leader::SinkLeader, news::News,
    redelivery::Redelivery,
};
use crate::{
    domain::event::Event,
    store::{DeadLetter, LogPage, LogPosition, SinkLead, SinkStep, Stepped, StoreError, patient},
};

/// Between looks for a lease that ran out.
const LOOK_FOR_LEASE: Duration = Duration::from_secs(1);
/// Events read at a time.
pub(super) const PAGE: usize = 1_000;
/// The cursor is moved at least this often over events that the sink does not want.
const SKIPPED: Duration = Duration::from_secs(1);
/// What a batch that is on its way gets at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Sends for one sink.
pub struct Sender {
    pub(super) leader: Arc<SinkLeader>,
    pub(super) sink: Box<dyn Sink>,
}

/// Where sending stands.
pub(super) struct Progress {
    pub epoch: u64,
    /// Behind the last event that is done with.
    pub position: LogPosition,
    /// The same as it is in the store.
    pub noted: LogPosition,
    /// Most events in the next batch.
    pub batch: usize,
    /// In a row.
    pub failures: u32,
    /// The event that may be why.
    pub suspicion: Option<Suspicion>,
    pub redelivery: Redelivery,
    /// Where a gap was told of.
    gap_told: Option<LogPosition>,
    /// Moved over unwanted events and not noted yet, since then.
    unnoted: Option<Instant>,
    news: News,
    ticked: Instant,
}

/// Why sending ended.
pub(super) enum Ended {
    NotLeading,
    Stopped,
    Store(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Sender {
    /// For one sink.
    pub fn new(
        common: Common,
        sink: Box<dyn Sink>,
        context: SinkContext,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Self {
        Self { leader: Arc::new(SinkLeader::new(common, context, status, stop)), sink }
    }

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
                        sleep(GRACE).await;
                    };
                    tokio::select! {
                        last = self.send_while_leading(lead, known.clone()) => known = Some(last),
                        () = out_of_time => {}
                    }
                    let _ = timeout(GRACE, self.sink.close()).await;
                    self.leader.status.leads(false);
                }
                Ok(None) => self.leader.status.fine(),
                Err(error) => self.leader.status.failed(&format!("the cursor cannot be read: {error}")),
            }
            self.leader.pause(LOOK_FOR_LEASE).await;
        }
        let SinkLeader { context, common, .. } = &*self.leader;
        if let Err(error) = patient(context.store.leave_sink(&common.name, &context.instance)).await {
            tracing::warn!(sink = common.name, %error, "the sink's lease was not given back; it will run out");
        }
    }

    async fn lead(&self, known: &mut Option<LogPosition>) -> Result<Option<SinkLead>, StoreError> {
        if known.is_none() {
            *known = Some(self.leader.begin().await?);
        }
        self.leader.lead().await
    }

    /// Returns where it was when it no longer leads.
    async fn send_while_leading(&mut self, lead: SinkLead, known: Option<LogPosition>) -> LogPosition {
        let is_new = lead.position.is_none();
        let position = lead.position.or(known).unwrap_or_default();
        self.sink.restore(&lead.state);
        let mut progress = Progress {
            epoch: lead.epoch,
            noted: position.clone(),
            position,
            batch: self.leader.common.batch,
            failures: 0,
            suspicion: None,
            redelivery: Redelivery::default(),
            gap_told: None,
            unnoted: None,
            news: News::new(self.leader.context.news.clone()),
            ticked: Instant::now(),
        };
        let leader = self.leader.clone();
        let sending = async {
            // Where a new sink begins must be known to whoever comes next.
            if !is_new || self.note(&mut progress, Vec::new()).await.is_ok() {
                self.send_on(&mut progress).await;
            }
        };
        tokio::select! {
            () = leader.keep_leading(lead.epoch) => {}
            () = sending => {}
        }
        progress.noted
    }

    async fn send_on(&mut self, progress: &mut Progress) {
        loop {
            match self.round(progress).await {
                Ok(()) => {}
                Err(Ended::NotLeading | Ended::Stopped) => return,
                Err(Ended::Store(_)) if self.leader.stop.is_cancelled() => return,
                Err(Ended::Store(error)) => {
                    self.leader.status.failed(&format!("the log cannot be read: {error}"));
                    self.leader.pause(LOOK_FOR_LEASE).await;
                }
            }
        }
    }

    /// Reads a page and sends what is wanted of it, until it is done with or something fails.
    async fn round(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        let leader = self.leader.clone();
        self.redeliver(progress).await?;
        self.tick(progress).await?;
        progress.news.looks();
        let page = patient(leader.context.store.read_log(&progress.position, PAGE)).await?;
        if page.gap && progress.gap_told.as_ref() != Some(&progress.position) {
            progress.gap_told = Some(progress.position.clone());
            (leader.context.tell)(leader.gap());
        }
        let wanted: Vec<usize> =
            (0..page.events.len()).filter(|n| leader.common.filter.admits(&page.events[*n])).collect();
        let mut rest = wanted.as_slice();
        while let Some(first) = rest.first() {
            if leader.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            leader.status.waits_since(Some(page.events[*first].time));
            let batch = &rest[..rest.len().min(progress.batch)];
            match self.attempt(progress, &page, batch).await? {
                Some(done) => rest = &rest[done..],
                None => return Ok(()),
            }
        }
        leader.status.waits_since(None);
        if progress.redelivery.is_well() {
            leader.status.fine();
        }
        // Also without events: what cannot be read is passed over.
        if page.next != progress.position {
            progress.position = page.next;
            progress.unnoted.get_or_insert_with(Instant::now);
        }
        let stops = leader.stop.is_cancelled();
        let due = if stops { Duration::ZERO } else { SKIPPED };
        if progress.unnoted.is_some_and(|since| since.elapsed() >= due) {
            self.note(progress, Vec::new()).await?;
        }
        if page.events.is_empty() {
            if stops {
                return Err(Ended::Stopped);
            }
            let _ = timeout(progress.news.patience(), async {
                tokio::select! {
                    () = progress.news.come() => {}
                    () = leader.stop.cancelled() => {}
                }
            })
            .await;
        }
        Ok(())
    }

    /// Moves the cursor behind a batch that is done with.
    pub(super) async fn step(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
        parked: Vec<DeadLetter>,
    ) -> Result<(), Ended> {
        let mut position = progress.position.clone();
        // Everything before is done with, also what was not wanted.
        let last = batch.last().map_or(0, |last| last + 1);
        for event in &page.events[..last] {
            position = self.leader.context.store.advance(&position, &event.id)?;
        }
        let (sent, refused) = (batch.len() - parked.len(), parked.len());
        progress.position = position;
        self.note(progress, parked).await?;
        self.leader.status.parked(refused);
        self.leader.status.sent(sent, (self.leader.context.now)());
        progress.failures = 0;
        progress.suspicion = None;
        progress.batch = (progress.batch * 2).min(self.leader.common.batch);
        Ok(())
    }

    /// Writes the cursor. While there is no room for dead letters it waits for somebody to make some.
    async fn note(&mut self, progress: &mut Progress, parked: Vec<DeadLetter>) -> Result<(), Ended> {
        loop {
            match self.write(progress.epoch, &progress.position, &parked, Vec::new()).await {
                Ok(Stepped::Done) => break,
                Ok(Stepped::NotLeading) => return Err(Ended::NotLeading),
                Ok(Stepped::Full) => {
                    self.leader.status.failed("it has too many dead letters: redeliver or discard some");
                    self.redeliver(progress).await?;
                }
                // What was sent is sent: asking again is better than sending again.
                Err(error) => self.leader.status.failed(&format!("the cursor cannot be written: {error}")),
            }
            if self.leader.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            self.leader.pause(LOOK_FOR_LEASE).await;
        }
        progress.noted.clone_from(&progress.position);
        progress.unnoted = None;
        Ok(())
    }

    /// One step, as it is.
    pub(super) async fn write(
        &self,
        epoch: u64,
        position: &LogPosition,
        parked: &[DeadLetter],
        done: Vec<String>,
    ) -> Result<Stepped, StoreError> {
        let step = SinkStep {
            sink: self.leader.common.name.clone(),
            epoch,
            position: position.clone(),
            state: self.sink.state(),
            parked: parked.to_vec(),
            done,
        };
        patient(self.leader.context.store.step_sink(&step)).await
    }

    /// Lets the sink do what is due without events.
    async fn tick(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        if progress.ticked.elapsed() < LOOK_FOR_LEASE {
            return Ok(());
        }
        progress.ticked = Instant::now();
        let now = (self.leader.context.now)();
        self.leader.status.measure(now);
        match timeout(self.leader.common.timeout, self.sink.tick(now)).await {
            Ok(Ok(changed)) => {
                match self.sink.trouble() {
                    None => self.leader.status.ticked(Ok(())),
                    Some(why) if changed => self.leader.status.ticked(Err(why)),
                    // It was told of when it came.
                    Some(_) => {}
                }
                if changed { self.note(progress, Vec::new()).await } else { Ok(()) }
            }
            Ok(Err(failure)) => {
                self.leader.status.ticked(Err(&failure.to_string()));
                Ok(())
            }
            Err(_) => {
                self.leader.status.ticked(Err("no answer in time"));
                Ok(())
            }
        }
    }

    pub(super) fn letter(&self, event: &Event, reason: &str, attempts: u32) -> DeadLetter {
        DeadLetter {
            sink: self.leader.common.name.clone(),
            event: event.clone(),
            reason: reason.to_owned(),
            attempts,
            parked_at: (self.leader.context.now)(),
            again: false,
        }
    }
}
