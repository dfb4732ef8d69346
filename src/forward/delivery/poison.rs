//! Finds out whether an event is why a sink fails, or the sink itself.
//!
//! An event that fails alone again and again is suspected. Another event decides: one about another subject, further
//! on in the log. If the sink takes that one, and still not the suspect, the suspect is parked. If it takes neither,
//! nothing is parked and all wait. So a sink that is down, or whose settings are wrong, costs no event.

use super::{
    progress::{PAGE, Progress, Stop, Suspect},
    sender::Sender,
};
use crate::{
    domain::event::Event,
    forward::error::SendErrorKind,
    store::{LogPage, patient},
};

/// Failures of one event alone after which it is suspected.
const SUSPECT_AFTER: u32 = 6;
/// How often a suspect is tried again after the sink took another event: one node among several may be ill.
const LAST_CHANCES: u32 = 3;
/// Pages that are searched for another event at a time.
const SEARCH_PAGES: usize = 10;

/// What became of the last chances of a suspect.
enum LastChances {
    /// The sink took it.
    Taken,
    /// The sink will not take it: why, and after how many attempts.
    Refused(String, u32),
    /// The sink asked for patience: nothing is known.
    Unknown,
}

impl Sender {
    /// Looks into an event that failed alone; `index` is its index in the page. Says how many wanted events of the
    /// page are done with if it was the event.
    pub(super) async fn suspect(
        &mut self,
        progress: &mut Progress,
        event: &Event,
        page: &LogPage,
        index: usize,
    ) -> Result<Option<usize>, Stop> {
        let known = progress.suspect.take().filter(|known| known.event == event.id);
        let mut suspect =
            known.unwrap_or_else(|| Suspect { event: event.id.clone(), failures: 0, searched: None });
        suspect.failures += 1;
        if suspect.failures < SUSPECT_AFTER {
            progress.suspect = Some(suspect);
            return Ok(None);
        }
        let other = self.another(&mut suspect, event, page, index).await?;
        let attempts = suspect.failures;
        progress.suspect = Some(suspect);
        let Some(other) = other else { return Ok(None) };
        if !self.send(std::slice::from_ref(&other)).await.is_ok_and(|report| report.refused.is_empty()) {
            return Ok(None);
        }
        let parked = match self.last_chances(event, attempts).await {
            LastChances::Taken => Vec::new(),
            LastChances::Refused(why, attempts) => vec![self.dead_letter(event, &why, attempts)],
            LastChances::Unknown => return Ok(None),
        };
        // The other one is sent again later, unless it was the next.
        let next =
            (index + 1..page.events.len()).find(|n| self.leader.common.filter.admits(&page.events[*n]));
        let done = match next {
            Some(next) if page.events[next].id == other.id => vec![index, next],
            _ => vec![index],
        };
        self.finish_batch(progress, page, &done, parked).await?;
        Ok(Some(done.len()))
    }

    /// Tries a suspect again after the sink took another event.
    async fn last_chances(&mut self, event: &Event, attempts: u32) -> LastChances {
        for chance in 1..=LAST_CHANCES {
            let why = match self.send(std::slice::from_ref(event)).await {
                Ok(report) => match report.refused.into_iter().next() {
                    Some((_, why)) => why,
                    None => return LastChances::Taken,
                },
                Err(error) if chance < LAST_CHANCES && error.kind.may_be_about_the_event() => continue,
                Err(error) if matches!(error.kind, SendErrorKind::Busy { .. }) => {
                    return LastChances::Unknown;
                }
                Err(error) => error.to_string(),
            };
            return LastChances::Refused(why, attempts + chance);
        }
        LastChances::Unknown
    }

    /// An event that the sink wants, about another subject, further on in the log.
    async fn another(
        &self,
        suspect: &mut Suspect,
        event: &Event,
        page: &LogPage,
        index: usize,
    ) -> Result<Option<Event>, Stop> {
        let fits = |other: &&Event| self.leader.common.filter.admits(other) && other.subject != event.subject;
        if let Some(found) = page.events[index + 1..].iter().find(fits) {
            return Ok(Some(found.clone()));
        }
        let mut position = suspect.searched.take().unwrap_or_else(|| page.next.clone());
        for _ in 0..SEARCH_PAGES {
            let more = patient(self.leader.context.store.read_log(&position, PAGE)).await?;
            if let Some(found) = more.events.iter().find(fits) {
                suspect.searched = Some(position);
                return Ok(Some(found.clone()));
            }
            position = more.next;
            if more.events.is_empty() {
                break;
            }
        }
        suspect.searched = Some(position);
        Ok(None)
    }
}
