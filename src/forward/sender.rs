//! The loop that every sink has: lead it, read on in the log, send, move the cursor; wait and try again when it fails; put
//! aside what is refused for good.
//!
//! One instance leads a sink at a time. It renews its lease three times as often as needed; who finds a lease that ran out
//! takes over behind the cursor. An instance that was held up may still send a batch that another has sent already,
//! but it cannot move the cursor. So an event is sent at least once, in order per subject, and twice only when a
//! sender ends, or an answer is lost, between a batch and its cursor.
//!
//! Whether an event is the sink's trouble or the sink itself: a batch that is refused is halved until one event is
//! refused alone, which is parked. One on which the sink fails ([`Failure::Broken`]) again and again is parked if it takes
//! one about another subject meanwhile; if it does not, nothing is parked and all wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Common, Failure, Outlet, Sent, Status, Surroundings,
    backoff::{random, wait},
    lead::{Desk, patient},
};
use crate::{
    domain::event::Event,
    store::{DeadLetter, LogPage, LogPosition, SinkLead, SinkStep, Stepped, StoreError},
};

/// Between looks for a lease that ran out, and for news in the log.
const LOOK_FOR_LEASE: Duration = Duration::from_secs(1);
const LOOK_FOR_NEWS: Duration = Duration::from_millis(200);
/// Events read at a time.
const PAGE: usize = 1_000;
/// The cursor is moved at least this often over events that the sink does not want.
const SKIPPED: Duration = Duration::from_secs(1);
/// Failures of the sink itself after which smaller batches are tried, and after which an event alone is suspected.
const HALVE_AFTER: u32 = 3;
const SUSPECT_AFTER: u32 = 6;
/// What a batch that is on its way gets at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Sends for one sink.
pub struct Sender {
    desk: Arc<Desk>,
    outlet: Box<dyn Outlet>,
}

/// Where sending stands.
struct Progress {
    epoch: u64,
    position: LogPosition,
    /// Most events in the next batch.
    batch: usize,
    failures: u32,
    /// Moved over unwanted events and not noted yet, since then.
    unnoted: Option<tokio::time::Instant>,
    ticked: tokio::time::Instant,
}

/// Why sending ended.
enum Ended {
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
        outlet: Box<dyn Outlet>,
        around: Surroundings,
        stop: CancellationToken,
    ) -> Self {
        let status = Arc::new(Status::new(&common.name, common.kind));
        let again = AtomicBool::new(false);
        Self { desk: Arc::new(Desk { common, around, status, again, stop }), outlet }
    }

    /// How it is doing.
    pub fn status(&self) -> Arc<Status> {
        self.desk.status.clone()
    }

    /// Sends until the process ends.
    pub async fn run(mut self) {
        let stop = self.desk.stop.clone();
        let mut known = None;
        while !stop.is_cancelled() {
            match self.desk.lead().await {
                Ok(Some(lead)) => {
                    self.desk.status.leads(true);
                    // A batch that is on its way may arrive, so that it is not sent again after the restart.
                    let out_of_time = async {
                        stop.cancelled().await;
                        sleep(GRACE).await;
                    };
                    known = tokio::select! {
                        last = self.send_while_leading(lead, known.clone()) => Some(last),
                        () = out_of_time => known,
                    };
                    let _ = timeout(GRACE, self.outlet.close()).await;
                    self.desk.status.leads(false);
                }
                Ok(None) => {}
                Err(error) => self.desk.status.failed(&format!("the cursor cannot be read: {error}")),
            }
            self.desk.pause(LOOK_FOR_LEASE).await;
        }
        let Desk { around, common, .. } = &*self.desk;
        if let Err(error) = patient(around.store.leave_sink(&common.name, &around.instance)).await {
            tracing::warn!(sink = common.name, %error, "the sink's lease was not given back; it will run out");
        }
    }

    /// Returns where it was when it no longer leads. `known`: where this instance was before, for a store that has
    /// lost its data.
    async fn send_while_leading(&mut self, lead: SinkLead, known: Option<LogPosition>) -> LogPosition {
        let now = tokio::time::Instant::now();
        self.outlet.restore(&lead.state);
        let mut progress = Progress {
            epoch: lead.epoch,
            position: LogPosition::default(),
            batch: self.desk.common.batch,
            failures: 0,
            unnoted: None,
            ticked: now,
        };
        match lead.position.or(known) {
            Some(position) => progress.position = position,
            None => match self.desk.begin(lead.epoch, self.outlet.state()).await {
                Ok(position) => progress.position = position,
                Err(_) => return progress.position,
            },
        }
        let desk = self.desk.clone();
        tokio::select! {
            () = desk.keep_leading(lead.epoch) => {}
            () = self.send_on(&mut progress) => {}
        }
        progress.position
    }

    async fn send_on(&mut self, progress: &mut Progress) {
        loop {
            match self.round(progress).await {
                Ok(()) => {}
                Err(Ended::NotLeading | Ended::Stopped) => return,
                Err(Ended::Store(error)) => {
                    self.desk.status.failed(&format!("the log cannot be read: {error}"));
                    self.desk.pause(LOOK_FOR_LEASE).await;
                }
            }
        }
    }

    /// Reads a page and sends what is wanted of it, until it is done with or something fails.
    async fn round(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        let desk = self.desk.clone();
        if desk.again.swap(false, Relaxed) {
            self.redeliver(progress).await?;
        }
        self.tick(progress).await?;
        let page = patient(desk.around.store.read_log(&progress.position, PAGE)).await?;
        if page.gap {
            (desk.around.tell)(desk.gap());
        }
        let wanted: Vec<usize> =
            (0..page.events.len()).filter(|n| desk.common.filter.admits(&page.events[*n])).collect();
        let mut rest = wanted.as_slice();
        while let Some(first) = rest.first() {
            if desk.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            desk.status.waits_since(Some(page.events[*first].time));
            let batch = &rest[..rest.len().min(progress.batch)];
            match self.attempt(progress, &page, batch).await? {
                Some(done) => rest = &rest[done..],
                None => return Ok(()),
            }
        }
        desk.status.waits_since(None);
        if page.events.is_empty() {
            let at_once = desk.stop.is_cancelled();
            self.note_skipped(progress, if at_once { Duration::ZERO } else { SKIPPED }).await?;
            if at_once {
                return Err(Ended::Stopped);
            }
            desk.pause(LOOK_FOR_NEWS).await;
        } else if page.next != progress.position {
            progress.position = page.next;
            progress.unnoted.get_or_insert_with(tokio::time::Instant::now);
            self.note_skipped(progress, SKIPPED).await?;
        }
        Ok(())
    }

    /// Sends a batch; says how many events of the page are done with, or that it failed, and has then waited.
    async fn attempt(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
    ) -> Result<Option<usize>, Ended> {
        let events: Vec<Event> = batch.iter().map(|n| page.events[*n].clone()).collect();
        let failure = match self.send(&events).await {
            Ok(sent) => {
                let refused =
                    sent.refused.iter().filter_map(|(n, why)| Some((events.get(*n)?, why.as_str())));
                let parked = refused.map(|(event, why)| self.letter(event, why, 1)).collect();
                self.step(progress, page, batch, parked).await?;
                return Ok(Some(batch.len()));
            }
            Err(failure) => failure,
        };
        let why = failure.to_string();
        progress.failures += 1;
        match (&failure, events.as_slice()) {
            (Failure::Refused(_), [event]) => {
                let letter = self.letter(event, &why, progress.failures);
                self.step(progress, page, batch, vec![letter]).await?;
                return Ok(Some(1));
            }
            (Failure::Refused(_), _) => {
                progress.batch = (events.len() / 2).max(1);
                return Ok(Some(0));
            }
            (Failure::Broken(_), [event]) if progress.failures >= SUSPECT_AFTER => {
                if let Some((done, parked)) = self.suspect(event, page, batch[0], progress.failures).await {
                    self.step(progress, page, &done, parked).await?;
                    return Ok(Some(done.len()));
                }
            }
            (Failure::Broken(_), _) if progress.failures >= HALVE_AFTER => {
                progress.batch = (events.len() / 2).max(1);
            }
            _ => {}
        }
        self.desk.status.failed(&why);
        let asked = if let Failure::Busy { after, .. } = failure { after } else { None };
        self.desk.pause(wait(progress.failures, self.desk.common.max_backoff, asked, random())).await;
        Ok(None)
    }

    /// Is it the event or the sink? One about somebody else tells. If the sink takes that one, and this one still
    /// not, this one is parked. Says which places of the page are done with, and what is parked; `None` if the sink takes
    /// nothing, or there is nothing to try it with.
    async fn suspect(
        &mut self,
        event: &Event,
        page: &LogPage,
        place: usize,
        attempts: u32,
    ) -> Option<(Vec<usize>, Vec<DeadLetter>)> {
        let wanted = |n: &usize| self.desk.common.filter.admits(&page.events[*n]);
        let next = (place + 1..page.events.len()).find(wanted)?;
        let other =
            (next..page.events.len()).find(|n| wanted(n) && page.events[*n].subject != event.subject)?;
        if !self
            .send(std::slice::from_ref(&page.events[other]))
            .await
            .is_ok_and(|sent| sent.refused.is_empty())
        {
            return None;
        }
        let parked = match self.send(std::slice::from_ref(event)).await {
            Ok(sent) => sent.refused.into_iter().map(|(_, why)| why).collect(),
            Err(Failure::Broken(why) | Failure::Refused(why)) => vec![why],
            Err(_) => return None,
        };
        let parked = parked.iter().map(|why| self.letter(event, why, attempts + 1)).collect();
        // The other one is sent again later, unless it was the next.
        Some((if other == next { vec![place, next] } else { vec![place] }, parked))
    }

    async fn send(&mut self, events: &[Event]) -> Result<Sent, Failure> {
        let limit = self.desk.common.timeout;
        let late = || Failure::Unreachable(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, self.outlet.send(events)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Moves the cursor behind a batch that is done with.
    async fn step(
        &mut self,
        progress: &mut Progress,
        page: &LogPage,
        batch: &[usize],
        parked: Vec<DeadLetter>,
    ) -> Result<(), Ended> {
        let (store, status) = (&self.desk.around.store, &self.desk.status);
        let mut position = progress.position.clone();
        // Everything before is done with, also what was not wanted.
        let last = batch.last().map_or(0, |last| last + 1);
        for event in &page.events[..last] {
            position = store.advance(&position, &event.id)?;
        }
        let (sent, refused) = (batch.len() - parked.len(), parked.len());
        progress.position = position;
        self.note(progress, parked, Vec::new()).await?;
        status.parked(refused);
        if sent > 0 {
            status.sent(sent, (self.desk.around.now)());
        }
        progress.failures = 0;
        progress.batch = (progress.batch * 2).min(self.desk.common.batch);
        Ok(())
    }

    /// Writes the cursor. While there is no room for dead letters it waits for somebody to make some.
    async fn note(
        &self,
        progress: &mut Progress,
        parked: Vec<DeadLetter>,
        done: Vec<String>,
    ) -> Result<(), Ended> {
        let step = SinkStep {
            sink: self.desk.common.name.clone(),
            epoch: progress.epoch,
            position: progress.position.clone(),
            state: self.outlet.state(),
            parked,
            done,
        };
        loop {
            match patient(self.desk.around.store.step_sink(&step)).await {
                Ok(Stepped::Done) => break,
                Ok(Stepped::NotLeading) => return Err(Ended::NotLeading),
                Ok(Stepped::Full) => {
                    self.desk.status.failed("it has too many dead letters: redeliver or discard some");
                }
                // What was sent is sent: asking again is better than sending again.
                Err(error) => self.desk.status.failed(&format!("the cursor cannot be written: {error}")),
            }
            if self.desk.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            self.desk.pause(LOOK_FOR_LEASE).await;
        }
        progress.unnoted = None;
        Ok(())
    }

    async fn note_skipped(&self, progress: &mut Progress, after: Duration) -> Result<(), Ended> {
        if progress.unnoted.is_some_and(|since| since.elapsed() >= after) {
            self.note(progress, Vec::new(), Vec::new()).await?;
        }
        Ok(())
    }

    /// Lets the outlet do what is due without events.
    async fn tick(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        if progress.ticked.elapsed() < LOOK_FOR_LEASE {
            return Ok(());
        }
        progress.ticked = tokio::time::Instant::now();
        let now = (self.desk.around.now)();
        self.desk.status.measure(now);
        match timeout(self.desk.common.timeout, self.outlet.tick(now)).await {
            Ok(Ok(true)) => {
                self.desk.status.ticked(Ok(()));
                self.note(progress, Vec::new(), Vec::new()).await
            }
            Ok(Ok(false)) => Ok(()),
            Ok(Err(failure)) => {
                self.desk.status.ticked(Err(&failure.to_string()));
                Ok(())
            }
            Err(_) => {
                self.desk.status.ticked(Err("no answer in time"));
                Ok(())
            }
        }
    }

    /// Sends dead letters that somebody wants sent, each alone. What fails keeps its mark; what is refused loses it.
    async fn redeliver(&mut self, progress: &mut Progress) -> Result<(), Ended> {
        let letters = patient(self.desk.around.store.dead_letters(&self.desk.common.name)).await?;
        for letter in letters.into_iter().filter(|letter| letter.again) {
            let (mut parked, mut done) = (Vec::new(), Vec::new());
            let sent = self.send(std::slice::from_ref(&letter.event)).await;
            let refused = match sent {
                Ok(sent) => sent.refused.into_iter().next().map(|(_, why)| why),
                Err(Failure::Refused(why) | Failure::Broken(why)) => Some(why),
                Err(failure) => {
                    self.desk.status.failed(&failure.to_string());
                    return Ok(());
                }
            };
            match refused {
                Some(reason) => parked.push(self.letter(&letter.event, &reason, letter.attempts + 1)),
                None => {
                    self.desk.status.sent(1, (self.desk.around.now)());
                    done.push(letter.event.id.clone());
                }
            }
            if !parked.is_empty() {
                done.push(letter.event.id);
            }
            self.note(progress, parked, done).await?;
        }
        Ok(())
    }

    fn letter(&self, event: &Event, reason: &str, attempts: u32) -> DeadLetter {
        DeadLetter {
            sink: self.desk.common.name.clone(),
            event: event.clone(),
            reason: reason.to_owned(),
            attempts,
            parked_at: (self.desk.around.now)(),
            again: false,
        }
    }
}
