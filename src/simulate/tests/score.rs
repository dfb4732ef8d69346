//! The score counts what it says.

use super::*;
use crate::{
    domain::finding::{AnomalyKind, Severity},
    simulate::score::{Verdict, score},
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
    // The service whose endpoints are stuffed is not attacked itself.
    assert_eq!(
        (benign.keys, benign.keys_refused, benign.high_findings()),
        (28 + small().mixed_keys() + 2, 0, 0)
    );
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
    assert_eq!(kind.by[&AnomalyKind::TrafficBurst], 1);
}

#[test]
fn the_table_has_a_row_for_everything() {
    let table = score(TRAFFIC.iter().map(|labelled| (labelled, finding(Severity::High)))).to_string();
    for word in ["runaway_loop", "all attacks", "vpn", "all benign keys", "TRAFFIC_BURST", "100.0%"] {
        assert!(table.contains(word), "{table}");
    }
}
