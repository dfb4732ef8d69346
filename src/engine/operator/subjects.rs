//! All that is known of one subject, and forgetting it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    domain::{
        Millis,
        actor::Actor,
        event::{Event, EventType, SubjectForgotten},
        finding::Severity,
        observation::Observation,
        profile::Profile,
        registry::KeyEntry,
        standing::StandingState,
        subject::{Subject, SubjectKind},
    },
    engine::{
        bans::BanIndex, events, in_force::InForce, profiles::ProfileBook, shared::Shared,
        standings::Standings,
    },
    store::{EventQuery, SeenSubject, StandingRecord, StoreError},
};

/// Events shown with a subject.
const RECENT_EVENTS: usize = 20;
/// Subjects that are looked at for one page of a list that is narrowed down.
const MOST_LOOKED_AT: usize = 20_000;
/// Of them, those that the store is asked for at a time.
const LOOKED_AT_ONCE: usize = 2_000;

/// All that an analyst opens first.
#[derive(Debug)]
pub struct SubjectView {
    /// Where it is on the ladder, and its version.
    pub standing: StandingRecord,
    /// Whether a throttle or ban of its own is in force, which a person can lift.
    pub is_held_itself: bool,
    /// Windows and peers; `None` when nothing was counted.
    pub observation: Option<Observation>,
    /// What is normal for it.
    pub profile: Option<Profile>,
    /// Its last 20 events, the newest first.
    pub events: Vec<Event>,
}

/// Which subjects to list.
#[derive(Debug, Clone, Default)]
pub struct SubjectQuery {
    /// A part of the subject, or of a key's label or project, in any case.
    pub text: Option<String>,
    /// Only those that stand so.
    pub state: Option<StandingState>,
    /// Whether only those that are held are listed, the newest standing first; else those that were seen.
    pub held: bool,
    /// Continue behind this subject and its time.
    pub after: Option<SeenSubject>,
    /// The most rows of a page.
    pub limit: usize,
}

/// A subject in a list.
#[derive(Debug)]
pub struct SubjectRow {
    /// Whom it is about.
    pub subject: Subject,
    /// The standing of its own that is in force; `None`: clear.
    pub held: Option<StandingRecord>,
    /// When its profile learned last, or, in a list of who is held, since when it is; milliseconds since 1970.
    pub time: Millis,
    /// Its entry in the registry, where it is a registered key.
    pub entry: Option<Arc<KeyEntry>>,
}

/// A page of a list of subjects.
#[derive(Debug)]
pub struct SubjectPage {
    /// The rows; fewer than were asked for does not mean that none follow.
    pub rows: Vec<SubjectRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<SeenSubject>,
}

/// All that is known of subjects.
pub struct Subjects {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    bans: Arc<BanIndex>,
    standings: Arc<Standings>,
    profiles: Arc<ProfileBook>,
}

impl SubjectQuery {
    fn wants(&self, row: &SubjectRow, now: Millis) -> bool {
        let state = row.state(now);
        self.state.is_none_or(|wanted| wanted == state)
            && self.text.as_deref().is_none_or(|text| row.mentions(&text.to_lowercase()))
            && (!self.held || self.after.as_ref().is_none_or(|after| after.precedes(&row.place())))
    }
}

impl SubjectRow {
    /// Where it stands on the ladder at `now`, by a standing of its own.
    pub fn state(&self, now: Millis) -> StandingState {
        self.held.as_ref().map_or(StandingState::Clear, |record| record.standing.state_at(now))
    }

    fn place(&self) -> SeenSubject {
        SeenSubject { subject: self.subject.clone(), last_seen: self.time }
    }

    /// Whether a text in lower case is a part of its names.
    fn mentions(&self, text: &str) -> bool {
        let entry = self.entry.as_deref();
        let names =
            [entry.and_then(|entry| entry.label.as_deref()), entry.and_then(|e| e.project.as_deref())];
        let names = names.into_iter().flatten().chain([self.subject.as_str()]);
        names.into_iter().any(|name| name.to_lowercase().contains(text))
    }
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
        // What this instance has learned and not yet flushed belongs to the picture, and what others have stopped.
        let mut at_hand = self.profiles.get(subject).map(|handle| handle.with(Profile::clone));
        if let (Some(at_hand), Some(stored)) = (&mut at_hand, &stored) {
            at_hand.later.parts.merge(&stored.later.parts);
        }
        let profile = at_hand.filter(|p| !p.is_empty()).or(stored);
        // A key that nobody registered is not known because the default project is banned.
        let is_ours = subject.kind() != SubjectKind::Key || self.in_force.is_registered(subject.id());
        let covered = is_ours && self.standings.covering_ban(subject, now).is_some();
        let nothing = standing.is_none() && observation.is_none() && profile.is_none();
        if nothing && events.items.is_empty() && !covered {
            return Ok(None);
        }
        let is_held_itself = standing.is_some_and(|own| own.standing.state_at(now) != StandingState::Clear);
        let standing = self.standings.of(subject).await?;
        Ok(Some(SubjectView { standing, is_held_itself, observation, profile, events: events.items }))
    }

    /// Lists subjects: those that were seen, the last one first, or those that are held. A page looks at 20,000
    /// subjects at most.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, query: &SubjectQuery, now: Millis) -> Result<SubjectPage, StoreError> {
        self.shared.answering()?;
        let in_force = self.shared.store.standings_in_force(now).await?;
        if query.held {
            let held = in_force.into_iter().map(|record| {
                let time = record.standing.since;
                self.row(SeenSubject { subject: record.subject.clone(), last_seen: time }, Some(record))
            });
            let mut rows: Vec<SubjectRow> = held.filter(|row| query.wants(row, now)).collect();
            rows.sort_by(|a, b| (b.time, b.subject.as_str()).cmp(&(a.time, a.subject.as_str())));
            let is_more = rows.len() > query.limit;
            rows.truncate(query.limit);
            let next = rows.last().filter(|_| is_more).map(SubjectRow::place);
            return Ok(SubjectPage { rows, next });
        }
        let mut held: HashMap<Subject, StandingRecord> =
            in_force.into_iter().map(|record| (record.subject.clone(), record)).collect();
        self.list_seen(query, &mut held, now).await
    }

    async fn list_seen(
        &self,
        query: &SubjectQuery,
        held: &mut HashMap<Subject, StandingRecord>,
        now: Millis,
    ) -> Result<SubjectPage, StoreError> {
        let (mut rows, mut after, mut looked_at) = (Vec::new(), query.after.clone(), 0);
        while rows.len() < query.limit && looked_at < MOST_LOOKED_AT {
            let is_narrow = query.text.is_some() || query.state.is_some();
            let page = if is_narrow { LOOKED_AT_ONCE } else { query.limit };
            let seen = self.shared.store.subjects_seen(after.as_ref(), page).await?;
            let is_last = seen.len() < page;
            looked_at += seen.len();
            for one in seen {
                after = Some(one.clone());
                let record = held.remove(&one.subject);
                let row = self.row(one, record);
                if query.wants(&row, now) {
                    rows.push(row);
                }
                if rows.len() == query.limit {
                    return Ok(SubjectPage { rows, next: after });
                }
            }
            if is_last {
                return Ok(SubjectPage { rows, next: None });
            }
        }
        Ok(SubjectPage { rows, next: after })
    }

    fn row(&self, seen: SeenSubject, held: Option<StandingRecord>) -> SubjectRow {
        let SeenSubject { subject, last_seen: time } = seen;
        let is_key = subject.kind() == SubjectKind::Key;
        let active = self.in_force.policy();
        let entry = is_key.then(|| active.registry.key(subject.id())).flatten().map(|held| held.body);
        SubjectRow { subject, held, time, entry }
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
