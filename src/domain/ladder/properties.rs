//! What holds of the ladder for any sequence of findings and of what people do.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::domain::finding::{Accused, Mode};

const NOW: Millis = 1_760_000_000_000;

/// What happens to a subject.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Finding(Severity),
    /// A person bans it for so long, or for good.
    Banned(Option<Millis>),
    CutOff,
    Lifted,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..Severity::ALL.len()).prop_map(|n| Happening::Finding(Severity::ALL[n])),
        1 => proptest::option::of(1..30 * 86_400_000_i64).prop_map(Happening::Banned),
        1 => Just(Happening::CutOff),
        1 => Just(Happening::Lifted),
    ]
}

fn policies() -> impl Strategy<Value = LadderPolicy> {
    (any::<bool>(), 1_u32..10).prop_map(|(permanent_without_person, permanent_after)| LadderPolicy {
        permanent_without_person,
        permanent_after,
        ..crate::config::default_policy().ladder
    })
}

fn step(standing: &Standing, happening: Happening, policy: &LadderPolicy, now: Millis) -> Standing {
    let finding = |severity| Finding {
        kind: AnomalyKind::ImpossibleTravel,
        severity,
        score: 0.9,
        mode: Mode::Enforce,
        recommendation: String::new(),
        evidence: serde_json::Value::Null,
        accused: Accused::Key,
        about: Default::default(),
    };
    match happening {
        Happening::Finding(severity) => {
            climb(&Subject::key("a"), standing, &[finding(severity)], policy, now)
                .standing
                .unwrap_or(*standing)
        }
        Happening::Banned(length) => operator_ban(standing, length, now),
        Happening::CutOff => cut_off(standing, policy, now),
        Happening::Lifted => lift(standing, Some(AnomalyKind::ImpossibleTravel), policy, now),
    }
}

fn ends(standing: &Standing) -> Millis {
    standing.until.unwrap_or(Millis::MAX)
}

proptest! {
    #[test]
    fn no_finding_lowers_a_ban_that_is_in_force(
        policy in policies(),
        happenings in vec((happening(), 0..40 * 86_400_000_i64), 1..60),
    ) {
        let (mut standing, mut now) = (Standing::default(), NOW);
        for (happening, later) in happenings {
            now += later;
            let next = step(&standing, happening, &policy, now);
            if matches!(happening, Happening::Finding(_) | Happening::CutOff) && standing.is_banned_at(now) {
                prop_assert!(next.is_banned_at(now), "{happening:?}: {standing:?} -> {next:?}");
                prop_assert!(ends(&next) >= ends(&standing), "{happening:?}: {standing:?} -> {next:?}");
            }
            prop_assert!(!matches!(happening, Happening::Lifted) || !next.is_banned_at(now));
            prop_assert!(next.version >= standing.version);
            standing = next;
        }
    }

    #[test]
    fn strikes_decay_to_none_and_never_grow_by_themselves(
        policy in policies(),
        happenings in vec((happening(), 0..86_400_000_i64), 1..60),
    ) {
        let (mut standing, mut now) = (Standing::default(), NOW);
        for (happening, later) in happenings {
            now += later;
            standing = step(&standing, happening, &policy, now);
        }
        let half_life = millis(policy.strike_half_life_seconds);
        let left = (0..40).map(|n| strikes(&standing, &policy, now + n * half_life)).collect::<Vec<_>>();
        prop_assert!(left.windows(2).all(|pair| pair[1] <= pair[0]), "{left:?}");
        prop_assert!(*left.last().unwrap() < 1e-6, "{left:?}");
    }
}
