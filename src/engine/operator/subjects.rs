//! All that is known of one subject, and forgetting it.

use std::sync::Arc;

use crate::{
    domain::{
        Millis,
        actor::Actor,
        event::{Event, EventType, SubjectForgotten},
        finding::Severity,
        observation::Observation,
        profile::Profile,
        subject::{Subject, SubjectKind},
    },
    engine::{
        bans::BanIndex, events, in_force::InForce, profiles::ProfileBook, shared::Shared,
        standings::Standings,
    },
    store::{EventQuery, StandingRecord, StoreError},
};

/// Events shown with a subject.
const RECENT_EVENTS: usize = 20;

/// All that an analyst opens first.
#[derive(Debug)]
pub struct SubjectView {
    /// Where it is on the ladder, and its version.
    pub standing: StandingRecord,
    /// Windows and peers; `None` when nothing was counted.
    pub observation: Option<Observation>,
    /// What is normal for it.
    pub profile: Option<Profile>,
    /// Its last 20 events, the newest first.
    pub events: Vec<Event>,
}

/// All that is known of subjects.
pub struct Subjects {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    bans: Arc<BanIndex>,
    standings: Arc<Standings>,
    profiles: Arc<ProfileBook>,
}

impl Subjects {
    /// What is known: in the store, and of bans and profiles that it does not have yet.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        bans: Arc<BanIndex>,
        standings: Arc<Standings>,
        profiles: Arc<ProfileBook>,
    ) -> Self {
        Self { shared, in_force, bans, standings, profiles }
    }

    /// All that is known about a subject; `None` when nothing is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn view(&self, subject: &Subject, now: Millis) -> Result<Option<SubjectView>, StoreError> {
        self.shared.answering()?;
        let query =
            EventQuery { subject: Some(subject.clone()), limit: RECENT_EVENTS, ..EventQuery::default() };
        let (standing, observation, stored, events) = tokio::try_join!(
            self.shared.store.standing(subject),
            self.shared.store.inspect(subject, now),
            self.shared.store.profile(subject),
            self.shared.store.events(&query),
        )?;
        // What this instance has learned and not yet flushed belongs to the picture.
        let at_hand = self.profiles.get(subject).map(|handle| handle.with(Profile::clone));
        let profile = at_hand.filter(|p| !p.is_empty()).or(stored);
        let covered = self.bans.covering(subject, now).is_some();
        let nothing = standing.is_none() && observation.is_none() && profile.is_none();
        if nothing && events.items.is_empty() && !covered {
            return Ok(None);
        }
        // An address stands as the banned prefix does that it is in.
        let standing = self.standings.of(subject).await?;
        Ok(Some(SubjectView { standing, observation, profile, events: events.items }))
    }

    /// Whether a subject is registered, banned, or has left anything behind here.
    ///
    /// # Errors
    /// When only the store could tell and does not answer.
    pub async fn is_known(&self, subject: &Subject) -> Result<bool, StoreError> {
        let is_registered = subject.kind() == SubjectKind::Key && self.in_force.is_registered(subject.id());
        let now = self.shared.now();
        if is_registered || self.bans.get(subject, now).is_some() {
            return Ok(true);
        }
        Ok(self.view(subject, now).await?.is_some())
    }

    /// Deletes what is known about a subject; its events stay until their retention ends.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget(
        &self,
        subject: &Subject,
        reason: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.shared.answering()?;
        let details = SubjectForgotten { reason: reason.to_owned(), by: Some(by.clone()) };
        let kind = EventType::SubjectForgotten;
        let event = events::operator(now, kind, Severity::Low, Some(subject)).with(&details);
        self.shared.store.forget(subject, &event).await?;
        self.shared.metrics.events_written.increment(1);
        self.bans.forget(subject);
        self.profiles.forget(subject);
        Ok(())
    }
}
