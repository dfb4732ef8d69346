//! Reading the log of all instances: bans that others made or lifted, and news for those who read it themselves.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::{
    domain::event::{Event, EventType},
    engine::{
        profiles::ProfileBook,
        shared::{Shared, measured},
        standings::Standings,
    },
    store::{LogPage, LogPosition, StoreError},
};

/// Events read from the log at a time.
const LOG_PAGE: usize = 1_000;
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
    /// The end of the log before anything was read at the start: what comes after it is followed.
    begin: LogPosition,
}

impl LogFollower {
    /// Follows the log from `begin` on.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        standings: Arc<Standings>,
        profiles: Arc<ProfileBook>,
        begin: LogPosition,
    ) -> Self {
        let (followers, news) = (broadcast::channel(FOLLOWED).0, watch::channel(0).0);
        Self { shared, standings, profiles, followers, news, begin }
    }

    /// New events of every instance as they are appended.
    pub(in crate::engine) fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.followers.subscribe()
    }

    /// Changes whenever events came into the log.
    pub(in crate::engine) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Where reading begins.
    pub(super) fn begin(&self) -> LogPosition {
        self.begin.clone()
    }

    /// Reads what came into the log, tells the followers, and takes over bans that others made or lifted.
    pub(super) async fn read(&self, position: &mut LogPosition) -> Result<(), StoreError> {
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
        self.standings.take_over(subject).await?;
        if event.kind == EventType::SubjectForgotten {
            self.profiles.forget(subject);
        }
        Ok(())
    }
}
