//! One attempt to send a batch, and what follows when it fails: another one later, a smaller one, or a dead letter.
//!
//! A batch that is refused is halved at once, until one event is refused alone, which is parked. One that fails for other
//! reasons is halved after a few failures: it may be too large, or too slow to digest. An event that fails alone again and
//! again is suspected. Another event tells whether it is the event or the sink: one about another subject, further on in the
//! log. If the sink takes that one, and still not this one, this one is parked. If it takes neither, nothing is parked
//! and all wait: a sink that is down, or whose settings are wrong, costs no event.

use tokio::time::timeout;

use super::{
    Failure, Sender, Sent,
    backoff::{random, wait},
    sender::{Ended, PAGE, Progress},
};
use crate::{
    domain::event::Event,
    store::{LogPage, LogPosition, patient},
};

/// Failures in a row after which smaller batches are tried.
const HALVE_AFTER: u32 = 3;
/// Failures of one event alone after which it is suspected.
const SUSPECT_AFTER: u32 = 6;
/// How often a suspect is tried again after the sink took another event: one node among several may be ill.
const LAST_CHANCES: u32 = 3;
/// Pages that are searched for another event at a time.
const SEARCH_PAGES: usize = 10;

/// An event that may be why the sink fails.
pub(super) struct Suspicion {
    event: String,
    failures: u32,
    /// Behind what was searched for another event.
    searched: Option<LogPosition>,
}

impl Sender {
    /// Sends a batch; says how many events of the page are done with, or that it failed, and has then waited.
    pub(super) async fn attempt(
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
            (failure, [event]) if failure.is_perhaps_about_the_event() => {
                if let Some(done) = self.suspect(progress, event, page, batch[0]).await? {
                    return Ok(Some(done));
                }
            }
            (Failure::Broken(_) | Failure::Unreachable(_), _) if progress.failures >= HALVE_AFTER => {
                progress.batch = (events.len() / 2).max(1);
            }
            _ => {}
        }
        self.leader.status.failed(&why);
        let asked = if let Failure::Busy { after, .. } = failure { after } else { None };
        self.leader.pause(wait(progress.failures, self.leader.common.max_backoff, asked, random())).await;
        Ok(None)
    }

    /// An event failed alone. Says how many events of the page are done with if it was the event.
    async fn suspect(
        &mut self,
        progress: &mut Progress,
        event: &Event,
        page: &LogPage,
        place: usize,
    ) -> Result<Option<usize>, Ended> {
        let suspicion = progress.suspicion.take().filter(|known| known.event == event.id);
        let mut suspicion =
            suspicion.unwrap_or_else(|| Suspicion { event: event.id.clone(), failures: 0, searched: None });
        suspicion.failures += 1;
        if suspicion.failures < SUSPECT_AFTER {
            progress.suspicion = Some(suspicion);
            return Ok(None);
        }
        let other = self.another(&mut suspicion, event, page, place).await?;
        let attempts = suspicion.failures;
        progress.suspicion = Some(suspicion);
        let Some(other) = other else { return Ok(None) };
        if !self.send(std::slice::from_ref(&other)).await.is_ok_and(|sent| sent.refused.is_empty()) {
            return Ok(None);
        }
        let mut parked = Vec::new();
        for chance in 1..=LAST_CHANCES {
            let why = match self.send(std::slice::from_ref(event)).await {
                Ok(sent) => match sent.refused.into_iter().next() {
                    Some((_, why)) => why,
                    None => break,
                },
                Err(failure) if chance < LAST_CHANCES && failure.is_perhaps_about_the_event() => continue,
                Err(Failure::Busy { .. }) => return Ok(None),
                Err(failure) => failure.to_string(),
            };
            parked.push(self.letter(event, &why, attempts + chance));
            break;
        }
        // The other one is sent again later, unless it was the next.
        let next =
            (place + 1..page.events.len()).find(|n| self.leader.common.filter.admits(&page.events[*n]));
        let done = match next {
            Some(next) if page.events[next].id == other.id => vec![place, next],
            _ => vec![place],
        };
        self.step(progress, page, &done, parked).await?;
        Ok(Some(done.len()))
    }

    /// An event that the sink wants, about another subject, further on in the log.
    async fn another(
        &self,
        suspicion: &mut Suspicion,
        event: &Event,
        page: &LogPage,
        place: usize,
    ) -> Result<Option<Event>, Ended> {
        let fits = |other: &&Event| self.leader.common.filter.admits(other) && other.subject != event.subject;
        if let Some(found) = page.events[place + 1..].iter().find(fits) {
            return Ok(Some(found.clone()));
        }
        let mut position = suspicion.searched.take().unwrap_or_else(|| page.next.clone());
        for _ in 0..SEARCH_PAGES {
            let more = patient(self.leader.context.store.read_log(&position, PAGE)).await?;
            if let Some(found) = more.events.iter().find(fits) {
                suspicion.searched = Some(position);
                return Ok(Some(found.clone()));
            }
            position = more.next;
            if more.events.is_empty() {
                break;
            }
        }
        suspicion.searched = Some(position);
        Ok(None)
    }

    pub(super) async fn send(&mut self, events: &[Event]) -> Result<Sent, Failure> {
        let limit = self.leader.common.timeout;
        let late = || Failure::Unreachable(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, self.sink.send(events)).await.unwrap_or_else(|_| Err(late()))
    }
}
