//! The judgement of one observed request: refusals, findings, the ladder, learning.

use super::{
    explain::{Fact, Trace},
    frame::Frame,
    limits,
    observe::Observed,
    prepare::{Purpose, refuse},
};
use crate::{
    clock::{self, Instant},
    detect::{self, Attribution, Case, Recent},
    domain::{
        HOUR,
        decision::{Action, Decision, Reason},
        event::Event,
        finding::{Accused, Finding, Severity},
        ladder::{self, Step},
        observation::{ChargeMode, Observation, Peer},
        place::PlaceCore,
        policy::OnStoreFailure,
        price::Cost,
        profile::{Cell, Profile, Sample},
        standing::{Standing, StandingState},
        subject::Subject,
        window::{Counts, FIVE_MINUTES, ONE_MINUTE, Unit},
    },
    engine::{ActivePolicy, Engine, bans, events, places::describe, profiles::ProfileHandle},
    store::{Refund, Respond, Responded, StoreError},
};

/// A ladder step that somebody else's change makes void is taken again this many times.
const RETRIES: usize = 2;

impl Engine {
    /// Judges one request that the store (or the fallback) has observed.
    pub(super) async fn judge(
        &self,
        observed: Observed<'_>,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> Decision {
        let (record, now) = (observed.known.record, observed.key.now);
        if observed.degraded && active.policy.on_store_failure.record == OnStoreFailure::Deny {
            return self.unavailable(record, active, now);
        }
        let mut decision = self.seen(&observed, active);
        let frame = Frame::new(record, observed.known.place.as_deref(), active, Purpose::Record, now);
        if self.refuse_by_standing(&observed, &frame, active, &mut decision) {
            self.take_back(&observed, Vec::new()).await;
            if Self::is_admission(&observed) {
                self.give_counters_back(&observed).await;
            }
            return decision;
        }
        if let Some(refusal) = observed.known.refusal {
            let refused = self.refuse_by_registry(record, refusal, active, now, Purpose::Record);
            return Decision { allowed: false, reason: refused.reason, ..decision };
        }
        let counted = observed.charge.mode != ChargeMode::Peek;
        let kept_out = !observed.key.tracked && !observed.charge.may_create && !record.late;
        if kept_out && counted && !observed.degraded {
            self.shared.outbox.tell(|| frame.capped());
        }
        if !observed.known.limits.is_empty() && counted {
            self.report_marks(&observed, &frame);
            self.report_shadows(&observed, &decision.limits, &frame);
        }
        if !observed.key.admitted && (observed.attribution == Attribution::Key || counted) {
            self.refuse_by_limit(&mut decision, &frame, &observed.key);
            return decision;
        }
        if observed.key.standing.state_at(now) == StandingState::Throttled {
            decision.action = Action::Throttle;
        }
        if record.late || record.refused_by_keyward || observed.attribution == Attribution::Nobody {
            return decision;
        }
        decision.anomalies = self.find(&observed, active, trace);
        if !decision.anomalies.is_empty() {
            self.respond(&observed, active, &frame, &mut decision, trace).await;
        }
        let teaches = observed.key.tracked && observed.attribution == Attribution::Key;
        if decision.allowed && teaches {
            let flagged = self.learn(&observed, active, &decision.anomalies);
            trace.see(Fact::Learned { flagged });
        }
        decision
    }

    /// A decision with nothing against the request yet, and all that was seen of it.
    fn seen(&self, observed: &Observed<'_>, active: &ActivePolicy) -> Decision {
        let plain = self.plain_decision(observed.known.record, active, observed.key.now);
        let estimate = observed.kept_estimate();
        Decision {
            degraded: observed.degraded,
            limits: limits::statuses(observed),
            settlement: observed.settlement(),
            estimated: estimate.is_some(),
            cost: estimate.map_or(plain.cost, |kept| Cost { nanos: kept.cost_nanos, ..plain.cost }),
            ..plain
        }
    }

    /// Whether a ban refuses the request: one that this very batch, or another instance, has made since the trip began,
    /// or the standing that the store told.
    fn refuse_by_standing(
        &self,
        observed: &Observed<'_>,
        frame: &Frame<'_>,
        active: &ActivePolicy,
        decision: &mut Decision,
    ) -> bool {
        let (record, now) = (observed.known.record, observed.key.now);
        let held = self.ban_on(record, active, Purpose::Record, now);
        let (subject, standing, reason) = if let Some((subject, standing)) = held {
            let reason = bans::reason(&subject);
            (subject, standing, reason)
        } else if observed.key.standing.is_banned_at(now) {
            self.bans.set(&record.key, &observed.key.standing, now);
            (record.key.clone(), observed.key.standing, Reason::ApiKeyBanned)
        } else {
            return false;
        };
        self.shared.outbox.tell(|| frame.blocked(&subject, &standing));
        refuse(decision, &standing, reason);
        true
    }

    /// The answer to a check: standing and limits, nothing counted.
    pub(super) fn answer_check(&self, observed: &Observed<'_>, active: &ActivePolicy) -> Decision {
        let (record, now) = (observed.known.record, observed.key.now);
        let mut decision = self.seen(observed, active);
        if observed.degraded && active.policy.on_store_failure.check == OnStoreFailure::Deny {
            let (allowed, reason) = (false, Some(Reason::StoreUnavailable));
            return Decision { allowed, reason, action: Action::Throttle, ..decision };
        }
        let frame = Frame::new(record, observed.known.place.as_deref(), active, Purpose::Check, now);
        if observed.key.standing.is_banned_at(now) {
            self.bans.set(&record.key, &observed.key.standing, now);
            self.shared.outbox.tell(|| frame.blocked(&record.key, &observed.key.standing));
            refuse(&mut decision, &observed.key.standing, Reason::ApiKeyBanned);
            return decision;
        }
        self.report_shadows(observed, &decision.limits, &frame);
        if !observed.key.admitted {
            self.report_marks(observed, &frame);
            self.refuse_by_limit(&mut decision, &frame, &observed.key);
        } else if observed.key.standing.state_at(now) == StandingState::Throttled {
            decision.action = Action::Throttle;
        }
        if decision.allowed {
            decision.reserved = observed.reserved();
        }
        decision
    }

    fn refuse_by_limit(&self, decision: &mut Decision, frame: &Frame<'_>, key: &Observation) {
        decision.allowed = false;
        decision.action = Action::Throttle;
        decision.reason = Some(Reason::RateLimitExceeded);
        let Some((index, retry_at)) = limits::refusing(key, &decision.limits) else { return };
        let Some(limit) = decision.limits.get(index) else { return };
        if limit.unit == Unit::CostUsd {
            decision.reason = Some(Reason::BudgetExceeded);
        }
        // What never fits gets no time, unless it is a throttle that makes it too large: that ends.
        let throttled = key.standing.state_at(key.now) == StandingState::Throttled;
        decision.retry_at = retry_at.or(key.standing.until.filter(|_| throttled));
        self.shared.outbox.tell(|| frame.limited(limit, decision.ruling()));
    }

    fn find(&self, observed: &Observed<'_>, active: &ActivePolicy, trace: &mut impl Trace) -> Vec<Finding> {
        let record = observed.known.record;
        let core = observed.known.place.as_ref().map(|p| &p.core);
        let geo_loaded = self.geo.loaded_at();
        if active.allowlist.covers(&record.key, record.source_ip, core, observed.key.now) {
            return Vec::new();
        }
        let describe = |core: &PlaceCore| describe(&self.geo, core);
        let remembered = observed.attribution == Attribution::Key;
        observed.profile.judge(remembered, |profile: &Profile, recent: &Recent| {
            // Only a young key is judged by others; locks are taken in this order alone.
            let prior = observed.prior.as_ref().filter(|_| detect::is_young(profile, observed.key.now));
            let prior = prior.map(ProfileHandle::read);
            let case = Case::new(
                (record, observed.attribution),
                observed.known.place.as_deref(),
                &observed.key,
                observed.address.as_ref(),
                (profile, prior.as_deref(), recent),
                &observed.known.features,
                (&active.policy, &active.allowlist),
                (&describe, geo_loaded),
            );
            trace.see(Fact::Asked(&case));
            (detect::judge(&case), case.seen())
        })
    }

    /// Climbs the ladder for each accused subject, and writes what changed.
    async fn respond(
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
        let elsewhere = || observed.profile.with(|profile| detect::has_succeeded(profile, frame.now));
        if observed.attribution == Attribution::Source && !by_address.is_empty() && elsewhere() {
            by_address.iter().for_each(|finding| self.shared.outbox.tell(|| frame.warning(finding)));
        }
        if !by_address.is_empty() {
            let action = self.climb(&record.address, &by_address, observed, active, frame, trace).await;
            decision.degraded |= action.degraded;
            decision.action = decision.action.max(action.action);
            refused = refused.or(action.refused);
        }
        if !by_key.is_empty() {
            let action = self.climb(&record.key, &by_key, observed, active, frame, trace).await;
            decision.degraded |= action.degraded;
            decision.action = decision.action.max(action.action);
            refused = action.refused.or(refused);
        } else if refused.is_some() {
            self.take_back(observed, Vec::new()).await;
        }
        if let Some(standing) = refused {
            refuse(decision, &standing, Reason::CriticalAnomalyDetected);
        }
        if refused.is_some() && Self::is_admission(observed) {
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
        for _ in 0..RETRIES {
            let ladder = &active.policy.ladder;
            let step = ladder::climb(subject, &standing, findings, ladder, now);
            let step = active.policy.enforcement.mark_step(&standing, step, ladder);
            trace.see(Fact::Climbed(subject, &standing, findings, &step));
            let is_logged = self.shared.outbox.is_open();
            let mut events =
                if is_logged { anomaly_events(subject, findings, &step, frame) } else { Vec::new() };
            let cause = step.cause.and_then(|n| findings.get(n));
            let (Some(next), Some(cause)) = (step.standing, cause) else {
                events.into_iter().for_each(|event| self.shared.outbox.push(event));
                return Climbed { action: step.action, refused: None, degraded: false };
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
                    self.take_back(observed, respond.events).await;
                    return Climbed { action: step.action, refused: Some(current), degraded: false };
                }
                Some(Responded::Conflict(current)) => standing = counts(&current),
                written => {
                    self.bans.set(subject, &next, now);
                    return Climbed { action: step.action, refused, degraded: written.is_none() };
                }
            }
        }
        Climbed { action: Action::Alert, refused: None, degraded: false }
    }

    /// Writes a response within the deadline. Without an answer, the standing holds here and is owed to the store.
    async fn write(&self, respond: &Respond, by: Instant) -> Option<Responded> {
        if self.shared.is_answering() {
            let patience = by.saturating_duration_since(clock::instant()).max(self.deadline() / 10);
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
    /// sighting of its peer. Writes events with it.
    async fn take_back(&self, observed: &Observed<'_>, events: Vec<Event>) {
        let charged =
            observed.key.admitted && observed.key.tracked && observed.charge.mode != ChargeMode::Peek;
        if !charged && events.is_empty() {
            return;
        }
        let refunds = if charged { refunds(observed) } else { Vec::new() };
        let subject = observed.known.record.key.clone();
        let respond = Respond { subject, now: observed.key.now, standing: None, refunds, events };
        self.write(&respond, observed.write_by).await;
    }

    /// Tells the profile of a request, and says whether it was flagged: then it taught nothing.
    fn learn(&self, observed: &Observed<'_>, active: &ActivePolicy, findings: &[Finding]) -> bool {
        let record = observed.known.record;
        let core = observed
            .known
            .place
            .as_ref()
            .map(|p| p.core.precise(active.policy.detectors.impossible_travel.max_radius_km));
        let sample = Sample {
            now: observed.key.now,
            place: core.as_ref(),
            came_from: came_from(&observed.key),
            client: Some(&observed.known.features.client),
            endpoint: &observed.known.features.endpoint,
            model: record.model.as_deref(),
            tokens: record.tokens,
            cost_nanos: record.cost().nanos,
            outcome: record.outcome(),
            peaks: (observed.key.counts[ONE_MINUTE].requests, observed.key.counts[FIVE_MINUTES].requests),
        };
        let flagged = findings.iter().any(Finding::bars_learning);
        if flagged {
            self.profiles.count_flagged(&record.key, &observed.profile, &sample, findings);
        } else {
            self.profiles.learn(&record.key, &observed.profile, &sample);
            if let (Some(project), Some(prior)) = (&record.project, &observed.prior) {
                self.profiles.learn(project, prior, &sample);
            }
        }
        flagged
    }
}

/// What climbing led to.
struct Climbed {
    action: Action,
    refused: Option<Standing>,
    degraded: bool,
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
        ChargeMode::Admit => observed.charge.counts,
        ChargeMode::Report | ChargeMode::Peek => Counts::default(),
    };
    vec![Refund { charged_at: observed.key.now, counts, peer }]
}

/// The cell the key was in last, within an hour.
fn came_from(key: &Observation) -> Option<Cell> {
    let recent = key.peers.first().filter(|seen| key.now - seen.last_seen <= HOUR)?;
    PlaceCore::unpack(&recent.peer.data).coordinates.as_ref().map(Cell::of)
}
