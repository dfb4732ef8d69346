//! The ladder of graduated responses: pure functions from a standing and findings to the next standing.

use super::{
    Millis, SECOND,
    decision::Action,
    event::EventType,
    finding::{AnomalyKind, Finding, Severity},
    ladder_policy::LadderPolicy,
    stable_hash,
    standing::{Origin, Standing, StandingState},
    subject::Subject,
};

/// What the ladder does about findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The action that the decision answers.
    pub action: Action,
    /// The new standing, when it changes.
    pub standing: Option<Standing>,
    /// The type of the event that reports the change.
    pub event: Option<EventType>,
    /// Index of the finding that led to it.
    pub cause: Option<usize>,
}

const STAY: Step = Step { action: Action::None, standing: None, event: None, cause: None };

/// Climbs: what the worst of the enforced `findings` leads to, all of which accuse `subject`. Findings of detectors
/// under grace are left alone until the grace ends. Whatever is found, a ban in force ends no earlier for it.
pub fn climb(
    subject: &Subject,
    standing: &Standing,
    findings: &[Finding],
    policy: &LadderPolicy,
    now: Millis,
) -> Step {
    let graced = |f: &Finding| now < standing.grace_until && standing.grace_detectors & f.kind.bit() != 0;
    let worst = findings
        .iter()
        .enumerate()
        .filter(|(_, f)| f.is_enforced() && !graced(f))
        .max_by(|(_, a), (_, b)| a.severity.cmp(&b.severity).then(a.score.total_cmp(&b.score)));
    match worst {
        Some((cause, f)) if f.severity >= policy.ban_from => ban(subject, standing, policy, now, cause),
        Some((cause, f)) if f.severity >= policy.throttle_from => throttle(standing, policy, now, cause),
        Some((cause, f)) if f.severity >= policy.alert_from => {
            Step { action: Action::Alert, cause: Some(cause), ..STAY }
        }
        _ => STAY,
    }
}

/// Cuts a key off by what it spent: a ban for good. It adds a strike, as every ban does that no person made.
pub fn cut_off(standing: &Standing, policy: &LadderPolicy, now: Millis) -> Standing {
    Standing {
        version: standing.version + 1,
        state: StandingState::PermanentlyBanned,
        since: now,
        until: None,
        strikes: strikes(standing, policy, now) + 1.0,
        strikes_at: now,
        bans: standing.bans + 1,
        origin: Origin::Detector,
        ..*standing
    }
}

fn ban(subject: &Subject, standing: &Standing, policy: &LadderPolicy, now: Millis, cause: usize) -> Step {
    let strikes_before = strikes(standing, policy, now);
    let span_over = now - standing.bans_since >= millis(policy.permanent_span_seconds);
    let (bans, bans_since) = if span_over { (0, now) } else { (standing.bans, standing.bans_since) };
    let held = standing.is_banned_at(now);
    let for_good =
        held && standing.until.is_none() || bans >= policy.permanent_after && policy.permanent_without_person;
    let ends = now + ban_millis(subject, standing.version, strikes_before, policy);
    // A ban in force never ends earlier because of another.
    let until = (!for_good).then(|| standing.until.filter(|_| held).map_or(ends, |until| until.max(ends)));
    let next = Standing {
        version: standing.version + 1,
        state: if for_good { StandingState::PermanentlyBanned } else { StandingState::TemporarilyBanned },
        since: now,
        until,
        strikes: strikes_before + 1.0,
        strikes_at: now,
        bans: bans + 1,
        bans_since,
        origin: Origin::Detector,
        ..*standing
    };
    let (action, event) = if for_good {
        (Action::PermanentBan, EventType::PermanentBan)
    } else {
        (Action::TemporaryBan, EventType::TemporaryBan)
    };
    Step { action, standing: Some(next), event: Some(event), cause: Some(cause) }
}

/// Strikes of a standing as they have decayed by `now`.
pub fn strikes(standing: &Standing, policy: &LadderPolicy, now: Millis) -> f64 {
    standing.strikes_at(now, millis(policy.strike_half_life_seconds))
}

/// The length of a ban in milliseconds: `ban_seconds * ban_factor^strikes`, at most `ban_max_seconds` (fail2ban's
/// growing bans work alike). The first ban has exactly its length. Later ones get a jitter derived from the subject, so
/// that returns spread out.
fn ban_millis(subject: &Subject, version: u64, strikes: f64, policy: &LadderPolicy) -> Millis {
    let steps = strikes.round().clamp(0.0, 64.0);
    let base = policy.ban_seconds as f64 * policy.ban_factor.powf(steps);
    let seed = stable_hash(format!("{subject}#{version}").as_bytes());
    let jitter = if steps < 1.0 { 0.0 } else { policy.ban_jitter * (seed % 1000) as f64 / 1000.0 };
    ((base * (1.0 + jitter)).min(policy.ban_max_seconds as f64) * SECOND as f64) as Millis
}

fn throttle(standing: &Standing, policy: &LadderPolicy, now: Millis, cause: usize) -> Step {
    let length = millis(policy.throttle_seconds);
    let running = standing.state_at(now) == StandingState::Throttled;
    let nearly_fresh = standing.until.is_some_and(|until| until >= now + length - length / 10);
    if running && nearly_fresh || standing.is_banned_at(now) {
        return Step { action: Action::Throttle, cause: Some(cause), ..STAY };
    }
    let next = Standing {
        version: standing.version + 1,
        state: StandingState::Throttled,
        since: if running { standing.since } else { now },
        until: Some(now + length),
        share_permille: (policy.throttle_share * 1000.0).round() as u16,
        origin: Origin::Detector,
        ..*standing
    };
    let event = (!running).then_some(EventType::Throttled);
    Step { action: Action::Throttle, standing: Some(next), event, cause: Some(cause) }
}

/// An operator's ban for `length`, or for good. It adds no strike: a person's word is not a detector's count.
pub fn operator_ban(standing: &Standing, length: Option<Millis>, now: Millis) -> Standing {
    Standing {
        version: standing.version + 1,
        state: if length.is_some() {
            StandingState::TemporarilyBanned
        } else {
            StandingState::PermanentlyBanned
        },
        since: now,
        until: length.map(|l| now.saturating_add(l)),
        origin: Origin::Operator,
        unenforced: false,
        ..*standing
    }
}

/// An operator lifts a ban or throttle. If the detector that led to it is given, its findings are left alone for
/// `grace_seconds`.
pub fn lift(standing: &Standing, fired: Option<AnomalyKind>, policy: &LadderPolicy, now: Millis) -> Standing {
    Standing {
        version: standing.version + 1,
        state: StandingState::Clear,
        since: now,
        until: None,
        grace_until: if fired.is_some() { now + millis(policy.grace_seconds) } else { standing.grace_until },
        grace_detectors: fired.map_or(standing.grace_detectors, AnomalyKind::bit),
        origin: Origin::Operator,
        unenforced: false,
        ..*standing
    }
}

/// The severity of the event that reports a response.
pub fn response_severity(event: EventType) -> Severity {
    match event {
        EventType::PermanentBan => Severity::Critical,
        EventType::TemporaryBan => Severity::High,
        _ => Severity::Medium,
    }
}

fn millis(seconds: u64) -> Millis {
    Millis::try_from(seconds).unwrap_or(Millis::MAX / SECOND).saturating_mul(SECOND)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{Accused, Mode};

    const NOW: Millis = 1_760_000_000_000;

    fn policy() -> LadderPolicy {
        LadderPolicy { permanent_without_person: true, ..crate::config::default_policy().ladder }
    }

    fn finding(severity: Severity) -> Finding {
        Finding {
            kind: AnomalyKind::ImpossibleTravel,
            severity,
            score: 0.9,
            mode: Mode::Enforce,
            recommendation: String::new(),
            evidence: serde_json::Value::Null,
            accused: Accused::Key,
            about: Default::default(),
        }
    }

    fn key() -> Subject {
        Subject::key("k1:1")
    }

    fn banned_for(step: &Step, now: Millis) -> Millis {
        step.standing.unwrap().until.unwrap() - now
    }

    #[test]
    fn each_severity_has_its_rung() {
        let climb_with = |s| climb(&key(), &Standing::default(), &[finding(s)], &policy(), NOW).action;
        assert_eq!(climb_with(Severity::Low), Action::Alert);
        assert_eq!(climb_with(Severity::Medium), Action::Alert);
        assert_eq!(climb_with(Severity::High), Action::Throttle);
        assert_eq!(climb_with(Severity::Critical), Action::TemporaryBan);
        assert_eq!(climb(&key(), &Standing::default(), &[], &policy(), NOW), STAY);
    }

    #[test]
    fn the_first_ban_is_exactly_its_length_and_later_ones_grow_up_to_the_cap() {
        let policy = policy();
        let mut standing = Standing::default();
        let mut now = NOW;
        let mut lengths = Vec::new();
        for _ in 0..5 {
            let step = climb(&key(), &standing, &[finding(Severity::Critical)], &policy, now);
            lengths.push(banned_for(&step, now));
            standing = step.standing.unwrap();
            now = standing.until.unwrap();
        }
        assert_eq!(lengths[0], 1_800_000);
        assert!(lengths.windows(2).all(|pair| pair[1] > pair[0]), "{lengths:?}");
        assert!(lengths.iter().all(|l| *l <= policy.ban_max_seconds as Millis * SECOND));
    }

    #[test]
    fn strikes_decay_so_that_an_old_one_is_forgiven() {
        let policy = policy();
        let first = climb(&key(), &Standing::default(), &[finding(Severity::Critical)], &policy, NOW);
        let later = NOW + 10 * policy.strike_half_life_seconds as Millis * SECOND;
        let second = climb(&key(), &first.standing.unwrap(), &[finding(Severity::Critical)], &policy, later);
        assert_eq!(banned_for(&second, later), 1_800_000);
    }

    #[test]
    fn a_permanent_ban_needs_its_number_of_temporary_ones_and_the_policy() {
        for allowed in [true, false] {
            let policy = LadderPolicy { permanent_without_person: allowed, ..policy() };
            let standing =
                Standing { bans: policy.permanent_after, bans_since: NOW - 1, ..Standing::default() };
            let step = climb(&key(), &standing, &[finding(Severity::Critical)], &policy, NOW);
            assert_eq!(step.action == Action::PermanentBan, allowed);
        }
        let old = Standing { bans: 50, bans_since: 0, ..Standing::default() };
        let step = climb(&key(), &old, &[finding(Severity::Critical)], &policy(), NOW);
        assert_eq!(step.action, Action::TemporaryBan);
    }

    #[test]
    fn shadow_findings_and_those_under_grace_are_left_alone() {
        let shadow = Finding { mode: Mode::Shadow, ..finding(Severity::Critical) };
        assert_eq!(climb(&key(), &Standing::default(), &[shadow], &policy(), NOW), STAY);
        let banned = climb(&key(), &Standing::default(), &[finding(Severity::Critical)], &policy(), NOW);
        let lifted = lift(&banned.standing.unwrap(), Some(AnomalyKind::ImpossibleTravel), &policy(), NOW + 1);
        assert!(!lifted.is_banned_at(NOW + 1));
        assert_eq!(climb(&key(), &lifted, &[finding(Severity::Critical)], &policy(), NOW + 2), STAY);
        let over = lifted.grace_until;
        let step = climb(&key(), &lifted, &[finding(Severity::Critical)], &policy(), over);
        assert_eq!(step.action, Action::TemporaryBan);
    }

    #[test]
    fn a_running_throttle_is_prolonged_without_a_second_event() {
        let policy = policy();
        let first = climb(&key(), &Standing::default(), &[finding(Severity::High)], &policy, NOW);
        assert_eq!(first.event, Some(EventType::Throttled));
        let soon = climb(&key(), &first.standing.unwrap(), &[finding(Severity::High)], &policy, NOW + 1000);
        assert_eq!((soon.standing, soon.event), (None, None));
        let half = NOW + policy.throttle_seconds as Millis * SECOND / 2;
        let later = climb(&key(), &first.standing.unwrap(), &[finding(Severity::High)], &policy, half);
        assert_eq!(later.event, None);
        assert!(later.standing.unwrap().until > first.standing.unwrap().until);
    }

    #[test]
    fn a_person_bans_for_good_and_lifts_again() {
        let banned = operator_ban(&Standing::default(), None, NOW);
        assert!(banned.is_banned_at(Millis::MAX));
        assert_eq!(banned.strikes, 0.0);
        assert!(!lift(&banned, None, &policy(), NOW).is_banned_at(NOW));
    }
}
