//! Whether responses hold or are only noted: what that means for a standing, a decision and an event.
//!
//! Both modes run the same engine over the same state, so that what is noted while observing is what enforcement would
//! have said. What differs is marked: a standing by [`Standing::unenforced`], a decision and an event by a [`Would`].

use serde::{Deserialize, Serialize};

use super::{
    decision::{Action, Decision, Would},
    ladder::{self, Step},
    ladder_policy::LadderPolicy,
    standing::Standing,
};

/// Whether requests are refused, or only said to be such that would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// Bans, throttles, limits and the registry refuse.
    #[default]
    Enforce,
    /// Nothing is refused; answers and events say what would have been.
    Observe,
}

impl Enforcement {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }

    /// Whether nothing is refused.
    pub fn observes(self) -> bool {
        self == Self::Observe
    }

    /// Marks what a finding or a day's spend led to: made while observing, it never holds. `before` is the standing
    /// that it was made from, as it counts.
    pub fn mark(self, before: &Standing, next: Standing, policy: &LadderPolicy) -> Standing {
        if self == Self::Enforce {
            return next;
        }
        let decayed = ladder::strikes(before, policy, next.strikes_at);
        let left = if before.strikes > 0.0 { decayed / before.strikes } else { 0.0 };
        let strikes = before.unenforced_strikes * left + (next.strikes - decayed).max(0.0);
        let same_span = next.bans_since == before.bans_since;
        let (bans, unenforced) = if same_span { (before.bans, before.unenforced_bans) } else { (0, 0) };
        Standing {
            unenforced: true,
            unenforced_strikes: (strikes * 1000.0).round() / 1000.0,
            unenforced_bans: unenforced + next.bans.saturating_sub(bans),
            ..next
        }
    }

    /// Marks the standing that a step of the ladder leads to, if the policy only observes.
    pub fn mark_step(self, before: &Standing, step: Step, policy: &LadderPolicy) -> Step {
        Step { standing: step.standing.map(|next| self.mark(before, next, policy)), ..step }
    }

    /// Lets the request of a decision through where nothing is enforced, and keeps what would have been decided. Reason
    /// and time stay, for those who explain. What was found is still told to people.
    pub fn soften(self, decision: &mut Decision) {
        if self == Self::Enforce || decision.would.is_some() {
            return;
        }
        let held_back = !decision.allowed || decision.action > Action::Alert;
        if held_back {
            decision.would = Some(decision.ruling());
            decision.allowed = true;
            let found = decision.anomalies.iter().any(super::finding::Finding::is_enforced);
            decision.action = if found { Action::Alert } else { Action::None };
        }
    }

    /// What an event says beside what was done (`done`): what would have been, where nothing is enforced. The latter is
    /// `ruled`, which is also what was done where it is enforced.
    pub fn split(self, done: Action, ruled: Would) -> (Action, Option<Would>) {
        match self {
            Self::Enforce => (ruled.action, None),
            Self::Observe => (done, Some(ruled)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        SECOND,
        standing::{Origin, StandingState},
    };

    fn policy() -> LadderPolicy {
        crate::config::default_policy().ladder
    }

    fn banned(strikes: f64, bans: u32) -> Standing {
        let state = StandingState::TemporarilyBanned;
        Standing { version: 1, state, until: Some(5_000), strikes, bans, ..Standing::default() }
    }

    #[test]
    fn what_was_only_observed_leaves_no_ban_no_strike_and_no_count_when_it_is_enforced() {
        let before = banned(1.0, 1);
        let next = Standing { version: 2, strikes: 2.0, bans: 2, ..before };
        let observed = Enforcement::Observe.mark(&before, next, &policy());
        assert!(observed.counting(true).is_banned_at(0));
        let counted = observed.counting(false);
        assert_eq!((counted.state, counted.until), (StandingState::Clear, None));
        assert_eq!((counted.strikes, counted.bans, counted.version), (1.0, 1, 2));
        assert_eq!(Enforcement::Enforce.mark(&before, next, &policy()), next);
    }

    #[test]
    fn unenforced_strikes_decay_with_the_others() {
        let half_life = policy().strike_half_life_seconds as i64 * SECOND;
        let first = Enforcement::Observe.mark(&Standing::default(), banned(1.0, 1), &policy());
        let next = Standing { strikes: 1.5, strikes_at: half_life, bans: 2, ..first };
        let second = Enforcement::Observe.mark(&first, next, &policy());
        assert_eq!((second.unenforced_strikes, second.unenforced_bans), (1.5, 2));
        assert_eq!((second.counting(false).strikes, second.counting(false).bans), (0.0, 0));
    }

    #[test]
    fn an_operators_ban_over_an_observed_one_holds_and_is_lifted_without_its_strikes() {
        let observed = Enforcement::Observe.mark(&Standing::default(), banned(1.0, 1), &policy());
        let by_person = ladder::operator_ban(&observed, None, 7);
        let counted = by_person.counting(false);
        assert!(counted.is_banned_at(8) && counted.origin == Origin::Operator);
        assert_eq!((counted.strikes, counted.bans), (0.0, 0));
    }
}
