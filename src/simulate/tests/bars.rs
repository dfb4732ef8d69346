//! Bars are missed where they are, and named.

use super::*;
use crate::simulate::score::{Score, Verdict, bars, missed, score};

fn by_label(found: fn(&Labelled) -> bool) -> Score {
    score(TRAFFIC.iter().map(|l| (l, Verdict { allowed: !found(l), findings: Vec::new() })))
}

fn perfect() -> Score {
    by_label(|labelled| labelled.label.is_some())
}

/// The only bar that is missed.
fn only(score: &Score) -> String {
    let missed = missed(bars(score));
    assert_eq!(missed.len(), 1, "{missed:?}");
    missed[0].clone()
}

#[test]
fn a_perfect_monitor_misses_none() {
    assert_eq!(missed(bars(&perfect())), Vec::<String>::new());
}

#[test]
fn a_monitor_that_does_nothing_misses_recall_and_time_of_every_kind() {
    let missed = missed(bars(&by_label(|_| false)));
    for name in ["all attacks", "weekend_burst", "brute_force", "stolen_key_slow", "token_exhaustion"] {
        assert!(missed.iter().any(|bar| bar.starts_with(name)), "{name}: {missed:?}");
    }
    assert!(
        missed
            .iter()
            .any(|bar| bar == "cost_spike: the median attack is found never, at most 30 min is the bar")
    );
    assert!(!missed.iter().any(|bar| bar.starts_with("benign")), "{missed:?}");
}

#[test]
fn a_monitor_that_refuses_everything_misses_the_peace_of_benign_keys() {
    let missed = missed(bars(&by_label(|_| true)));
    assert!(missed.iter().all(|bar| bar.starts_with("benign keys")), "{missed:?}");
    assert!(missed.iter().any(|bar| bar.contains("were refused (100.00%)")), "{missed:?}");
    assert!(missed.iter().any(|bar| bar.contains("while the provider failed")), "{missed:?}");
}

#[test]
fn each_bar_is_missed_alone() {
    let mut score = perfect();
    score.attacks.get_mut("brute_force").unwrap().median_delay = Some(60_001);
    assert!(only(&score).starts_with("brute_force: the median attack is found after 1.0 min"));
    let mut score = perfect();
    score.attacks.get_mut("stolen_key_slow").unwrap().median_delay = Some(30 * 60_000 + 1);
    assert!(only(&score).starts_with("stolen_key_slow"));
    let mut score = perfect();
    score.attacks.get_mut("token_exhaustion").unwrap().median_requests = Some(4);
    assert!(only(&score).starts_with("token_exhaustion: the median attack is found by its request 4"));
    let mut score = perfect();
    let service = score.benign.get_mut("service").unwrap();
    service.refused_in_outage = 1;
    assert!(only(&score).contains("1 requests refused while the provider failed"));
}

#[test]
fn recall_counts_for_each_kind_and_for_all() {
    let mut score = perfect();
    let kind = score.attacks.get_mut("cost_spike").unwrap();
    (kind.attacks, kind.found) = (10, 9);
    let all = score.all_attacks();
    assert!(all.recall() < 0.98);
    assert!(only(&score).starts_with("all attacks"), "nine in ten of one kind will do");
    let kind = score.attacks.get_mut("cost_spike").unwrap();
    (kind.attacks, kind.found) = (1_000, 899);
    let missed = missed(bars(&score));
    assert!(missed.iter().any(|bar| bar.starts_with("cost_spike: 899 of 1000 found (89.9%)")), "{missed:?}");
}

#[test]
fn a_run_that_tells_nothing_passes_nothing() {
    assert_eq!(missed(bars(&Score::default())).len(), 2);
}
