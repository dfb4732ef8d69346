//! Attackers do what their knobs say, on keys of any sort.

use std::collections::BTreeSet;

use super::*;
use crate::{
    domain::{DAY, HOUR},
    simulate::{
        WireRecord, archetypes,
        atlas::City,
        attacks::{self, Victim},
        calendar::Span,
        random::Random,
    },
};

/// Attacks of a kind on keys of all archetypes that it falls on, their requests in order of time.
fn strikes(kind: &str, number: u64) -> Vec<(Victim, Vec<WireRecord>)> {
    let attack = attacks::ALL.iter().find(|attack| attack.name == kind).unwrap();
    let from = Plan::THREE_WEEKS.start;
    let span = Span { from, to: from + 9 * DAY };
    let any = archetypes::ALL.iter().chain(archetypes::MIXED).map(|archetype| archetype.name);
    let names: Vec<_> = if attack.victims.is_empty() { any.collect() } else { attack.victims.to_vec() };
    let mut victims = names.into_iter().filter_map(archetypes::named).cycle();
    let mut strike = |index| {
        let mut random = Random::new(21).part(kind, index);
        let life = (victims.next().unwrap().live)(&mut random, span, 0.4);
        if life.records.len() < 60 {
            return None;
        }
        let victim = Victim::new(life.persona, life.records, span);
        let mut records = (attack.strike)(&mut random, &victim);
        records.sort_by_key(|record| record.timestamp);
        Some((victim, records))
    };
    (0..number).filter_map(&mut strike).collect()
}

fn hours(records: &[WireRecord]) -> f64 {
    (records[records.len() - 1].timestamp - records[0].timestamp) as f64 / HOUR as f64
}

fn cities(records: &[WireRecord]) -> BTreeSet<&'static str> {
    records.iter().map(|record| City::of(record.source_ip).unwrap().0.name).collect()
}

/// Which of client, endpoint and model are new to the victim.
fn new_habits(victim: &Victim, strike: &[WireRecord]) -> BTreeSet<&'static str> {
    let own = &victim.persona;
    let new = |record: &WireRecord| {
        [
            ("client", own.clients.iter().all(|(known, _)| *known != record.user_agent)),
            ("endpoint", own.endpoints.iter().all(|(known, _)| *known != record.endpoint)),
            ("model", own.models.iter().all(|(known, _)| Some(&known.name) != record.model.as_ref())),
        ]
    };
    strike.iter().flat_map(new).filter(|(_, new)| *new).map(|(what, _)| what).collect()
}

#[test]
fn every_attack_finds_something_to_do_on_keys_of_any_sort() {
    for attack in attacks::ALL {
        for (victim, strike) in strikes(attack.name, 23) {
            assert!(strike.len() >= 5, "{} on {}: {}", attack.name, victim.persona.home.name, strike.len());
        }
    }
}

#[test]
fn a_third_of_the_thieves_look_like_the_holder_in_everything_but_the_place() {
    let strikes = strikes("stolen_key_far", 120);
    let disguised = strikes.iter().filter(|(victim, strike)| new_habits(victim, strike).is_empty()).count();
    let share = disguised as f64 / strikes.len() as f64;
    assert!((0.22..0.45).contains(&share), "{share}");
}

#[test]
fn thieves_come_from_where_the_key_is_never_used() {
    for (victim, strike) in strikes("stolen_key_far", 46) {
        let places = cities(&victim.records);
        for city in cities(&strike) {
            assert!(!places.contains(city), "{city} {places:?}");
        }
    }
    let country = |name: &str| City::all().iter().find(|city| city.name == name).unwrap().country;
    for (victim, strike) in strikes("stolen_key_night_bulk", 46) {
        let countries: BTreeSet<_> = cities(&victim.records).into_iter().map(country).collect();
        assert!(cities(&strike).into_iter().all(|city| !countries.contains(country(city))), "{countries:?}");
        let per_hour = strike.len() as f64 / hours(&strike);
        assert!((45.0..600.0).contains(&per_hour), "{per_hour}");
    }
}

#[test]
fn slow_thieves_bring_a_network_and_one_to_three_habits_some_from_next_door() {
    let mut next_door = 0;
    let strikes = strikes("stolen_key_slow", 60);
    for (victim, strike) in &strikes {
        let habits = new_habits(victim, strike);
        // What is drawn as new may be the holder's by chance.
        assert!(habits.len() <= 3);
        let networks: BTreeSet<_> =
            victim.records.iter().map(|r| City::of(r.source_ip).unwrap().1.asn).collect();
        let places = cities(&victim.records);
        for record in strike {
            let (city, network) = City::of(record.source_ip).unwrap();
            assert!(!places.contains(city.name) || !networks.contains(&network.asn), "{}", city.name);
        }
        let per_hour = strike.len() as f64 / hours(strike);
        assert!((3.0..18.0).contains(&per_hour), "{per_hour}");
        next_door +=
            u32::from(City::of(strike[0].source_ip).unwrap().0.country == victim.persona.home.country);
    }
    let with = |least: usize| strikes.iter().filter(|(v, s)| new_habits(v, s).len() >= least).count();
    assert!(with(1) * 10 >= strikes.len() * 9 && (5..strikes.len() - 5).contains(&with(3)));
    assert!((5..35).contains(&next_door), "{next_door} of {}", strikes.len());
}

#[test]
fn brute_force_and_loops_keep_their_pace() {
    for (_, strike) in strikes("brute_force", 23) {
        let refused: Vec<_> =
            strike.iter().filter(|r| matches!(r.response_status, 401 | 403)).cloned().collect();
        let per_minute = refused.len() as f64 / hours(&refused) / 60.0;
        assert!((14.0..140.0).contains(&per_minute), "{per_minute}");
    }
    for (victim, strike) in strikes("runaway_loop", 23) {
        let per_minute = strike.len() as f64 / hours(&strike) / 60.0;
        assert!((45.0..80.0).contains(&per_minute), "{per_minute}");
        assert!(cities(&strike).is_subset(&cities(&victim.records)), "from the holder's own place");
    }
}

#[test]
fn bursts_are_ten_to_forty_times_as_much_as_usual() {
    for (victim, strike) in strikes("weekend_burst", 46) {
        let busy: BTreeSet<_> = victim.records.iter().map(|r| r.timestamp.div_euclid(HOUR)).collect();
        let usual = victim.records.len() as f64 / busy.len() as f64;
        let per_hour = strike.len() as f64 / hours(&strike);
        assert!((usual * 8.5..(usual * 48.0).max(1_700.0)).contains(&per_hour), "{per_hour} after {usual}");
        assert!(cities(&strike).is_subset(&cities(&victim.records)) || cities(&strike).len() == 1);
    }
}

#[test]
fn exhaustion_is_fourteen_to_twenty_times_as_large() {
    for (victim, strike) in strikes("token_exhaustion", 46) {
        let usual = victim.persona.median_tokens();
        for record in strike {
            let times = record.tokens_used as f64 / usual;
            assert!((13.5..20.5).contains(&times), "{times}");
        }
    }
}

#[test]
fn shared_keys_turn_up_in_fifteen_to_twenty_five_cities_within_hours() {
    for (_, strike) in strikes("shared_in_public", 23) {
        assert!((15..=25).contains(&cities(&strike).len()), "{}", cities(&strike).len());
        assert!(hours(&strike) < 3.5);
    }
}

#[test]
fn stuffing_takes_eight_minutes_and_scans_try_paths_that_are_not_the_holders() {
    for (_, strike) in strikes("credential_stuffing", 10) {
        assert!((240..360).contains(&strike.len()) && hours(&strike) * 60.0 < 10.5);
    }
    for (victim, strike) in strikes("endpoint_scan", 23) {
        let paths: BTreeSet<_> = strike.iter().map(|record| &record.endpoint).collect();
        assert!(paths.len() * 2 > strike.len());
        assert!(victim.persona.endpoints.iter().all(|(own, _)| !paths.contains(own)));
    }
}

#[test]
fn keys_of_all_sorts_and_ages_are_attacked() {
    let plan = Plan { days: 12, keys_per_archetype: 0, attacks_per_kind: 8, rate: 0.4, ..Plan::THREE_WEEKS };
    let traffic: Vec<_> = generate(&plan).collect();
    let mut born = std::collections::BTreeMap::new();
    let mut attacks = std::collections::BTreeMap::new();
    for labelled in &traffic {
        match labelled.label {
            None => born.entry(labelled.key).or_insert(labelled.time),
            Some(_) => attacks.entry(labelled.key).or_insert(labelled.time),
        };
    }
    let archetypes: BTreeSet<_> = traffic.iter().filter(|l| l.label.is_some()).map(|l| l.archetype).collect();
    assert!(archetypes.len() >= 18, "{archetypes:?}");
    let ages: Vec<f64> =
        attacks.iter().filter_map(|(key, time)| Some((time - born.get(key)?) as f64 / DAY as f64)).collect();
    let young = ages.iter().filter(|age| **age < 4.0).count();
    let old = ages.iter().filter(|age| **age > 6.0).count();
    assert!(ages.iter().all(|age| *age >= 0.8), "{ages:?}");
    assert!(young >= 15 && old >= 15, "{young} young and {old} old of {}", ages.len());
}
