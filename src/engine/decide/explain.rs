//! Why a request was decided as it was. The judgement that decides is the one that is explained: it is watched by a
//! [`Trace`], and what a trace has seen is all that an [`Explanation`] is made of.

use std::sync::Arc;

use super::{decider::Decider, limits, stages::Observed};
use crate::{
    detect::{self, Attribution, Case, DetectorReport},
    domain::{
        Millis,
        decision::{Action, Decision, LimitStatus, Reason},
        finding::Finding,
        ladder::Step,
        observation::Observation,
        place::{Place, PlaceCore, PlaceSummary},
        profile::Profile,
        record::Record,
        registry::NotAllowed,
        standing::{Standing, StandingDetail},
        subject::Subject,
    },
    engine::{
        places::{KnownPlace, describe, known_places},
        policy::ActivePolicy,
    },
    store::{StandingRecord, StoreError},
};

/// Something that happened on the way to a decision.
pub(super) enum Fact<'a> {
    /// The store has answered.
    Observed(&'a Observed<'a>),
    /// The detectors are asked about this.
    Asked(&'a Case<'a>),
    /// The ladder took a step because of these findings.
    Climbed(&'a Subject, &'a Standing, &'a [Finding], &'a Step),
    /// The profile has taken the request in: as usual, or as flagged.
    Learned { flagged: bool },
}

/// Who watches a judgement. Nobody does on the hot path, which costs nothing.
pub(super) trait Trace: Send {
    /// Takes a fact as it happens.
    fn see(&mut self, fact: Fact<'_>);
}

impl Trace for () {
    fn see(&mut self, _: Fact<'_>) {}
}

/// How far a request came.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// The detectors were asked.
    Judged,
    /// A ban in force refused it: the standing with its reason.
    Banned(Box<StandingRecord>),
    /// Its key may not make it.
    NotAllowed(NotAllowed),
    /// What the limit that refused it allows, and what was used of it.
    Limited(LimitStatus),
    /// A retry of a request that was answered before: it got the same answer and was not counted again.
    Repeated,
    /// Its credentials were refused where the key succeeds: nobody is accused, and nothing was counted.
    CredentialsRefused,
    /// Too old for windows and detectors.
    Late,
    /// The caller says that Keyward itself had refused it: it was looked at and not counted.
    NotCounted,
    /// The allowlist covers it: detectors leave it alone.
    Allowlisted,
    /// The store did not answer.
    Unavailable,
}

/// What the profile did with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// It learned the request, with all that is in it.
    Learned,
    /// It counted what was spent and learned nothing else, because the request was flagged.
    Flagged,
    /// It learned and counted nothing of the request.
    Nothing,
}

/// One subject's step on the ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Climb {
    /// Who climbed: the key or the address.
    pub subject: Subject,
    /// What was answered to the request because of it.
    pub action: Action,
    /// The standing before the request, as the store had it.
    pub before: Standing,
    /// The standing after, when it changed.
    pub after: Option<Standing>,
    /// The findings that accuse the subject.
    pub findings: Vec<Finding>,
    /// Which of them led to the action.
    pub cause: Option<usize>,
}

/// A place where the key was seen shortly before.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentPlace {
    /// Where it is: city, country and network, as far as they are known.
    pub place: PlaceSummary,
    /// First seen, among the recent ones.
    pub first_seen: Millis,
    /// When a request last came from there, ms since the Unix epoch.
    pub last_seen: Millis,
    /// Requests since it was first seen.
    pub requests: u64,
}

/// All that led to a decision.
#[derive(Debug)]
pub struct Explanation {
    /// What was decided, as it was answered.
    pub decision: Decision,
    /// The moment by which it was decided: the request's own, or later where the key was already further.
    pub now: Millis,
    /// Where the request came from.
    pub place: Option<Arc<Place>>,
    /// How far it came.
    pub course: Course,
    /// The key's standing before, with its reason.
    pub standing: StandingRecord,
    /// What the windows held, the request included if it was counted; `None` for a key that is not known.
    pub observation: Option<Observation>,
    /// Where the key was seen shortly before, newest first.
    pub recent_places: Vec<RecentPlace>,
    /// What was normal for the key before.
    pub profile: Profile,
    /// The places in it, by their names.
    pub known_places: Vec<KnownPlace>,
    /// What every detector said; empty where they were not asked.
    pub reports: Vec<DetectorReport>,
    /// What the ladder did.
    pub climbs: Vec<Climb>,
    /// What the profile did with the request.
    pub learned: Learned,
    /// The policy in force.
    pub policy: Arc<ActivePolicy>,
}

/// Notes what it sees.
struct Notes {
    observation: Option<Observation>,
    attribution: Attribution,
    profile: Profile,
    reports: Vec<DetectorReport>,
    climbs: Vec<Climb>,
    learned: Learned,
}

impl Trace for Notes {
    fn see(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Observed(observed) => {
                self.observation = Some(observed.key.clone());
                self.attribution = observed.attribution;
                self.profile = observed.profile.with(Profile::clone);
            }
            Fact::Asked(case) => self.reports = detect::reports(case),
            Fact::Climbed(subject, before, findings, step) => {
                // A step that somebody else's change made void is taken again: the last one counts.
                self.climbs.retain(|climb| climb.subject != *subject);
                self.climbs.push(Climb {
                    subject: subject.clone(),
                    action: step.action,
                    before: *before,
                    after: step.standing,
                    findings: findings.to_vec(),
                    cause: step.cause,
                });
            }
            Fact::Learned { flagged } => {
                self.learned = if flagged { Learned::Flagged } else { Learned::Learned };
            }
        }
    }
}

impl Decider {
    /// Decides about one finished request as `record` does, and tells what led to it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(in crate::engine) async fn explain(
        &self,
        record: &Record,
        now: Millis,
    ) -> Result<Explanation, StoreError> {
        let policy = self.in_force.policy();
        // What a response overwrites, or the request changes, is looked at before.
        let standing = self.standing_with_reason(&record.key).await?;
        let terms = self.terms_of(record, &policy, now);
        let placed = terms.project.map(|project| Record { project: Some(project), ..record.clone() });
        let placed = placed.as_ref().unwrap_or(record);
        let ban = self.quiet_ban_on(placed, &policy, now).map(|(subject, _)| subject);
        let known = self.shared.store.inspect(&record.key, now).await?;
        let profile = self.profiles.get(&record.key).map(|handle| handle.with(Profile::clone));
        let mut notes = Notes {
            observation: None,
            attribution: Attribution::default(),
            profile: profile.unwrap_or_default(),
            reports: Vec::new(),
            climbs: Vec::new(),
            learned: Learned::Nothing,
        };
        let decided = self.decide(std::slice::from_ref(record), now, &mut notes).await.pop();
        let decision = decided.unwrap_or_else(|| self.unavailable(record, &policy, now));
        let banned_by = match decision.reason {
            Some(Reason::ApiKeyBanned | Reason::IpBanned | Reason::ProjectBanned) => {
                let subject = ban.unwrap_or_else(|| record.key.clone());
                Some(self.standing_with_reason(&subject).await?)
            }
            _ => None,
        };
        let course = notes.course(record, &decision, banned_by, terms.refusal);
        let observation = notes.observation.or(known);
        Ok(Explanation {
            now: observation.as_ref().map_or(now, |o| o.now.max(now)),
            place: self.geo.lookup(record.source_ip),
            course,
            standing,
            recent_places: observation.as_ref().map(|o| self.recent_places(o)).unwrap_or_default(),
            observation,
            known_places: known_places(&self.geo, &notes.profile),
            profile: notes.profile,
            reports: notes.reports,
            climbs: notes.climbs,
            learned: notes.learned,
            policy,
            decision,
        })
    }

    async fn standing_with_reason(&self, subject: &Subject) -> Result<StandingRecord, StoreError> {
        Ok(self.shared.store.standing(subject).await?.unwrap_or_else(|| StandingRecord {
            subject: subject.clone(),
            standing: Standing::default(),
            detail: StandingDetail::default(),
        }))
    }

    fn recent_places(&self, observation: &Observation) -> Vec<RecentPlace> {
        let seen = observation.peers.iter().map(|seen| RecentPlace {
            place: describe(&self.geo, &PlaceCore::unpack(&seen.peer.data)),
            first_seen: seen.first_seen,
            last_seen: seen.last_seen,
            requests: seen.hits,
        });
        seen.collect()
    }
}

impl Notes {
    fn course(
        &self,
        record: &Record,
        decision: &Decision,
        banned_by: Option<StandingRecord>,
        not_allowed: Option<NotAllowed>,
    ) -> Course {
        let refusal = self.observation.as_ref().and_then(|o| limits::refusing(o, &decision.limits));
        let refusal = refusal.and_then(|(index, _)| decision.limits.get(index)).cloned();
        match (banned_by, refusal, decision.reason) {
            (Some(ban), ..) => Course::Banned(Box::new(ban)),
            (.., Some(Reason::KeyNotAllowed | Reason::UnknownKey)) => {
                Course::NotAllowed(not_allowed.unwrap_or(NotAllowed::UnknownKey))
            }
            (_, _, Some(Reason::StoreUnavailable)) => Course::Unavailable,
            (_, Some(refusal), Some(Reason::RateLimitExceeded | Reason::BudgetExceeded)) => {
                Course::Limited(refusal)
            }
            _ if !self.reports.is_empty() => Course::Judged,
            _ if self.observation.is_some() && record.refused_by_keyward => Course::NotCounted,
            _ if self.attribution == Attribution::Nobody => Course::CredentialsRefused,
            _ if self.observation.is_some() => Course::Allowlisted,
            _ if decision.late => Course::Late,
            _ => Course::Repeated,
        }
    }
}
