//! The archetypes do what they are there for.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::{
    domain::{DAY, HOUR, MINUTE, SECOND},
    geo::GeoDb,
    simulate::archetypes,
};

#[test]
fn every_archetype_has_traffic_of_as_many_keys_as_planned() {
    for archetype in archetypes::ALL.iter().chain(archetypes::MIXED) {
        let keys: BTreeSet<u32> = TRAFFIC
            .iter()
            .filter(|l| l.archetype == archetype.name && !l.attacked && l.label.is_none())
            .map(|l| l.key)
            .collect();
        assert!(!keys.is_empty(), "{}: {keys:?}", archetype.name);
    }
}

#[test]
fn every_address_is_known_to_the_demo_geo_database() {
    let db = GeoDb::demo().unwrap();
    let mut seen = HashMap::new();
    for labelled in TRAFFIC.iter() {
        let place = seen.entry(labelled.record.source_ip).or_insert_with_key(|ip| db.lookup(*ip));
        let core = place.as_ref().unwrap().core;
        assert!(core.coordinates.is_some() && core.country.is_some() && core.asn != 0);
    }
}

#[test]
fn ordinary_keys_stay_far_below_the_default_limits() {
    for archetype in archetypes::ALL.iter().chain(archetypes::MIXED) {
        for (key, traffic) in benign(archetype.name) {
            for (window, limit) in
                [(MINUTE, 50_000), (5 * MINUTE, 200_000), (HOUR, 800_000), (DAY, 5_000_000)]
            {
                let (mut first, mut sum) = (0, 0);
                for labelled in &traffic {
                    sum += labelled.record.tokens_used;
                    while traffic[first].time <= labelled.time - window {
                        sum -= traffic[first].record.tokens_used;
                        first += 1;
                    }
                    assert!(sum <= limit, "{} {key}: {sum} tokens in {window} ms", archetype.name);
                }
            }
        }
    }
}

#[test]
fn a_service_of_three_regions_is_on_three_continents_in_the_same_second() {
    let db = GeoDb::demo().unwrap();
    for traffic in benign("service_three_regions").values() {
        let country = |l: &Labelled| db.lookup(l.record.source_ip).unwrap().core.country;
        let at_once = traffic
            .windows(2)
            .filter(|pair| pair[1].time - pair[0].time < SECOND && country(pair[0]) != country(pair[1]));
        assert!(at_once.count() * 10 > traffic.len());
        assert_eq!(traffic.iter().map(|l| country(l)).collect::<BTreeSet<_>>().len(), 3);
    }
}

#[test]
fn vpn_users_and_phones_change_places_all_the_time() {
    let db = GeoDb::demo().unwrap();
    let hops = |archetype: &str, least: f64| -> usize {
        let keys = benign(archetype);
        let hop = |pair: &[&Labelled]| {
            let [from, to] =
                [pair[0], pair[1]].map(|l| db.lookup(l.record.source_ip).unwrap().core.coordinates.unwrap());
            from.distance_km(&to) > least && pair[1].time - pair[0].time < HOUR
        };
        keys.values().map(|traffic| traffic.windows(2).filter(|pair| hop(pair)).count()).sum()
    };
    assert!(hops("vpn", 800.0) > 50);
    assert!(hops("mobile", 80.0) > 50);
}

#[test]
fn growing_keys_grow_and_flaky_providers_fail() {
    for traffic in benign("growing").values() {
        let (first, last) = (traffic[0].time, traffic[traffic.len() - 1].time);
        let early = traffic.iter().filter(|l| l.time < first + 3 * DAY).count();
        let late = traffic.iter().filter(|l| l.time > last - 3 * DAY).count();
        assert!(late * 10 > early * 11, "{early} {late}");
    }
    for traffic in benign("flaky_provider").values() {
        assert!(traffic.iter().any(|l| l.record.response_status >= 500));
    }
}
