//! People ban and lift. Never acknowledged unless written: while the store does not answer, each of these fails and
//! says so.

use std::sync::Arc;

use crate::{
    domain::{
        Millis,
        actor::Actor,
        decision::{Action, Would},
        event::{BanLifted, Event, EventType, StandingChanged},
        finding::{AnomalyKind, Severity},
        ladder,
        profile::{Parts, Profile},
        standing::{StandingDetail, StandingState},
        subject::{Subject, SubjectKind},
    },
    engine::{bans, events, in_force::InForce, profiles::ProfileBook, shared::Shared, standings::Standings},
    store::{StandingRecord, StoreError},
};

/// What people ban and lift.
pub struct Bans {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    standings: Arc<Standings>,
    profiles: Arc<ProfileBook>,
}

impl Bans {
    /// Changes `standings`, as enforced or observed as the policy in force says.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        standings: Arc<Standings>,
        profiles: Arc<ProfileBook>,
    ) -> Self {
        Self { shared, in_force, standings, profiles }
    }

    /// An operator's ban for `length`, or for good. Also says whether there was no ban before.
    ///
    /// # Errors
    /// When it could not be written: it is not in force then.
    pub async fn ban(
        &self,
        subject: &Subject,
        length: Option<Millis>,
        reason: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<(StandingRecord, bool), StoreError> {
        self.shared.answering()?;
        let kind = if length.is_some() { EventType::TemporaryBan } else { EventType::PermanentBan };
        let enforcement = self.in_force.policy().policy.enforcement;
        let mut fresh = true;
        let record = self
            .standings
            .change(subject, reason, now, |current| {
                fresh = !current.standing.counting(enforcement.observes()).is_banned_at(now);
                let next = ladder::operator_ban(&current.standing, length, now);
                let severity = ladder::response_severity(kind);
                let event = events::operator(now, kind, severity, Some(subject));
                let mut event = event.with(&StandingChanged::by_person(&next, reason, by));
                let until = next.until;
                let ruled = Would::refuse(events::action_of(&next), bans::reason(subject), until, now);
                let (action, would) = enforcement.split(Action::None, ruled);
                (event.action, event.would) = (Some(action.name().to_owned()), would);
                Some((next, event))
            })
            .await?;
        let record = record.ok_or_else(|| StoreError::Refused("the standing kept changing".into()))?;
        Ok((record, fresh))
    }

    /// An operator's lifting, also of what stops parts of a key's traffic; `None` when none of it is in force. The
    /// detector that fired is left alone for the policy's grace period.
    ///
    /// # Errors
    /// When it could not be written: the ban is still in force then.
    pub async fn lift(
        &self,
        subject: &Subject,
        reason: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<Option<StandingRecord>, StoreError> {
        self.shared.answering()?;
        let policy = self.in_force.policy();
        let stops = self.parts(subject).await?.stops_any(now);
        let lifted = self
            .standings
            .change(subject, reason, now, |current| {
                if current.standing.state_at(now) == StandingState::Clear && !stops {
                    return None;
                }
                let fired = detector(&current.detail);
                let next = ladder::lift(&current.standing, fired, &policy.policy.ladder, now);
                let (reason, by) = (reason.to_owned(), Some(by.clone()));
                let details = BanLifted { reason, verdict: None, event: None, by };
                Some((next, lifted(subject, &details, now)))
            })
            .await?;
        if stops {
            let mut delta = Profile::default();
            delta.later.parts.clear(now);
            self.profiles.add(&*self.shared.store, subject, &delta).await?;
        }
        Ok(lifted)
    }

    /// The parts of a key's traffic: as stored, with what this instance has seen of them since.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn parts(&self, subject: &Subject) -> Result<Parts, StoreError> {
        if subject.kind() != SubjectKind::Key {
            return Ok(Parts::default());
        }
        let mut parts = self.shared.store.profile(subject).await?.unwrap_or_default().later.parts;
        if let Some(handle) = self.profiles.get(subject) {
            handle.with(|profile| parts.merge(&profile.later.parts));
        }
        Ok(parts)
    }
}

pub(super) fn lifted(subject: &Subject, details: &BanLifted, now: Millis) -> Event {
    let event = events::operator(now, EventType::BanLifted, Severity::Low, Some(subject));
    Event { action: Some("none".to_owned()), ..event.with(details) }
}

/// The detector that led to a standing.
pub(super) fn detector(detail: &StandingDetail) -> Option<AnomalyKind> {
    let name = detail.detector.as_deref()?;
    AnomalyKind::ALL.iter().copied().find(|kind| kind.detector() == name)
}
