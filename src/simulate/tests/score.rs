//! The score counts what it says.

use std::collections::BTreeSet;

use super::*;
use crate::{
    domain::{
        HOUR, MINUTE, Millis,
        finding::{AnomalyKind, Severity},
    },
    simulate::score::{Scorer, Verdict, score},
};

fn pass() -> Verdict {
    Verdict { allowed: true, findings: Vec::new() }
}

fn finding(severity: Severity) -> Verdict {
    Verdict { allowed: true, findings: vec![(AnomalyKind::TrafficBurst, severity)] }
}

#[test]
fn a_monitor_that_does_nothing_finds_and_harms_nothing() {
    let score = score(TRAFFIC.iter().map(|labelled| (labelled, pass())));
    assert_eq!((score.all_attacks().attacks, score.all_attacks().found), (24, 0));
    let benign = score.all_benign();
    // Attacked keys are benign before; the service whose endpoints are stuffed is not attacked itself.
    let keys = 28 + small().mixed_keys() + 22 + 2;
    assert_eq!((benign.keys, benign.keys_refused, benign.high_findings()), (keys, 0, 0));
}

#[test]
fn a_monitor_that_refuses_everything_finds_and_harms_everything() {
    let all = Verdict { allowed: false, findings: Vec::new() };
    let score = score(TRAFFIC.iter().map(|labelled| (labelled, all.clone())));
    assert!((score.all_attacks().recall() - 1.0).abs() < f64::EPSILON);
    assert!(score.attacks.values().all(|kind| kind.median_delay == Some(0)));
    assert!((score.all_benign().keys_refused_share() - 1.0).abs() < f64::EPSILON);
    assert!((score.all_benign().requests_refused_share() - 1.0).abs() < f64::EPSILON);
}

#[test]
fn only_serious_findings_count_and_only_once_an_hour() {
    let key = benign("service").into_values().next().unwrap();
    let hour = |time| time / crate::domain::HOUR;
    let hours = key.iter().map(|l| hour(l.time)).collect::<std::collections::BTreeSet<_>>().len() as u64;
    let quiet = score(key.iter().map(|l| (*l, finding(Severity::Medium))));
    assert_eq!(quiet.all_benign().high_findings(), 0);
    let loud = score(key.iter().map(|l| (*l, finding(Severity::High))));
    assert_eq!(loud.benign["service"].findings[&AnomalyKind::TrafficBurst], hours);
}

#[test]
fn the_delay_is_from_the_first_request_to_the_one_that_was_found() {
    let attack: Vec<_> = TRAFFIC.iter().filter(|l| l.label == Some("runaway_loop")).collect();
    let attack: Vec<_> = attack.iter().filter(|l| l.attack_id == attack[0].attack_id).collect();
    let verdict = |index| if index < 10 { pass() } else { finding(Severity::Critical) };
    let score = score(attack.iter().enumerate().map(|(index, l)| (**l, verdict(index))));
    let kind = &score.attacks["runaway_loop"];
    assert_eq!(kind.median_delay, Some(attack[10].time - attack[0].time));
    assert_eq!(kind.median_requests, Some(11));
    assert_eq!(kind.by[&AnomalyKind::TrafficBurst], 1);
    assert_eq!(score.victims[attack[0].archetype], *kind);
}

#[test]
fn what_befalls_an_attacked_key_counts_until_its_attack_begins() {
    let began = TRAFFIC.iter().find(|l| l.label == Some("cost_spike")).unwrap();
    let key: Vec<_> = TRAFFIC.iter().filter(|l| l.key == began.key).collect();
    let refuse = |when: fn(Millis, Millis) -> bool| {
        let verdict = |l: &Labelled| {
            let refused = l.label.is_none() && when(l.time, began.time);
            Verdict { allowed: !refused, findings: Vec::new() }
        };
        score(key.iter().map(|l| (*l, verdict(l)))).all_benign()
    };
    let before = refuse(|time, began| time < began);
    assert_eq!((before.keys, before.keys_refused), (1, 1));
    assert_eq!(before.requests, before.requests_refused);
    let after = refuse(|time, began| time >= began);
    assert_eq!((after.keys, after.keys_refused, after.requests_refused), (1, 0, 0));
    assert!(after.requests < key.iter().filter(|l| l.label.is_none()).count() as u64);
}

#[test]
fn refusals_during_an_outage_are_counted() {
    let template = &TRAFFIC.iter().find(|l| !l.attacked).unwrap();
    let minute = |minute: Millis| {
        let mut labelled = (*template).clone();
        labelled.time = minute * MINUTE;
        labelled.record.response_status = if (100..160).contains(&minute) { 503 } else { 200 };
        labelled
    };
    let key: Vec<_> = (0..300).map(minute).collect();
    let refused = Verdict { allowed: false, findings: Vec::new() };
    let benign = score(key.iter().map(|l| (l, refused.clone()))).all_benign();
    // From the third failure until fewer than three are left of ten minutes.
    assert_eq!((benign.requests_refused, benign.refused_in_outage), (300, 166 - 101));
}

#[test]
fn harm_is_news_once_an_hour() {
    let key = benign("service").into_values().next().unwrap();
    let mut scorer = Scorer::default();
    let refused = Verdict { allowed: false, ..finding(Severity::High) };
    let news = key.iter().filter(|l| scorer.add(l, &refused)).count();
    let hours: BTreeSet<_> = key.iter().map(|l| l.time.div_euclid(HOUR)).collect();
    assert_eq!(news, hours.len());
    assert!(!scorer.add(key[0], &pass()));
}

#[test]
fn runs_merge_into_one_score() {
    let loops = || TRAFFIC.iter().filter(|l| l.label == Some("runaway_loop"));
    let ids: BTreeSet<_> = loops().map(|l| l.attack_id).collect();
    let attacks: Vec<Vec<_>> =
        ids.iter().map(|id| loops().filter(|l| l.attack_id == *id).collect()).collect();
    let found_at = |attack: &[&Labelled], found: usize| {
        let verdict = |index| if index < found { pass() } else { finding(Severity::High) };
        score(attack.iter().enumerate().map(|(index, l)| (*l, verdict(index))))
    };
    let mut both = found_at(&attacks[0], 4);
    both.merge(&found_at(&attacks[1], usize::MAX));
    let kind = &both.attacks["runaway_loop"];
    assert_eq!((kind.attacks, kind.found, kind.median_requests), (2, 1, Some(5)));
    assert_eq!(both.missed.len(), 1);
    assert_eq!(both.victims.values().map(|victims| victims.attacks).sum::<u32>(), 2);
    both.merge(&found_at(&attacks[1], 19));
    assert_eq!(both.attacks["runaway_loop"].median_requests, Some(20));
}

#[test]
fn the_table_has_a_row_for_everything() {
    let table = score(TRAFFIC.iter().map(|labelled| (labelled, finding(Severity::High)))).to_string();
    for word in ["runaway_loop", "all attacks", "vpn", "all benign keys", "TRAFFIC_BURST", "100.0%"] {
        assert!(table.contains(word), "{table}");
    }
}
