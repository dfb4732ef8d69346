//! What people do: ban, lift, allow, change the policy, forget. Never acknowledged unless written: while the store does
//! not answer, each of these fails and says so. Judging an event is in `verdicts`.

use std::sync::Arc;

use serde_json::json;

use super::{Engine, bans, events};
use crate::{
    domain::{
        Millis,
        actor::Actor,
        decision::{Action, Would},
        difference::difference,
        event::{Event, EventType, format_millis},
        finding::{AnomalyKind, Severity},
        ladder,
        observation::Observation,
        policy::Policy,
        profile::Profile,
        standing::{Standing, StandingDetail, StandingState},
        subject::{Subject, SubjectKind},
    },
    store::{
        DeadLetterAct, Document, DocumentKind, EventQuery, Respond, Responded, StandingRecord, StoreError,
        StoreFault,
    },
};

/// Another change of the same standing in between is met with another try, this often.
const TRIES: usize = 8;
/// Events shown with a subject.
const RECENT_EVENTS: usize = 20;

/// All that an analyst opens first.
#[derive(Debug)]
pub struct SubjectView {
    /// Standing.
    pub standing: StandingRecord,
    /// Windows and peers; `None` when nothing was counted.
    pub observation: Option<Observation>,
    /// What is normal for it.
    pub profile: Option<Profile>,
    /// Newest events.
    pub events: Vec<Event>,
}

impl Engine {
    pub(super) fn answering(&self) -> Result<(), StoreError> {
        match self.breaker.open_since() {
            None => Ok(()),
            Some(since) => Err(StoreError::Unavailable(format!("since {}", format_millis(since)).into())),
        }
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
        self.answering()?;
        let kind = if length.is_some() { EventType::TemporaryBan } else { EventType::PermanentBan };
        let enforcement = self.policy().policy.enforcement;
        let mut fresh = true;
        let record = self
            .change(subject, reason, now, |current| {
                fresh = !current.standing.counting(enforcement.observes()).is_banned_at(now);
                let next = ladder::operator_ban(&current.standing, length, now);
                let mut evidence = events::standing_evidence(&next);
                evidence["reason"] = reason.into();
                let severity = ladder::response_severity(kind);
                let mut event = events::operator(now, kind, severity, Some(subject), Some(by), evidence);
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
        self.answering()?;
        let policy = self.policy();
        self.change(subject, reason, now, |current| {
            if current.standing.state_at(now) == StandingState::Clear {
                return None;
            }
            let fired = detector(&current.detail);
            let next = ladder::lift(&current.standing, fired, &policy.policy.ladder, now);
            Some((next, lifted(subject, Some(by), json!({ "reason": reason }), now)))
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
    pub(super) async fn change_with(
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
            if let Responded::Done(events) = self.store.respond(&respond).await? {
                self.meters.events_written.increment(events.len() as u64);
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
        let now = self.now();
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
        let stored = match self.answering() {
            Ok(()) => self.store.standing(subject).await,
            Err(error) => Err(error),
        };
        let nothing = |standing| StandingRecord {
            subject: subject.clone(),
            standing,
            detail: StandingDetail::default(),
        };
        match (stored, self.bans.get(subject, self.now())) {
            (Ok(record), _) => Ok(record.unwrap_or_else(|| nothing(Standing::default()))),
            (Err(_), Some(known)) => Ok(nothing(known)),
            (Err(error), None) => Err(error),
        }
    }

    /// All that is known about a subject; `None` when nothing is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn subject(&self, subject: &Subject, now: Millis) -> Result<Option<SubjectView>, StoreError> {
        self.answering()?;
        let query =
            EventQuery { subject: Some(subject.clone()), limit: RECENT_EVENTS, ..EventQuery::default() };
        let (standing, observation, stored, events) = tokio::try_join!(
            self.store.standing(subject),
            self.store.inspect(subject, now),
            self.store.profile(subject),
            self.store.events(&query),
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
        let standing = self.standing(subject).await?;
        Ok(Some(SubjectView { standing, observation, profile, events: events.items }))
    }

    /// Whether a subject is registered, banned, or has left anything behind here.
    ///
    /// # Errors
    /// When only the store could tell and does not answer.
    pub async fn is_known(&self, subject: &Subject) -> Result<bool, StoreError> {
        let is_registered = subject.kind() == SubjectKind::Key && self.is_registered(subject.id());
        let now = self.now();
        if is_registered || self.known_ban(subject, now).is_some() {
            return Ok(true);
        }
        Ok(self.subject(subject, now).await?.is_some())
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
        self.answering()?;
        let (kind, evidence) = (EventType::SubjectForgotten, json!({ "reason": reason }));
        let event = events::operator(now, kind, Severity::Low, Some(subject), Some(by), evidence);
        self.store.forget(subject, &event).await?;
        self.meters.events_written.increment(1);
        self.bans.forget(subject);
        self.profiles.forget(subject);
        Ok(())
    }

    /// Puts a policy in force, here at once and on every instance within a second. Returns the new version.
    ///
    /// # Errors
    /// When it could not be written: the former one is still in force then.
    pub async fn set_policy(&self, policy: &Policy, by: &Actor, now: Millis) -> Result<Arc<str>, StoreError> {
        let body = serde_json::to_value(policy).map_err(|e| StoreError::Incompatible(StoreFault::of(e)))?;
        let version = super::ActivePolicy::new(policy.clone(), Default::default()).version;
        let document = Document { kind: DocumentKind::Policy, name: "current".to_owned(), body };
        let former = self.policy();
        let before =
            serde_json::to_value(&former.policy).map_err(|e| StoreError::Incompatible(StoreFault::of(e)))?;
        let evidence = json!({
            "version": &*version, "former_version": &*former.version,
            "changes": difference(&before, &document.body),
        });
        self.write_document(document, Severity::Medium, evidence, by, now).await?;
        Ok(version)
    }

    /// Writes an allowlist entry (or deletes it, with a null body). Says whether it was there before.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn write_allowlist(
        &self,
        entry: &str,
        body: serde_json::Value,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let evidence = json!({ "allowlist": entry, "entry": body });
        let document = Document { kind: DocumentKind::Allowlist, name: entry.to_owned(), body };
        self.write_document(document, Severity::Medium, evidence, by, now).await
    }

    pub(super) async fn write_document(
        &self,
        document: Document,
        severity: Severity,
        evidence: serde_json::Value,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        self.answering()?;
        let kind = EventType::PolicyChanged;
        let event = events::operator(now, kind, severity, None, Some(by), evidence);
        // Until it is in force here: so that nobody else takes it in meanwhile.
        let _alone = self.refreshing.lock().await;
        let was_there = self.store.write_document(&document, &event).await?;
        self.meters.events_written.increment(1);
        self.take_changes_in().await?;
        Ok(was_there)
    }

    /// Has dead letters of a sink sent again, or gives them up: those with these event ids, or all without any. Returns how
    /// many.
    ///
    /// # Errors
    /// When it could not be written: nothing is done then.
    pub async fn act_on_dead_letters(
        &self,
        sink: &str,
        act: DeadLetterAct,
        ids: &[String],
        by: &Actor,
        now: Millis,
    ) -> Result<usize, StoreError> {
        self.answering()?;
        // Which they are is known only before, and the event must say it.
        let letters = self.store.dead_letters(sink).await?;
        let there = letters.into_iter().map(|letter| letter.event.id);
        let meant: Vec<String> = there.filter(|id| ids.is_empty() || ids.contains(id)).collect();
        let count = self.store.act_on_dead_letters(sink, act, ids).await?;
        if count > 0 {
            let event = events::dead_letters(sink, act, (&meant, count), by, now);
            match self.store.append(std::slice::from_ref(&event)).await {
                Ok(_) => self.meters.events_written.increment(1),
                // It is done, so it is told as soon as the store takes it.
                Err(_) => self.outbox.push_apart(event),
            }
        }
        Ok(count)
    }
}

/// The event that tells of a lifting.
pub(super) fn lifted(
    subject: &Subject,
    by: Option<&Actor>,
    evidence: serde_json::Value,
    now: Millis,
) -> Event {
    let mut event = events::operator(now, EventType::BanLifted, Severity::Low, Some(subject), by, evidence);
    event.action = Some("none".to_owned());
    event
}

/// The detector that led to a standing.
pub(super) fn detector(detail: &StandingDetail) -> Option<AnomalyKind> {
    let name = detail.detector.as_deref()?;
    AnomalyKind::ALL.iter().copied().find(|kind| kind.detector() == name)
}
