//! Standings in the store, and the bans among them that this instance knows: read, changed, and written again where the
//! store has lost them.

use std::sync::Arc;

use super::{bans::BanIndex, in_force::InForce, shared::Shared};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        standing::{Origin, Standing, StandingDetail},
        subject::{Subject, SubjectKind},
    },
    store::{EventQuery, Respond, Responded, StandingRecord, StoreError, patient},
};

/// Another change of the same standing in between is met with another try, this often.
const TRIES: usize = 8;

/// The standings of all subjects.
pub struct Standings {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    bans: Arc<BanIndex>,
}

impl Standings {
    /// Those in a store, with the bans among them that are known here. Whose key is whose says the registry `in_force`.
    pub(super) fn new(shared: Arc<Shared>, in_force: Arc<InForce>, bans: Arc<BanIndex>) -> Self {
        Self { shared, in_force, bans }
    }

    /// The ban in force on a subject as this instance knows it.
    pub fn known_ban(&self, subject: &Subject, now: Millis) -> Option<Standing> {
        self.bans.get(subject, now)
    }

    /// Who is banned around a subject: of an address or prefix another network that holds it, of a key its project.
    pub fn covering_ban(&self, subject: &Subject, now: Millis) -> Option<Subject> {
        match subject.kind() {
            SubjectKind::Ip => self.bans.covering(subject, now),
            SubjectKind::Key => {
                let active = self.in_force.policy();
                let project = active.registry.project_of(subject.id());
                project.filter(|project| self.bans.get(project, now).is_some()).cloned()
            }
            SubjectKind::Project => None,
        }
    }

    /// The keys of which the log has that a ban in force spares them, at most a page of a hundred events.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn spared_by(&self, ban: &StandingRecord, now: Millis) -> Result<Vec<String>, StoreError> {
        if !ban.standing.is_banned_at(now) || !can_spare(&ban.standing, &ban.subject) {
            return Ok(Vec::new());
        }
        let query = EventQuery {
            subject: Some(ban.subject.clone()),
            kind: Some(EventType::KeySpared),
            since: Some(ban.standing.since),
            limit: 100,
            ..EventQuery::default()
        };
        let logged = self.shared.store.events(&query).await?.items;
        let mut keys: Vec<String> = logged.into_iter().filter_map(|event| event.key_id).collect();
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Reads a standing, changes it and writes it back, again if somebody else was quicker.
    pub(super) async fn change(
        &self,
        subject: &Subject,
        reason: &str,
        now: Millis,
        mut next: impl FnMut(&StandingRecord) -> Option<(Standing, Event)>,
    ) -> Result<Option<StandingRecord>, StoreError> {
        let detail = StandingDetail { reason: reason.to_owned(), ..StandingDetail::default() };
        let next = |current: &StandingRecord| {
            next(current).map(|(standing, event)| (standing, detail.clone(), vec![event]))
        };
        self.change_with(subject, now, next).await
    }

    /// The same with a detail and events of one's own.
    pub(super) async fn change_with(
        &self,
        subject: &Subject,
        now: Millis,
        mut next: impl FnMut(&StandingRecord) -> Option<(Standing, StandingDetail, Vec<Event>)>,
    ) -> Result<Option<StandingRecord>, StoreError> {
        for _ in 0..TRIES {
            let current = self.own(subject).await?;
            let Some((standing, detail, events)) = next(&current) else { return Ok(None) };
            let respond = Respond {
                subject: subject.clone(),
                now,
                standing: Some((standing, detail.clone())),
                refunds: Vec::new(),
                events,
            };
            if let Responded::Done(events) = self.shared.store.respond(&respond).await? {
                self.shared.metrics.events_written.increment(events.len() as u64);
                self.bans.set(subject, &standing, now);
                return Ok(Some(StandingRecord { subject: subject.clone(), standing, detail }));
            }
        }
        Err(StoreError::Refused("the standing changed too often meanwhile; try again".into()))
    }

    /// The standing of a subject (a clear one when nothing was ever held against it). One that is not banned itself
    /// stands as what is banned around it does: the network of an address, the project of a key.
    ///
    /// # Errors
    /// When the store does not answer and this instance knows no ban of it.
    pub async fn of(&self, subject: &Subject) -> Result<StandingRecord, StoreError> {
        let own = self.own(subject).await?;
        let now = self.shared.now();
        let observing = self.in_force.policy().observes();
        let refuses = |record: &StandingRecord| record.standing.counting(observing).is_banned_at(now);
        let Some(around) = self.covering_ban(subject, now).filter(|_| !refuses(&own)) else { return Ok(own) };
        let mut record = self.own(&around).await?;
        // One that was only observed hides none that is enforced, and another instance may have lifted it just now.
        if !record.standing.is_banned_at(now) || own.standing.is_banned_at(now) && !refuses(&record) {
            return Ok(own);
        }
        record.detail.reason = format!("{} (by {around})", record.detail.reason);
        Ok(StandingRecord { subject: subject.clone(), ..record })
    }

    async fn own(&self, subject: &Subject) -> Result<StandingRecord, StoreError> {
        let stored = match self.shared.answering() {
            Ok(()) => self.shared.store.standing(subject).await,
            Err(error) => Err(error),
        };
        let nothing = |standing| StandingRecord {
            subject: subject.clone(),
            standing,
            detail: StandingDetail::default(),
        };
        match (stored, self.bans.get(subject, self.shared.now())) {
            (Ok(record), _) => Ok(record.unwrap_or_else(|| nothing(Standing::default()))),
            (Err(_), Some(known)) => Ok(nothing(known)),
            (Err(error), None) => Err(error),
        }
    }

    /// Takes over the ban that an event of another instance made or lifted: what the store holds now.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn take_over(&self, subject: &Subject) -> Result<(), StoreError> {
        let held = self.bans.version(subject);
        let stored = patient(self.shared.store.standing(subject)).await?.map(|record| record.standing);
        self.bans.replace(subject, held, &stored.unwrap_or_default(), self.shared.now());
        Ok(())
    }

    /// Reads every ban in force. Those that the store has lost (a failover, a restart without its last second) are
    /// written again; says how many those were.
    pub(super) async fn reload(&self, now: Millis) -> Result<usize, StoreError> {
        let mut lost = 0;
        let records = patient(self.shared.store.standings_in_force(now)).await?;
        let stored: Vec<(Subject, Standing)> = records.into_iter().map(|r| (r.subject, r.standing)).collect();
        for (subject, standing) in self.bans.reload(&stored, now) {
            match patient(self.shared.store.standing(&subject)).await? {
                // A later version without a ban is a person's word, not a loss.
                Some(record) if record.standing.version >= standing.version => {
                    self.bans.replace(&subject, Some(standing.version), &record.standing, now);
                }
                _ if self.was_forgotten(&subject, standing.since).await? => self.bans.forget(&subject),
                _ => {
                    lost += 1;
                    let detail = StandingDetail {
                        reason: "re-asserted: the store had lost it".to_owned(),
                        ..StandingDetail::default()
                    };
                    self.assert(&subject, standing, detail, now).await?;
                }
            }
        }
        Ok(lost)
    }

    /// Whether a person had a subject forgotten since then: what is not there of it is not lost.
    async fn was_forgotten(&self, subject: &Subject, since: Millis) -> Result<bool, StoreError> {
        let query = EventQuery {
            subject: Some(subject.clone()),
            kind: Some(EventType::SubjectForgotten),
            since: Some(since),
            limit: 1,
            ..EventQuery::default()
        };
        Ok(!patient(self.shared.store.events(&query)).await?.items.is_empty())
    }

    /// Writes a ban that is in force here and unknown to the store, unless the store holds one that is. One that was
    /// only observed is none in place of one that is enforced.
    pub(super) async fn assert(
        &self,
        subject: &Subject,
        known: Standing,
        detail: StandingDetail,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut current = patient(self.shared.store.standing(subject))
            .await?
            .map_or_else(Standing::default, |r| r.standing);
        while known.is_banned_at(now) && !current.counting(known.unenforced).is_banned_at(now) {
            let standing = Standing { version: current.version + 1, ..known };
            let respond = Respond {
                subject: subject.clone(),
                now,
                standing: Some((standing, detail.clone())),
                refunds: Vec::new(),
                events: Vec::new(),
            };
            match patient(self.shared.store.respond(&respond)).await? {
                Responded::Done(_) => current = standing,
                Responded::Conflict(other) => current = other,
            }
        }
        self.bans.replace(subject, Some(known.version), &current, now);
        Ok(())
    }
}

/// Whether a ban is one that can spare keys.
pub(super) fn can_spare(ban: &Standing, subject: &Subject) -> bool {
    subject.kind() == SubjectKind::Ip && ban.origin == Origin::Detector
}
