//! The judgement of one observed request: refusals, and what detectors find. Nothing is written.

use super::{
    decider::Decider,
    explain::{Fact, Trace},
    frame::Frame,
    limits,
    prepare::refuse,
    stages::{Judged, Next, Observed, Purpose},
};
use crate::{
    detect::{self, Attribution, Case, Recent},
    domain::{
        decision::{Action, Decision, LimitStatus, Reason},
        finding::{AnomalyKind, Finding, Mode},
        observation::{ChargeMode, Observation},
        place::PlaceCore,
        policy::OnStoreFailure,
        price::Cost,
        profile::{PartSighting, Profile},
        registry::NotAllowed,
        standing::StandingState,
        window::Unit,
    },
    engine::{bans, places::describe, policy::ActivePolicy, profile_entry::ProfileHandle},
};

impl Decider {
    /// Judges one request that the store (or the fallback) has observed. Nothing here waits.
    pub(super) fn judge<'r>(
        &self,
        observed: Observed<'r>,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> Judged<'r> {
        let (record, now) = (observed.known.record, observed.key.now);
        if observed.degraded && active.policy.on_store_failure.record == OnStoreFailure::Deny {
            return Judged { observed, decision: self.unavailable(record, active, now), next: Next::Nothing };
        }
        let mut decision = self.seen(&observed, active);
        let next = self.next(&observed, active, &mut decision, trace);
        Judged { observed, decision, next }
    }

    /// What is to follow, with what it says in the decision: a refusal by a ban, the registry or a limit, in this
    /// order; else what the detectors find.
    fn next(
        &self,
        observed: &Observed<'_>,
        active: &ActivePolicy,
        decision: &mut Decision,
        trace: &mut impl Trace,
    ) -> Next {
        let (record, now) = (observed.known.record, observed.key.now);
        let frame = Frame::new(record, observed.known.place.as_deref(), active, Purpose::Record, now);
        if self.refuse_by_standing(observed, &frame, active, decision) {
            return Next::TakeBack;
        }
        if let Some(refusal) = observed.known.refusal {
            let refused = self.refuse_by_registry(record, refusal, active, now, Purpose::Record);
            (decision.allowed, decision.reason) = (false, refused.reason);
            return match refusal {
                NotAllowed::Canary => Next::Respond(self.canary(observed, active), None),
                _ => Next::Nothing,
            };
        }
        let counted = observed.charge.mode != ChargeMode::Peek;
        self.report_counted(observed, &decision.limits, &frame, counted);
        if !observed.key.admitted && (observed.attribution == Attribution::Key || counted) {
            self.refuse_by_limit(decision, &frame, &observed.key);
            return Next::Nothing;
        }
        if observed.key.standing.state_at(now) == StandingState::Throttled {
            decision.action = Action::Throttle;
        }
        if record.late || record.refused_by_keyward || observed.attribution == Attribution::Nobody {
            return Next::Nothing;
        }
        let (findings, sighting) = self.find(observed, active, trace);
        Next::Respond(findings, sighting)
    }

    /// What is found about a request with a key that nobody may use; what the allowlist covers is not acted on.
    fn canary(&self, observed: &Observed<'_>, active: &ActivePolicy) -> Vec<Finding> {
        let (record, now) = (observed.known.record, observed.key.now);
        let core = observed.known.place.as_ref().map(|place| &place.core);
        let is_covered = active.allowlist.covers(&record.key, record.source_ip, core, now);
        let mode = match active.policy.mode(AnomalyKind::CanaryKeyUsed) {
            Mode::Enforce if is_covered => Mode::Shadow,
            mode => mode,
        };
        let is_on = mode != Mode::Off && !record.late;
        is_on.then(|| detect::used_canary(record, mode)).into_iter().collect()
    }

    /// Tells of a new subject that was kept out, and of limits that what was counted used up, or that would have
    /// refused it. `statuses`: how all limits stand.
    fn report_counted(
        &self,
        observed: &Observed<'_>,
        statuses: &[LimitStatus],
        frame: &Frame<'_>,
        counted: bool,
    ) {
        let kept_out = !observed.key.tracked && !observed.charge.may_create && !observed.known.record.late;
        if kept_out && counted && !observed.degraded {
            self.shared.outbox.tell(|| frame.capped());
        }
        if !observed.known.limits.is_empty() && counted {
            self.report_marks(observed, frame);
            self.report_shadows(observed, statuses, frame);
        }
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

    /// What the keys of others show about the address, or the client, of a request.
    fn crowd_of(&self, case: &Case<'_>) -> detect::Crowd {
        let (crowd, now) = (&self.remembers.crowd, case.now());
        if case.attribution == Attribution::Source && !case.succeeds_elsewhere() {
            let spray = crowd.refused(&case.features.client, case.record, now);
            return detect::Crowd { spray, ..detect::Crowd::default() };
        }
        let first_uses =
            if case.is_first_use() { crowd.first_use(case.record, now) } else { Default::default() };
        detect::Crowd { first_uses, ..detect::Crowd::default() }
    }

    fn find(
        &self,
        observed: &Observed<'_>,
        active: &ActivePolicy,
        trace: &mut impl Trace,
    ) -> (Vec<Finding>, Option<PartSighting>) {
        let record = observed.known.record;
        let core = observed.known.place.as_ref().map(|p| &p.core);
        let geo_loaded = self.geo.loaded_at();
        if active.allowlist.covers(&record.key, record.source_ip, core, observed.key.now) {
            return (Vec::new(), None);
        }
        let describe = |core: &PlaceCore| describe(&self.geo, core);
        let remembered = observed.attribution == Attribution::Key && !record.observes;
        let (findings, sighting) =
            observed.profile.judge(remembered, |profile: &Profile, recent: &Recent| {
                // Others are asked about a young key, and about what is new; locks are taken in this order alone.
                let news = || detect::shows_news(profile, &observed.known.features, record, core);
                let is_asked = detect::is_young(profile, observed.key.now) || news();
                let prior = observed.prior.as_ref().filter(|_| is_asked);
                let prior = prior.map(ProfileHandle::read);
                let mut case = Case::new(
                    (record, observed.attribution),
                    observed.known.place.as_deref(),
                    &observed.key,
                    observed.address.as_ref(),
                    (profile, prior.as_deref(), recent),
                    &observed.known.features,
                    (&active.policy, &active.allowlist),
                    (&describe, geo_loaded),
                );
                case.crowd = self.crowd_of(&case);
                trace.see(Fact::Asked(&case));
                (detect::judge_part(&case), case.seen())
            });
        (findings, Some(sighting))
    }
}
