//! What follows from a judgement: the ladder is climbed, what changed is written, what was charged in vain is taken
//! back, and the profile learns.

use super::{
    decider::Decider,
    explain::{Fact, Trace},
    frame::Frame,
    prepare::refuse,
    stages::{Judged, Next, Observed, Purpose},
};
use crate::{
    clock::{self, Instant},
    detect::{self, Attribution},
    domain::{
        decision::{Action, Decision, Reason},
        event::Event,
        finding::{Accused, Finding, Severity},
        ladder::{self, Step},
        ladder_policy::LadderPolicy,
        observation::{ChargeMode, Peer},
        standing::Standing,
        subject::Subject,
        window::Counts,
    },
    engine::{events, policy::ActivePolicy},
    store::{Refund, Respond, Responded, StoreError},
};

/// A ladder step that somebody else's change makes void is taken again this many times.
const RETRIES: usize = 2;

impl Decider {
    /// Makes a decision of a judgement, with all that follows from it done.
    pub(super) async fn respond(
        &self,
        judged: Judged<'_>,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> Decision {
        let Judged { observed, mut decision, next } = judged;
        let (findings, sighting) = match next {
            Next::Nothing => return decision,
            Next::TakeBack => {
                self.take_back(&observed).await;
                if observed.is_admission() {
                    self.give_counters_back(&observed).await;
                }
                return decision;
            }
            Next::Respond(findings, sighting) => (findings, sighting),
        };
        decision.anomalies = findings;
        if !decision.anomalies.is_empty() {
            let (record, now) = (observed.known.record, observed.key.now);
            let frame = Frame::new(record, observed.known.place.as_deref(), active, Purpose::Record, now);
            self.climb_for_each(&observed, active, &frame, &mut decision, trace).await;
        }
        let teaches = observed.key.tracked && observed.attribution == Attribution::Key;
        if decision.allowed && teaches {
            let flagged = self.learn(&observed, active, &decision.anomalies, sighting.as_ref());
            trace.see(Fact::Learned { flagged });
        } else if teaches && let Some(accused) = sighting.filter(|sighting| sighting.accused) {
            self.profiles.accuse(&observed.known.record.key, &observed.profile, &accused, observed.key.now);
        }
        decision
    }

    /// Climbs the ladder for each accused subject, and writes what changed.
    async fn climb_for_each(
        &self,
        observed: &Observed<'_>,
        active: &ActivePolicy,
        frame: &Frame<'_>,
        decision: &mut Decision,
        trace: &mut impl Trace,
    ) {
        let record = observed.known.record;
        let findings = std::mem::take(&mut decision.anomalies);
        let (by_key, by_address): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|f| f.accused == Accused::Key);
        let mut refused = None;
        let mut taken_back = false;
        let elsewhere = || observed.profile.with(|profile| detect::has_succeeded(profile, frame.now));
        if observed.attribution == Attribution::Source && !by_address.is_empty() && elsewhere() {
            by_address.iter().for_each(|finding| self.shared.outbox.tell(|| frame.warning(finding)));
        }
        if !by_address.is_empty() {
            let action = self.climb(&record.address, &by_address, observed, active, frame, trace).await;
            decision.degraded |= action.degraded;
            decision.action = decision.action.max(action.action);
            taken_back |= action.taken_back;
            refused = refused.or(action.refused);
        }
        if !by_key.is_empty() {
            let action = self.climb(&record.key, &by_key, observed, active, frame, trace).await;
            decision.degraded |= action.degraded;
            decision.action = decision.action.max(action.action);
            taken_back |= action.taken_back;
            refused = action.refused.or(refused);
        }
        if refused.is_some() && !taken_back {
            self.take_back(observed).await;
        }
        if let Some(standing) = refused {
            refuse(decision, &standing, Reason::CriticalAnomalyDetected);
        }
        if refused.is_some() && observed.is_admission() {
            self.give_counters_back(observed).await;
            let windows = decision.limits.iter_mut().filter(|limit| limit.scope.is_none());
            windows.for_each(|limit| {
                limit.used = limit.used.saturating_sub(observed.charge.counts.of(limit.unit));
            });
            let counters = decision.limits.iter_mut().filter(|limit| limit.scope.is_some());
            counters.zip(&observed.charge.counters).for_each(|(limit, charge)| {
                limit.used = limit.used.saturating_sub(charge.amount);
            });
        }
        decision.anomalies = by_key.into_iter().chain(by_address).collect();
    }

    async fn climb(
        &self,
        subject: &Subject,
        findings: &[Finding],
        observed: &Observed<'_>,
        active: &ActivePolicy,
        frame: &Frame<'_>,
        trace: &mut impl Trace,
    ) -> Climbed {
        let now = frame.now;
        let is_key = *subject == frame.record.key;
        let accused = if is_key { Some(&observed.key) } else { observed.address.as_ref() };
        let mut standing = accused.map_or_else(Standing::default, |accused| accused.standing);
        let ladder = &self.ladder_for(is_key, observed, active);
        for _ in 0..RETRIES {
            let step = ladder::climb(subject, &standing, findings, ladder, now);
            let step = active.policy.enforcement.mark_step(&standing, step, ladder);
            trace.see(Fact::Climbed(subject, &standing, findings, &step));
            let is_logged = self.shared.outbox.is_open();
            let mut events =
                if is_logged { anomaly_events(subject, findings, &step, frame) } else { Vec::new() };
            let cause = step.cause.and_then(|n| findings.get(n));
            let (Some(next), Some(cause)) = (step.standing, cause) else {
                events.into_iter().for_each(|event| self.shared.outbox.push(event));
                return Climbed::to(step.action);
            };
            if let Some(kind) = step.event.filter(|_| is_logged) {
                events.push(frame.response(kind, subject, &next, cause));
            }
            let banned = next.is_banned_at(now);
            let refunds = if banned && is_key { refunds(observed) } else { Vec::new() };
            let detail = events::detail(cause, frame.record);
            let respond =
                Respond { subject: subject.clone(), now, standing: Some((next, detail)), refunds, events };
            let refused = banned.then_some(next);
            let counts = |current: &Standing| current.counting(active.observes());
            match self.write(&respond, observed.write_by).await {
                Some(Responded::Conflict(current)) if counts(&current).is_banned_at(now) => {
                    self.bans.set(subject, &current, now);
                    respond.events.into_iter().for_each(|event| self.shared.outbox.push(event));
                    return Climbed { refused: Some(current), ..Climbed::to(step.action) };
                }
                Some(Responded::Conflict(current)) => standing = counts(&current),
                written => {
                    self.bans.set(subject, &next, now);
                    let (degraded, taken_back) = (written.is_none(), banned && is_key);
                    return Climbed { refused, degraded, taken_back, ..Climbed::to(step.action) };
                }
            }
        }
        Climbed::to(Action::Alert)
    }

    /// The ladder for a subject. A key is never throttled below its own busiest hour and day: that alone is no reason
    /// to stop its owner.
    fn ladder_for(&self, is_key: bool, observed: &Observed<'_>, active: &ActivePolicy) -> LadderPolicy {
        let mut ladder = active.policy.ladder.clone();
        if is_key {
            let limits = &observed.charge.limits;
            let usual =
                observed.profile.with(|profile| detect::usual_share(profile, limits, observed.key.now));
            ladder.throttle_share = ladder.throttle_share.max(usual).min(1.0);
        }
        ladder
    }

    /// Writes a response within the deadline. Without an answer, the standing holds here and is owed to the store.
    async fn write(&self, respond: &Respond, by: Instant) -> Option<Responded> {
        if self.shared.is_answering() {
            let patience = by.saturating_duration_since(clock::instant()).max(self.deadline / 10);
            let asked = clock::instant();
            let answer = clock::timeout(patience, self.shared.store.respond(respond)).await;
            self.shared.metrics.respond.record(asked.elapsed());
            match answer {
                Ok(Ok(responded)) => {
                    self.shared.breaker.succeeded();
                    if let Responded::Done(events) = &responded {
                        self.shared.metrics.events_written.increment(events.len() as u64);
                    }
                    return Some(responded);
                }
                Ok(Err(error)) => self.shared.store_failed(&error, respond.now),
                Err(_) => {
                    self.shared.store_failed(&StoreError::Deadline(patience), respond.now);
                }
            }
        }
        if let Some((standing, detail)) = &respond.standing {
            self.fallback.owe_standing(&respond.subject, *standing, detail.clone());
        }
        respond.events.iter().cloned().for_each(|event| self.shared.outbox.push(event));
        None
    }

    /// Takes back what a request that is refused after all left with its key: the charge of an admission, and the
    /// sighting of its peer.
    async fn take_back(&self, observed: &Observed<'_>) {
        let charged =
            observed.key.admitted && observed.key.tracked && observed.charge.mode != ChargeMode::Peek;
        if !charged {
            return;
        }
        let (subject, refunds) = (observed.known.record.key.clone(), refunds(observed));
        let respond = Respond { subject, now: observed.key.now, standing: None, refunds, events: Vec::new() };
        self.write(&respond, observed.write_by).await;
    }
}

/// What climbing led to.
struct Climbed {
    action: Action,
    refused: Option<Standing>,
    degraded: bool,
    /// Whether what the request left with its key was taken back with it.
    taken_back: bool,
}

impl Climbed {
    /// Nothing was refused.
    fn to(action: Action) -> Self {
        Self { action, refused: None, degraded: false, taken_back: false }
    }
}

fn anomaly_events(subject: &Subject, findings: &[Finding], step: &Step, frame: &Frame<'_>) -> Vec<Event> {
    let action = step.action;
    let mut events: Vec<Event> = findings.iter().map(|f| frame.anomaly(f, subject, action)).collect();
    let worst = findings.iter().filter(|f| f.is_enforced() && f.severity >= Severity::High);
    if let Some(worst) = worst.max_by_key(|f| f.severity) {
        events.push(frame.high_severity(worst, subject, action));
    }
    events
}

/// What is taken back of a refused request: all of an admission; of a report its peer alone, since it was used.
fn refunds(observed: &Observed<'_>) -> Vec<Refund> {
    let peer = observed.charge.peer.as_ref().map(|p: &Peer| p.id);
    let counts = match observed.charge.mode {
        ChargeMode::Admit if !observed.waits_for_store() => observed.charge.counts,
        ChargeMode::Admit | ChargeMode::Report | ChargeMode::Peek => Counts::default(),
    };
    vec![Refund { charged_at: observed.key.now, counts, peer }]
}
