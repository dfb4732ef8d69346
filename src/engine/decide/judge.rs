//! The judgement of one observed request: refusals, findings, the ladder, learning.

use super::{
    explain::{Fact, Trace},
    frame::Frame,
    limits,
    prepare::{Observed, Purpose, refuse},
};
use crate::{
    clock::{self, Instant},
    detect::{self, Attribution, Case, Recent},
    domain::{
        HOUR,
        decision::{Action, Decision, LimitStatus, Reason},
        event::Event,
        finding::{Accused, Finding, Severity},
        ladder::{self, Step},
        observation::{ChargeMode, Observation, Peer},
        place::PlaceCore,
        profile::{Cell, Profile, Sample},
        record::Record,
        standing::{Standing, StandingState},
        subject::Subject,
        window::{FIVE_MINUTES, ONE_MINUTE, Unit},
    },
    engine::{ActivePolicy, Engine, bans, events, profiles::ProfileHandle},
    store::{Refund, Respond, Responded, StoreError},
};

/// A ladder step that somebody else's change makes void is taken again this many times.
const RETRIES: usize = 2;

impl Engine {
    /// Judges one request that the store (or the fallback) has observed.
    pub(super) async fn judge(
        &self,
        record: &Record,
        observed: Observed,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> Decision {
        let now = observed.key.now;
        if observed.degraded
            && active.policy.on_store_failure.record == crate::domain::policy::OnStoreFailure::Deny
        {
            return self.unavailable(record, active, now);
        }
        let mut decision = self.plain_decision(record, active, now);
        decision.degraded = observed.degraded;
        decision.limits = limits::statuses(&observed);
        let frame = Frame::new(record, observed.place.as_deref(), active, Purpose::Record, now);
        // A ban that this very batch, or another instance, has made since the trip began.
        if let Some((subject, standing)) = self.ban_on(record, active, Purpose::Record, now) {
            self.outbox.tell(|| frame.blocked(&subject, &standing));
            refuse(&mut decision, &standing, bans::reason(&subject));
            self.take_back(record, &observed, Vec::new()).await;
            if observed.key.admitted && observed.charge.mode != ChargeMode::Peek {
                self.give_quotas_back(&observed).await;
            }
            return decision;
        }
        if observed.key.standing.is_banned_at(now) {
            self.bans.set(&record.key, &observed.key.standing, now);
            self.outbox.tell(|| frame.blocked(&record.key, &observed.key.standing));
            refuse(&mut decision, &observed.key.standing, Reason::ApiKeyBanned);
            if let Some(lease) = &observed.lease {
                self.give_all_back(record, &observed, lease).await;
            }
            return decision;
        }
        if let Some(lease) = &observed.lease {
            let spare = self.give_rest_back(record, &observed, lease).await;
            let windows = |limit: &&mut LimitStatus| limit.scope.is_none() && limit.unit == Unit::Tokens;
            for limit in decision.limits.iter_mut().filter(windows) {
                limit.used = limit.used.saturating_sub(spare);
            }
        }
        if !observed.key.tracked && observed.charge.mode == ChargeMode::Admit && !observed.degraded {
            self.outbox.tell(|| frame.capped());
        }
        let uncounted = observed.charge.mode == ChargeMode::Peek;
        if !observed.key.admitted && (observed.attribution == Attribution::Key || !uncounted) {
            self.refuse_by_limit(&mut decision, &frame, &observed.key);
            return decision;
        }
        if observed.key.standing.state_at(now) == StandingState::Throttled {
            decision.action = Action::Throttle;
        }
        if record.refused_by_keyward || observed.attribution == Attribution::Nobody {
            return decision;
        }
        decision.anomalies = self.find(record, &observed, active, trace);
        if !decision.anomalies.is_empty() {
            self.respond(record, &observed, active, &frame, &mut decision, trace).await;
        }
        if decision.allowed && !observed.limits.is_empty() {
            self.report_budgets(&observed, &frame);
        }
        let teaches = observed.key.tracked && observed.attribution == Attribution::Key;
        if decision.allowed && teaches {
            let flagged = self.learn(record, &observed, active, &decision.anomalies);
            trace.see(Fact::Learned { flagged });
        }
        decision
    }

    /// The answer to a check: standing and limits, nothing counted.
    pub(super) fn answer_check(
        &self,
        record: &Record,
        observed: &Observed,
        active: &ActivePolicy,
    ) -> Decision {
        let now = observed.key.now;
        let mut decision = self.plain_decision(record, active, now);
        decision.degraded = observed.degraded;
        decision.limits = limits::statuses(observed);
        if observed.degraded
            && active.policy.on_store_failure.check == crate::domain::policy::OnStoreFailure::Deny
        {
            let (allowed, reason) = (false, Some(Reason::StoreUnavailable));
            return Decision { allowed, reason, action: Action::Throttle, ..decision };
        }
        let frame = Frame::new(record, observed.place.as_deref(), active, Purpose::Check, now);
        if observed.key.standing.is_banned_at(now) {
            self.bans.set(&record.key, &observed.key.standing, now);
            self.outbox.tell(|| frame.blocked(&record.key, &observed.key.standing));
            refuse(&mut decision, &observed.key.standing, Reason::ApiKeyBanned);
        } else if !observed.key.admitted {
            self.refuse_by_limit(&mut decision, &frame, &observed.key);
        } else if observed.key.standing.state_at(now) == StandingState::Throttled {
            decision.action = Action::Throttle;
        }
        if decision.allowed {
            decision.reservation = self.reservation(observed);
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
        self.outbox.tell(|| frame.limited(limit, decision.ruling()));
    }

    fn find(
        &self,
        record: &Record,
        observed: &Observed,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> Vec<Finding> {
        let core = observed.place.as_ref().map(|p| &p.core);
        let geo_loaded = self.geo.loaded_at();
        if active.allowlist.covers(&record.key, record.source_ip, core, observed.key.now) {
            return Vec::new();
        }
        let describe = |core: &PlaceCore| self.describe(core);
        let remembered = observed.attribution == Attribution::Key;
        observed.profile.judge(remembered, |profile: &Profile, recent: &Recent| {
            // Only a young key is judged by others; locks are taken in this order alone.
            let prior = observed.prior.as_ref().filter(|_| detect::is_young(profile, observed.key.now));
            let prior = prior.map(ProfileHandle::read);
            let case = Case::new(
                (record, observed.attribution),
                observed.place.as_deref(),
                &observed.key,
                observed.address.as_ref(),
                (profile, prior.as_deref(), recent),
                &observed.features,
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
        record: &Record,
        observed: &Observed,
        active: &ActivePolicy,
        frame: &Frame<'_>,
        decision: &mut Decision,
        trace: &mut impl Trace,
    ) {
        let findings = std::mem::take(&mut decision.anomalies);
        let (by_key, by_address): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|f| f.accused == Accused::Key);
        let mut refused = None;
        let elsewhere = || observed.profile.with(|profile| detect::has_succeeded(profile, frame.now));
        if observed.attribution == Attribution::Source && !by_address.is_empty() && elsewhere() {
            by_address.iter().for_each(|finding| self.outbox.tell(|| frame.warning(finding)));
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
            self.take_back(record, observed, Vec::new()).await;
        }
        if let Some(standing) = refused {
            refuse(decision, &standing, Reason::CriticalAnomalyDetected);
            if observed.charge.mode == ChargeMode::Peek {
                decision.anomalies = by_key.into_iter().chain(by_address).collect();
                return;
            }
            self.give_quotas_back(observed).await;
            let windows = decision.limits.iter_mut().filter(|limit| limit.scope.is_none());
            windows.for_each(|limit| {
                limit.used = limit.used.saturating_sub(observed.charge.counts.of(limit.unit));
            });
            let counters = decision.limits.iter_mut().filter(|limit| limit.scope.is_some());
            counters.zip(&observed.charge.quotas).for_each(|(limit, quota)| {
                limit.used = limit.used.saturating_sub(quota.amount);
            });
        }
        decision.anomalies = by_key.into_iter().chain(by_address).collect();
    }

    async fn climb(
        &self,
        subject: &Subject,
        findings: &[Finding],
        observed: &Observed,
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
            let is_logged = self.outbox.is_open();
            let mut events =
                if is_logged { anomaly_events(subject, findings, &step, frame) } else { Vec::new() };
            let cause = step.cause.and_then(|n| findings.get(n));
            let (Some(next), Some(cause)) = (step.standing, cause) else {
                events.into_iter().for_each(|event| self.outbox.push(event));
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
                    self.take_back(frame.record, observed, respond.events).await;
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
        if self.breaker.open_since().is_none() {
            let patience = by.saturating_duration_since(clock::instant()).max(self.deadline() / 10);
            let asked = clock::instant();
            let answer = clock::timeout(patience, self.store.respond(respond)).await;
            self.metrics.respond.record(asked.elapsed());
            match answer {
                Ok(Ok(responded)) => {
                    self.breaker.succeeded();
                    if let Responded::Done(events) = &responded {
                        self.metrics.events_written.increment(events.len() as u64);
                    }
                    return Some(responded);
                }
                Ok(Err(error)) => self.store_failed(&error, respond.now),
                Err(_) => {
                    self.store_failed(&StoreError::Deadline(patience), respond.now);
                }
            }
        }
        if let Some((standing, detail)) = &respond.standing {
            self.fallback.owe_standing(&respond.subject, *standing, detail.clone());
        }
        respond.events.iter().cloned().for_each(|event| self.outbox.push(event));
        None
    }

    /// Takes back the charge of a request that is refused after all.
    async fn take_back(&self, record: &Record, observed: &Observed, events: Vec<Event>) {
        let charged =
            observed.key.admitted && observed.key.tracked && observed.charge.mode != ChargeMode::Peek;
        if !charged && events.is_empty() {
            return;
        }
        let refunds = if charged { refunds(observed) } else { Vec::new() };
        self.refund(record, observed, refunds, events).await;
    }

    /// Takes charges back, and writes events.
    pub(super) async fn refund(
        &self,
        record: &Record,
        observed: &Observed,
        refunds: Vec<Refund>,
        events: Vec<Event>,
    ) {
        let subject = record.key.clone();
        let respond = Respond { subject, now: observed.key.now, standing: None, refunds, events };
        self.write(&respond, observed.write_by).await;
    }

    /// Tells the profile of a request, and says whether it was flagged: then it taught nothing.
    fn learn(
        &self,
        record: &Record,
        observed: &Observed,
        active: &ActivePolicy,
        findings: &[Finding],
    ) -> bool {
        let core = observed
            .place
            .as_ref()
            .map(|p| p.core.precise(active.policy.detectors.impossible_travel.max_radius_km));
        let sample = Sample {
            now: observed.key.now,
            place: core.as_ref(),
            came_from: came_from(&observed.key),
            client: Some(&observed.features.client),
            endpoint: &observed.features.endpoint,
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

/// What a request charged to the windows: itself, and the reservation that it settled.
fn refunds(observed: &Observed) -> Vec<Refund> {
    let peer = observed.charge.peer.as_ref().map(|p: &Peer| p.id);
    let own = Refund { charged_at: observed.key.now, counts: observed.charge.counts, peer };
    let held = observed.lease.as_ref();
    let held = held.map(|lease| Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None });
    std::iter::once(own).chain(held).collect()
}

/// The cell the key was in last, within an hour.
fn came_from(key: &Observation) -> Option<Cell> {
    let recent = key.peers.first().filter(|seen| key.now - seen.last_seen <= HOUR)?;
    PlaceCore::unpack(&recent.peer.data).coordinates.as_ref().map(Cell::of)
}
