//! The second exam: its families are there, and the score counts what was let through.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    domain::finding::{AnomalyKind, Severity},
    simulate::{
        Exam, archetypes,
        attacks::{self, Tellable},
        score::{AttackScore, BenignScore, Score, Scorer, Verdict, bars_of_second, missed},
    },
};

/// Ten days of little traffic of the second exam, made once for all tests.
static SECOND: LazyLock<Vec<Labelled>> =
    LazyLock::new(|| generate(&Plan { exam: Exam::Second, mixed: 0.0, ..small() }).collect());

#[test]
fn every_archetype_and_every_kind_of_attack_of_the_second_exam_is_there() {
    let archetypes: BTreeSet<_> = SECOND.iter().map(|labelled| labelled.archetype).collect();
    for archetype in archetypes::SECOND {
        assert!(archetypes.contains(archetype.name), "{}", archetype.name);
    }
    let kinds: BTreeSet<_> = SECOND.iter().filter_map(|labelled| labelled.label).collect();
    for attack in attacks::SECOND {
        assert!(kinds.contains(attack.name), "{}", attack.name);
    }
    assert!(kinds.contains("key_bundle") && kinds.contains("stranger"));
    assert!(SECOND.is_sorted_by_key(|labelled| labelled.time));
}

#[test]
fn a_bundle_is_of_keys_of_several_projects_and_one_address() {
    let mut bundles = BTreeMap::<u32, (BTreeSet<_>, BTreeSet<_>)>::new();
    for labelled in SECOND.iter().filter(|labelled| labelled.label == Some("key_bundle")) {
        let (projects, addresses) = bundles.entry(labelled.attack_id.unwrap()).or_default();
        projects.insert(labelled.record.project_id.clone());
        addresses.insert(labelled.record.source_ip);
    }
    assert_eq!(bundles.len(), 2);
    assert!(bundles.values().all(|(projects, addresses)| projects.len() >= 5 && addresses.len() == 1));
}

#[test]
fn ids_are_counted_up_and_loops_repeat_one_size() {
    let of = |kind: &str| {
        let mut by_attack = BTreeMap::<u32, Vec<&Labelled>>::new();
        for labelled in SECOND.iter().filter(|labelled| labelled.label == Some(kind)) {
            by_attack.entry(labelled.attack_id.unwrap()).or_default().push(labelled);
        }
        by_attack.into_values()
    };
    for strike in of("id_enumeration") {
        assert!(strike.is_sorted_by_key(|labelled| labelled.record.endpoint.clone()));
        let refused = strike.iter().filter(|l| matches!(l.record.response_status, 403 | 404)).count();
        assert!(refused * 2 > strike.len());
    }
    for strike in of("agent_loop") {
        let sizes: BTreeSet<_> = strike.iter().map(|labelled| labelled.record.prompt_tokens).collect();
        assert_eq!(sizes.len(), 1);
    }
}

#[test]
fn what_goes_through_after_the_first_finding_and_what_owners_had_refused_is_counted() {
    let strike: Vec<_> = SECOND.iter().filter(|l| l.label == Some("agent_loop")).collect();
    let key = strike[0].key;
    let mut scorer = Scorer::default();
    let found = Verdict { allowed: true, findings: vec![(AnomalyKind::TrafficBurst, Severity::High)] };
    let refused = Verdict { allowed: false, findings: Vec::new() };
    let passed = Verdict { allowed: true, findings: Vec::new() };
    let mut seen = 0;
    let (mut owners, mut began) = (0, false);
    for labelled in SECOND.iter().filter(|labelled| labelled.key == key) {
        let verdict = match (labelled.label, seen) {
            (Some(_), 0) => &found,
            (Some(_), n) if n % 4 == 0 => &passed,
            (Some(_), _) => &refused,
            (None, _) if began => &refused,
            (None, _) => &passed,
        };
        began |= labelled.label.is_some();
        seen += u32::from(labelled.label.is_some());
        owners += u64::from(began && labelled.label.is_none());
        scorer.add(labelled, verdict);
    }
    let score = scorer.finish();
    let one = &score.attacks["agent_loop"];
    assert_eq!((one.after.requests, one.after.passed), (u64::from(seen) - 1, (u64::from(seen) - 1) / 4));
    assert!((one.after.cost_share() - one.after.share()).abs() < 0.02);
    assert_eq!((one.owners_requests, one.owners_refused), (owners, owners));
}

#[test]
fn a_monitor_that_does_nothing_misses_what_can_be_seen_and_harms_nobody() {
    let passed = Verdict { allowed: true, findings: Vec::new() };
    let mut scorer = Scorer::default();
    for labelled in SECOND.iter() {
        scorer.add(labelled, &passed);
    }
    let score = scorer.finish();
    assert!(score.that_are(Tellable::Yes).attacks > score.that_are(Tellable::No).attacks);
    let missed = missed(bars_of_second(&score));
    assert_eq!(missed.len(), 2, "{missed:?}");
    assert!(missed[0].starts_with("found of what can be told: 0.0%"), "{missed:?}");
    let table = score.to_string();
    assert!(table.contains("an analyst could: hard") && table.contains("of these not loud"), "{table}");
}

#[test]
fn owners_that_are_refused_beside_a_thief_miss_a_bar_and_a_run_that_tells_nothing_passes_nothing() {
    assert_eq!(missed(bars_of_second(&Score::default())).len(), 2);
    let with_owners = |refused| {
        let mut thefts = AttackScore::default();
        (thefts.attacks, thefts.found) = (1, 1);
        (thefts.owners_requests, thefts.owners_refused) = (1_000, refused);
        let quiet = BenignScore { keys: 1, ..BenignScore::default() };
        let (attacks, benign) = ([("key_bundle", thefts)].into(), [("service", quiet)].into());
        missed(bars_of_second(&Score { attacks, benign, ..Score::default() }))
    };
    assert_eq!(with_owners(10), Vec::<String>::new());
    assert_eq!(with_owners(11), ["requests of attacked owners refused: 1.1%, at most 1.0% is the bar"]);
}
