//! People ban and lift. Never acknowledged unless written: while the store does not answer, each of these fails and
//! says so.

use crate::{
    domain::{
        Millis,
        actor::Actor,
        decision::{Action, Would},
        event::{BanLifted, Event, EventType, StandingChanged},
        finding::{AnomalyKind, Severity},
        ladder,
        standing::{Standing, StandingDetail, StandingState},
        subject::Subject,
    },
    engine::{Engine, bans, events},
    store::{Respond, Responded, StandingRecord, StoreError},
};

/// Another change of the same standing in between is met with another try, this often.
const TRIES: usize = 8;

impl Engine {
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

    /// An operator's lifting; `None` when no ban or throttle is in force. The detector that fired is left alone for the
    /// policy's grace period.
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
        self.change(subject, reason, now, |current| {
            if current.standing.state_at(now) == StandingState::Clear {
                return None;
            }
            let fired = detector(&current.detail);
            let next = ladder::lift(&current.standing, fired, &policy.policy.ladder, now);
            let (reason, by) = (reason.to_owned(), Some(by.clone()));
            let details = BanLifted { reason, verdict: None, event: None, by };
            Some((next, lifted(subject, &details, now)))
        })
        .await
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
    pub(in crate::engine) async fn change_with(
        &self,
        subject: &Subject,
        now: Millis,
        mut next: impl FnMut(&StandingRecord) -> Option<(Standing, StandingDetail, Vec<Event>)>,
    ) -> Result<Option<StandingRecord>, StoreError> {
        for _ in 0..TRIES {
            let current = self.own_standing(subject).await?;
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

    /// The standing of a subject (a clear one when nothing was ever held against it). An address within a banned prefix
    /// stands as the prefix does.
    ///
    /// # Errors
    /// When the store does not answer and this instance knows no ban of it.
    pub async fn standing(&self, subject: &Subject) -> Result<StandingRecord, StoreError> {
        let own = self.own_standing(subject).await?;
        let now = self.shared.now();
        match self.bans.covering(subject, now).filter(|_| !own.standing.is_banned_at(now)) {
            Some(prefix) => {
                let mut record = self.own_standing(&prefix).await?;
                record.detail.reason = format!("{} (by {prefix})", record.detail.reason);
                Ok(StandingRecord { subject: subject.clone(), ..record })
            }
            None => Ok(own),
        }
    }

    async fn own_standing(&self, subject: &Subject) -> Result<StandingRecord, StoreError> {
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
}

/// The event of a lifting.
pub(super) fn lifted(subject: &Subject, details: &BanLifted, now: Millis) -> Event {
    let event = events::operator(now, EventType::BanLifted, Severity::Low, Some(subject));
    Event { action: Some("none".to_owned()), ..event.with(details) }
}

/// The detector that led to a standing.
pub(super) fn detector(detail: &StandingDetail) -> Option<AnomalyKind> {
    let name = detail.detector.as_deref()?;
    AnomalyKind::ALL.iter().copied().find(|kind| kind.detector() == name)
}
