//! The attacks do what they are there for.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    domain::{DAY, HOUR, MINUTE},
    simulate::attacks,
};

/// The requests of the attacks of a kind, by attack.
fn strikes(kind: &str) -> BTreeMap<u32, Vec<&'static Labelled>> {
    let mut strikes = BTreeMap::<u32, Vec<_>>::new();
    for labelled in TRAFFIC.iter().filter(|l| l.label == Some(kind)) {
        strikes.entry(labelled.attack_id.unwrap()).or_default().push(labelled);
    }
    strikes
}

#[test]
fn every_kind_of_attack_is_there_as_often_as_planned() {
    let names: BTreeSet<_> = attacks::ALL.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), 12);
    for name in names {
        assert_eq!(strikes(name).len(), 2, "{name}");
    }
}

#[test]
fn attacks_fall_on_keys_that_have_been_in_use() {
    for attack in attacks::ALL.iter().filter(|attack| attack.name != "credential_stuffing") {
        for strike in strikes(attack.name).values() {
            let key = strike[0].key;
            let born = TRAFFIC.iter().find(|l| l.key == key && l.label.is_none()).unwrap().time;
            let life = small().span().to - born;
            assert!(strike[0].time - born >= (2 * DAY).min(life / 2), "{}", attack.name);
            let secret = strike[0].record.api_key.clone().or(strike[0].record.key_id.clone()).unwrap();
            assert!(strike.iter().all(|l| l.attacked && l.record.is_of(&secret)), "{}", attack.name);
        }
    }
}

#[test]
fn keys_without_an_attack_are_benign() {
    let attacked: BTreeSet<_> = TRAFFIC.iter().filter(|l| l.label.is_some()).map(|l| l.key).collect();
    assert!(TRAFFIC.iter().all(|l| l.attacked == attacked.contains(&l.key)));
}

#[test]
fn loops_are_fast_and_thefts_slow() {
    for strike in strikes("runaway_loop").values() {
        let minutes = (strike[strike.len() - 1].time - strike[0].time) as f64 / MINUTE as f64;
        assert!((45.0..80.0).contains(&(strike.len() as f64 / minutes)));
    }
    for strike in strikes("stolen_key_slow").values() {
        let hours = (strike[strike.len() - 1].time - strike[0].time) as f64 / HOUR as f64;
        assert!((5.0..14.0).contains(&(strike.len() as f64 / hours)), "{} in {hours}", strike.len());
    }
}

#[test]
fn brute_force_is_mostly_refused_and_stuffing_tries_many_keys() {
    for strike in strikes("brute_force").values() {
        let refused = strike.iter().filter(|l| matches!(l.record.response_status, 401 | 403)).count();
        assert!(refused * 2 > strike.len() && refused < strike.len());
    }
    for strike in strikes("credential_stuffing").values() {
        let keys: BTreeSet<_> = strike.iter().map(|l| l.record.api_key.clone().unwrap()).collect();
        let addresses: BTreeSet<_> = strike.iter().map(|l| l.record.source_ip).collect();
        assert!(keys.len() >= 250 && addresses.len() == 1);
    }
    for strike in strikes("shared_in_public").values() {
        let addresses: BTreeSet<_> = strike.iter().map(|l| l.record.source_ip).collect();
        assert!(addresses.len() >= 15, "{}", addresses.len());
    }
}

#[test]
fn exhaustion_is_large_and_spikes_are_dear() {
    let median = |sizes: &mut Vec<u64>| {
        sizes.sort_unstable();
        sizes[sizes.len() / 2] as f64
    };
    for (kind, times) in [("token_exhaustion", 8.0), ("cost_spike", 1.8)] {
        for strike in strikes(kind).values() {
            let key = strike[0].key;
            let own =
                TRAFFIC.iter().filter(|l| l.key == key && l.label.is_none() && l.record.tokens_used > 0);
            let usual = median(&mut own.map(|l| l.record.tokens_used).collect());
            let attack = median(&mut strike.iter().map(|l| l.record.tokens_used).collect());
            assert!(attack > usual * times, "{kind}: {attack} after {usual}");
        }
    }
}
