//! Reading the log of all instances: bans that others made or lifted, and news for those who read it themselves.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::{
    domain::{
        Millis, SECOND,
        event::{Event, EventType, FeedbackGiven},
        subject::Subject,
    },
    engine::{
        profiles::ProfileBook,
        shared::{Shared, measured},
        standings::Standings,
    },
    store::{LogPage, LogPosition, StoreError, patient},
};

/// Events read from the log at a time.
const LOG_PAGE: usize = 1_000;
/// A ban that the log tells of and the store does not have yet is looked for so long, ms: then others have read all
/// bans anew or a person was quicker.
const AWAITED: Millis = 10 * SECOND;
/// Subjects that are looked at again at most.
const MOST_AWAITED: usize = 100;
/// Subjects whose profiles are read once more at most: only those in memory, of which an operator may lift hundreds.
const MOST_READ_LATER: usize = 10_000;
/// Events of a page that followers share.
const SHARED_PAGE: usize = 500;
/// Pages that are kept for followers.
const SHARED_PAGES: usize = 8;
/// New events that a follower may lag behind by.
const FOLLOWED: usize = 1_024;

/// The log as it is followed here.
pub(in crate::engine) struct LogFollower {
    shared: Arc<Shared>,
    standings: Arc<Standings>,
    profiles: Arc<ProfileBook>,
    followers: broadcast::Sender<Arc<Event>>,
    /// Counts up when events came into the log, for those who read it themselves.
    news: watch::Sender<u64>,
    /// The end of the log before anything was read at the start: what comes after it is followed. `None` where the
    /// store did not answer then.
    begin: Option<LogPosition>,
    /// The pages that were read last for those who follow the log, by where they begin; the newest first.
    pages: tokio::sync::Mutex<VecDeque<(LogPosition, Arc<LogPage>)>>,
    /// Subjects that the log calls banned and the store does not yet, and until when that is looked at again.
    awaited: Mutex<Vec<(Subject, Millis)>>,
    /// Subjects whose profile is read once more, and from when on: the log tells of a lifting before parts are cleared.
    read_later: Mutex<Vec<(Subject, Millis)>>,
}

impl LogFollower {
    /// Follows the log from `begin` on.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        standings: Arc<Standings>,
        profiles: Arc<ProfileBook>,
        begin: Option<LogPosition>,
    ) -> Self {
        let (followers, news) = (broadcast::channel(FOLLOWED).0, watch::channel(0).0);
        let (pages, awaited, read_later) = Default::default();
        Self { shared, standings, profiles, followers, news, begin, pages, awaited, read_later }
    }

    /// New events of every instance as they are appended.
    pub(in crate::engine) fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.followers.subscribe()
    }

    /// Changes whenever events came into the log.
    pub(in crate::engine) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The page of the log behind a position, which all that follow the log from there share: it is read once. They
    /// wait for each other, so that no more than one page is read at a time however many follow.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(in crate::engine) async fn page(&self, position: &LogPosition) -> Result<Arc<LogPage>, StoreError> {
        let mut pages = self.pages.lock().await;
        if let Some((_, page)) = pages.iter().find(|(from, _)| from == position) {
            return Ok(page.clone());
        }
        let page = Arc::new(patient(self.shared.store.read_log(position, SHARED_PAGE)).await?);
        // The end is not remembered: it will be another one.
        if !page.events.is_empty() {
            pages.truncate(SHARED_PAGES - 1);
            pages.push_front((position.clone(), page.clone()));
        }
        Ok(page)
    }

    /// Where reading begins, if that is known.
    pub(in crate::engine) fn begin(&self) -> Option<LogPosition> {
        self.begin.clone()
    }

    /// Reads what came into the log, tells the followers, and takes over bans that others made or lifted.
    pub(in crate::engine) async fn read(&self, position: &mut LogPosition) -> Result<(), StoreError> {
        self.look_again().await?;
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

    /// Has a subject looked at again, if it is not banned here: an event that was on its way when the store went away
    /// may come into the log before the ban that it tells of.
    fn await_ban(&self, subject: &Subject, until: Millis) {
        let now = self.shared.now();
        let mut awaited = self.awaited.lock();
        let is_banned = self.standings.known_ban(subject, now).is_some();
        if !is_banned && now < until && awaited.len() < MOST_AWAITED {
            awaited.push((subject.clone(), until));
        }
    }

    async fn look_again(&self) -> Result<(), StoreError> {
        let mut awaited = std::mem::take(&mut *self.awaited.lock()).into_iter();
        while let Some((subject, until)) = awaited.next() {
            if let Err(error) = self.standings.take_over(&subject).await {
                let mut again = self.awaited.lock();
                again.push((subject, until));
                again.extend(awaited);
                return Err(error);
            }
            self.await_ban(&subject, until);
        }
        let now = self.shared.now();
        let due: Vec<_> = self.read_later.lock().extract_if(.., |(_, at)| *at <= now).collect();
        let mut due = due.into_iter();
        while let Some((subject, at)) = due.next() {
            if let Err(error) = self.profiles.read_again(&*self.shared.store, &subject).await {
                let mut later = self.read_later.lock();
                later.push((subject, at));
                later.extend(due);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads the profile that an event says is changed, now and once more when all of the change is surely stored.
    async fn read_profile_again(&self, event: &Event) -> Result<(), StoreError> {
        let changed = match event.kind {
            EventType::BanLifted => event.subject.clone(),
            EventType::FeedbackGiven => {
                event.read::<FeedbackGiven>().and_then(|word| word.judged.key_id.as_deref().map(Subject::key))
            }
            _ => None,
        };
        let Some(subject) = changed.filter(|subject| self.profiles.get(subject).is_some()) else {
            return Ok(());
        };
        self.profiles.read_again(&*self.shared.store, &subject).await?;
        let mut later = self.read_later.lock();
        later.retain(|(other, _)| *other != subject);
        if later.len() < MOST_READ_LATER {
            later.push((subject, self.shared.now() + AWAITED));
        }
        Ok(())
    }

    async fn take_over(&self, event: &Event) -> Result<(), StoreError> {
        self.read_profile_again(event).await?;
        let changes = matches!(
            event.kind,
            EventType::TemporaryBan
                | EventType::PermanentBan
                | EventType::BanLifted
                | EventType::SubjectForgotten
        );
        let (true, Some(subject)) = (changes, &event.subject) else { return Ok(()) };
        self.standings.take_over(subject).await?;
        if matches!(event.kind, EventType::TemporaryBan | EventType::PermanentBan) {
            self.await_ban(subject, self.shared.now() + AWAITED);
        }
        if event.kind == EventType::SubjectForgotten {
            self.profiles.forget(subject);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::default_policy,
        domain::profile::Profile,
        engine::{
            bans::BanIndex, in_force::InForce, outbox::EventOutbox, policy::Base,
            profile_entry::ProfileHandle,
        },
        store::embedded::{EmbeddedOptions, EmbeddedStore},
    };

    #[tokio::test]
    async fn subjects_that_could_not_be_looked_at_are_looked_at_again() {
        let parent = tempfile::tempdir().unwrap();
        let (data, aside) = (parent.path().join("data"), parent.path().join("aside"));
        let store = Arc::new(EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap());
        let shared = Arc::new(Shared::new(store, EventOutbox::new(0, 10)));
        let in_force = Arc::new(InForce::new(shared.clone(), Base::from(default_policy())));
        let standings = Arc::new(Standings::new(shared.clone(), in_force, Arc::new(BanIndex::default())));
        let log = LogFollower::new(shared, standings, Arc::new(ProfileBook::new(10, true)), None);
        ["a", "b", "c"].iter().for_each(|key| log.await_ban(&Subject::key(key), Millis::MAX));
        std::fs::rename(&data, &aside).unwrap();
        assert!(log.look_again().await.is_err());
        std::fs::rename(&aside, &data).unwrap();
        assert_eq!(log.awaited.lock().len(), 3);
        assert!(log.look_again().await.is_ok());
        assert_eq!(log.awaited.lock().len(), 3, "none of them is banned yet");
        let changed = || ["a", "b"].map(|key| (Subject::key(key), 0));
        changed()
            .iter()
            .for_each(|(key, _)| drop(log.profiles.put(key, ProfileHandle::of(Profile::default()))));
        log.read_later.lock().extend(changed());
        log.awaited.lock().clear();
        std::fs::rename(&data, &aside).unwrap();
        assert!(log.look_again().await.is_err());
        std::fs::rename(&aside, &data).unwrap();
        assert_eq!(*log.read_later.lock(), changed());
        assert!(log.look_again().await.is_ok());
        assert!(log.read_later.lock().is_empty());
    }
}
