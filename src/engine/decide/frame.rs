//! How the engine words events about one request.

use super::stages::Purpose;
use crate::{
    domain::{
        Millis,
        decision::{Action, LimitStatus, Reason, Would},
        enforcement::Enforcement,
        event::{
            BannedRequestBlocked, Call, Cause, Event, EventEvidence, EventType, EvidenceAmount,
            HighSeverityAnomaly, Hold, KeyNotAllowed, KeySpared, ProjectMismatch, RateLimitExceeded,
            StandingChanged,
        },
        finding::{Finding, Severity},
        ladder,
        money::Usd,
        place::Place,
        record::Record,
        registry::{Applied, NotAllowed},
        standing::Standing,
        subject::Subject,
    },
    engine::{
        bans,
        events::{action_of, limit_used},
        policy::ActivePolicy,
    },
};

/// What every event about one request has.
pub(crate) struct Frame<'a> {
    pub record: &'a Record,
    /// Where its source address is; `None`: no geo database knows it.
    pub place: Option<&'a Place>,
    /// Of the policy that judged, as events and answers show it.
    pub policy_version: &'a str,
    /// When it was judged, which is the time of its events.
    pub now: Millis,
    enforcement: Enforcement,
    /// By which call the request came.
    call: Call,
}

impl<'a> Frame<'a> {
    /// What events about a request say of it, under the policy that judges.
    pub(crate) fn new(
        record: &'a Record,
        place: Option<&'a Place>,
        active: &'a ActivePolicy,
        purpose: Purpose,
        now: Millis,
    ) -> Self {
        let call = if purpose == Purpose::Record { Call::Record } else { Call::Check };
        let enforcement = active.policy.enforcement;
        Self { record, place, policy_version: &active.version, now, enforcement, call }
    }

    /// An event of what was ruled: done where it is enforced; else `done` was, and it would have been.
    fn ruled(&self, event: Event, done: Action, ruled: Would) -> Event {
        let (action, would) = self.enforcement.split(done, ruled);
        Event { action: Some(action.name().to_owned()), would, ..event }
    }

    fn event(&self, kind: EventType, severity: Severity, subject: &Subject, detector: &str) -> Event {
        Event {
            key_id: Some(self.record.key_id.to_string()),
            source_ip: Some(self.record.source_ip.to_string()),
            place: self.place.map(Place::summary),
            detector: Some(detector.to_owned()),
            request_id: Some(self.record.request_id.to_string()),
            policy_version: Some(self.policy_version.to_owned()),
            ..Event::new(self.now, kind, severity, Some(subject.clone()))
        }
    }

    /// A detector's finding.
    pub(crate) fn anomaly(&self, finding: &Finding, subject: &Subject, action: Action) -> Event {
        let kind = EventType::Anomaly(finding.kind);
        let event = self.event(kind, finding.severity, subject, finding.kind.detector());
        let event = Event { evidence: EventEvidence::of_finding(finding), ..event };
        match action {
            _ if !finding.is_enforced() => Event { action: Some("shadow".to_owned()), ..event },
            Action::None | Action::Alert => Event { action: Some(action.name().to_owned()), ..event },
            Action::Throttle => self.ruled(event, Action::Alert, Would::go_on(action)),
            Action::TemporaryBan | Action::PermanentBan => {
                let reason = Reason::CriticalAnomalyDetected;
                self.ruled(event, Action::Alert, Would::refuse(action, reason, None, self.now))
            }
        }
    }

    /// Tells the owner of a key that somebody has wrong credentials in its name. Nothing is held against the key.
    pub(crate) fn warning(&self, finding: &Finding) -> Event {
        Event { severity: Severity::Medium, ..self.anomaly(finding, &self.record.key, Action::Alert) }
    }

    /// A ban of an address leaves a key alone that has long succeeded from there.
    pub(crate) fn spared(&self, address: &Subject, ban: &Standing) -> Event {
        let details = KeySpared {
            summary: format!(
                "The ban of {address} spares {}, which has long succeeded from there.",
                self.record.key
            ),
            key: self.record.key.to_string(),
            banned_since: ban.since,
            banned_until: ban.until,
        };
        let event = self.event(EventType::KeySpared, Severity::Low, address, "ladder").with(&details);
        Event { action: Some(Action::None.name().to_owned()), ..event }
    }

    /// The one type to alert on, beside the anomaly itself.
    pub(crate) fn high_severity(&self, finding: &Finding, subject: &Subject, action: Action) -> Event {
        let details = HighSeverityAnomaly {
            anomaly: finding.kind,
            score: finding.score,
            recommendation: finding.recommendation.clone(),
        };
        let kind = EventType::HighSeverityAnomaly;
        Event { kind, ..self.anomaly(finding, subject, action) }.with(&details)
    }

    /// A response of the ladder.
    pub(crate) fn response(
        &self,
        kind: EventType,
        subject: &Subject,
        standing: &Standing,
        cause: &Finding,
    ) -> Event {
        let details = StandingChanged::by_cause(standing, Cause::finding(cause));
        let event = self.event(kind, ladder::response_severity(kind), subject, cause.kind.detector());
        let ruled = match action_of(standing) {
            action @ (Action::TemporaryBan | Action::PermanentBan) => {
                Would::refuse(action, Reason::CriticalAnomalyDetected, standing.until, self.now)
            }
            action => Would::go_on(action),
        };
        self.ruled(event.with(&details), Action::None, ruled)
    }

    /// A request of a banned subject.
    pub(crate) fn blocked(&self, subject: &Subject, standing: &Standing) -> Event {
        let event = self.event(EventType::BannedRequestBlocked, Severity::Low, subject, "ladder");
        let details = BannedRequestBlocked { hold: Hold::of(standing), call: Some(self.call) };
        let ruled = Would::refuse(action_of(standing), bans::reason(subject), standing.until, self.now);
        self.ruled(event.with(&details), Action::None, ruled)
    }

    /// A request that a limit refused, which the ruling says.
    pub(crate) fn limited(&self, limit: &LimitStatus, ruled: Would) -> Event {
        let details = RateLimitExceeded {
            scope: limit.scope.as_deref().map(str::to_owned),
            model: limit.model.as_deref().map(str::to_owned),
            window: limit.window,
            unit: limit.unit,
            limit: EvidenceAmount::of(limit.unit, limit.limit),
            used: EvidenceAmount::of(limit.unit, limit.used),
            requested_tokens: self.record.tokens,
            requested_cost_usd: Usd(self.record.cost().nanos).to_string(),
            call: Some(self.call),
            mode: limit.mode,
            block_seconds: limit.block_seconds,
        };
        let event = self.event(EventType::RateLimitExceeded, Severity::Medium, &self.record.key, "limits");
        self.ruled(event.with(&details), Action::None, ruled)
    }

    /// A request that a shadow limit would have refused, which the ruling says.
    pub(crate) fn shadowed(&self, limit: &LimitStatus, ruled: Would) -> Event {
        let action = Some(Action::None.name().to_owned());
        Event { action, would: Some(ruled), ..self.limited(limit, ruled) }
    }

    /// So many per cent of a limit are used. The event is about whom the limit is on; one on everything is on nobody.
    pub(crate) fn limit_used(&self, applied: &Applied, used: u64, percent: u8) -> Event {
        let event = self.event(EventType::LimitUsed, Severity::Low, &self.record.key, "limits");
        limit_used(event, applied, used, percent)
    }

    /// A request that its key may not make. Keys that nobody registered are logged by their address, so that a flood of
    /// made-up ones is folded.
    pub(crate) fn not_allowed(&self, refusal: NotAllowed) -> Event {
        let refused = if self.enforcement.observes() { "Would be refused" } else { "Refused" };
        let details = KeyNotAllowed {
            summary: format!("{refused}: {}.", refusal.words()),
            cause: refusal,
            endpoint: self.record.endpoint.to_string(),
            model: self.record.model.as_deref().map(str::to_owned),
            project: self.record.project.as_ref().map(|project| project.id().to_owned()),
            call: Some(self.call),
        };
        let unknown = refusal == NotAllowed::UnknownKey;
        let subject = if unknown { &self.record.address } else { &self.record.key };
        let (kind, severity) = match unknown {
            true => (EventType::UnknownKey, Severity::Low),
            false => (EventType::KeyNotAllowed, Severity::Medium),
        };
        let reason = if unknown { Reason::UnknownKey } else { Reason::KeyNotAllowed };
        let ruled = Would::refuse(Action::None, reason, None, self.now);
        let event = self.event(kind, severity, subject, "registry").with(&details);
        self.ruled(event, Action::None, ruled)
    }

    /// A record that names another project than the one that its key is registered to.
    pub(crate) fn mismatch(&self, registered: Option<&Subject>) -> Event {
        let id = |project: &Subject| project.id().to_owned();
        let details = ProjectMismatch {
            registered: registered.map(id),
            reported: self.record.project.as_ref().map(id),
        };
        let (kind, severity) = (EventType::ProjectMismatch, Severity::Medium);
        let event = self.event(kind, severity, &self.record.key, "registry").with(&details);
        Event { action: Some("none".to_owned()), ..event }
    }

    /// New subjects came faster than the cap.
    pub(crate) fn capped(&self) -> Event {
        self.event(EventType::CardinalityCapped, Severity::Medium, &self.record.address, "limits")
    }
}
