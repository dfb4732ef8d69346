//! Keys are as different from each other as they are said to be, and as plausible.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use super::*;
use crate::{
    domain::{DAY, HOUR, MINUTE, Millis},
    simulate::{
        WireRecord,
        archetypes::{self, Archetype, Life},
        atlas::City,
        calendar::{Span, Week, hour, midnight},
        circumstances::Circumstances,
        random::Random,
    },
};

const TWO_WEEKS: Span = Span { from: Plan::THREE_WEEKS.start, to: Plan::THREE_WEEKS.start + 14 * DAY };

/// Lives of an archetype, their requests in order of time.
fn lives(name: &str, number: u64, rate: f64) -> Vec<Life> {
    let archetype = archetypes::named(name).unwrap();
    let draw = |index| {
        let mut life = (archetype.live)(&mut Random::new(11).part(name, index), TWO_WEEKS, rate);
        life.records.sort_by_key(|record| record.timestamp);
        life
    };
    (0..number).map(draw).collect()
}

fn all_archetypes() -> impl Iterator<Item = &'static Archetype> {
    archetypes::ALL.iter().chain(archetypes::MIXED)
}

fn place(ip: IpAddr) -> &'static City {
    City::of(ip).unwrap().0
}

fn cities<'r>(records: impl Iterator<Item = &'r WireRecord>) -> BTreeSet<&'static str> {
    let addresses: HashSet<IpAddr> = records.map(|record| record.source_ip).collect();
    addresses.into_iter().map(|ip| place(ip).name).collect()
}

/// Requests for each stretch of time in which there are any.
fn per(life: &Life, stretch: Millis) -> f64 {
    let used: HashSet<Millis> = life.records.iter().map(|r| r.timestamp.div_euclid(stretch)).collect();
    life.records.len() as f64 / used.len().max(1) as f64
}

#[test]
fn keys_make_from_five_requests_a_day_to_three_hundred_an_hour() {
    for name in ["interactive", "service"] {
        let archetype = archetypes::named(name).unwrap();
        let draw = |index| {
            let mut random = Random::new(5).part(name, index);
            let rate = Circumstances::draw(&mut random, archetype).rate;
            let week = Span { to: TWO_WEEKS.from + 7 * DAY, ..TWO_WEEKS };
            (archetype.live)(&mut random, week, rate)
        };
        let lives: Vec<Life> = (0..80).map(draw).filter(|life| !life.records.is_empty()).collect();
        let rarest = lives.iter().map(|life| per(life, DAY)).fold(f64::INFINITY, f64::min);
        let busiest = lives.iter().map(|life| per(life, HOUR)).fold(0.0, f64::max);
        assert!((1.0..=10.0).contains(&rarest), "{name}: {rarest} a day");
        assert!((60.0..=350.0).contains(&busiest), "{name}: {busiest} an hour");
    }
}

#[test]
fn people_rest_by_their_own_week_in_their_own_zone() {
    let mut weeks = BTreeMap::<bool, u32>::new();
    for life in lives("interactive", 120, 1.0) {
        let persona = &life.persona;
        let offset = persona.home.offset;
        *weeks.entry(persona.week == Week::SundayToThursday).or_default() += 1;
        let resting = life.records.iter().filter(|r| persona.week.rests(r.timestamp, offset)).count();
        let awake = life.records.iter().filter(|r| (5.9..23.99).contains(&hour(r.timestamp, offset))).count();
        let all = life.records.len();
        assert!(resting * 100 <= all * 20, "{}: {resting} of {all} on days of rest", persona.home.name);
        assert!(awake * 100 >= all * 93, "{}: {awake} of {all} by day", persona.home.name);
    }
    assert!(weeks.values().all(|people| *people >= 8), "{weeks:?}");
    assert_eq!(City::all().iter().filter(|city| city.week() == Week::SundayToThursday).count(), 2);
}

#[test]
fn some_people_work_on_a_day_of_rest_and_some_take_days_off() {
    let (mut restless, mut idle) = (0, 0);
    for life in lives("interactive", 60, 2.0) {
        let offset = life.persona.home.offset;
        let days: BTreeSet<_> = life.records.iter().map(|r| midnight(r.timestamp, offset)).collect();
        let rests = |day: &Millis| life.persona.week.rests(day + DAY / 2, offset);
        restless += u32::from(days.iter().any(rests));
        let inside = Span { from: TWO_WEEKS.from + DAY, to: TWO_WEEKS.to - DAY };
        idle += u32::from(inside.midnights(offset).skip(1).any(|day| !rests(&day) && !days.contains(&day)));
    }
    assert!((5..50).contains(&restless) && (5..50).contains(&idle), "{restless} {idle}");
}

#[test]
fn hardly_anything_fails_but_for_outages_and_expired_tokens() {
    for archetype in all_archetypes().filter(|archetype| !archetype.name.contains("flaky")) {
        for life in lives(archetype.name, 4, 0.3) {
            let failed = life.records.iter().filter(|record| record.response_status >= 400).count();
            let all = life.records.len();
            assert!(failed as f64 <= 0.03 * all as f64 + 4.0, "{}: {failed} of {all}", archetype.name);
        }
    }
}

#[test]
fn an_expired_token_fails_five_to_eight_times_in_a_row() {
    let mut runs = BTreeSet::new();
    for (index, mut life) in (0..).zip(lives("interactive", 20, 1.0)) {
        for record in &mut life.records {
            record.response_status = 200;
        }
        let mut random = Random::new(index);
        let mut circumstances = Circumstances::draw(&mut random, archetypes::named("interactive").unwrap());
        circumstances.expires = true;
        circumstances.befall(&mut random, &mut life);
        life.records.sort_by_key(|record| record.timestamp);
        let refused: Vec<_> = life
            .records
            .iter()
            .enumerate()
            .filter(|(_, r)| r.response_status == 401)
            .map(|(i, _)| i)
            .collect();
        let (first, last) = (refused[0], refused[refused.len() - 1]);
        assert!((5..=8).contains(&refused.len()), "{refused:?}");
        // Requests of the same sitting may be answered between retries.
        assert!(last - first <= refused.len() + 2, "{refused:?}");
        runs.insert(refused.len());
    }
    assert!(runs.len() >= 3, "{runs:?}");
}

#[test]
fn middleware_tells_the_client_and_the_model_of_all_requests_of_a_key_or_of_none() {
    let mut keys = BTreeMap::<u32, [BTreeSet<bool>; 2]>::new();
    for labelled in TRAFFIC.iter().filter(|l| !l.record.endpoint.contains("credential")) {
        let named = keys.entry(labelled.key).or_default();
        named[0].insert(labelled.record.user_agent.is_empty());
        named[1].insert(labelled.record.model.is_none());
    }
    assert!(keys.values().all(|[client, _]| client.len() == 1));
    let silent = |which: usize| keys.values().filter(|named| !named[which].contains(&false)).count();
    assert!(silent(0) >= 2 && silent(0) * 4 < keys.len(), "{} of {}", silent(0), keys.len());
    assert!(silent(1) >= 1 && silent(1) * 4 < keys.len(), "{} of {}", silent(1), keys.len());
}

#[test]
fn sizes_are_nearly_constant_for_some_and_heavy_tailed_for_others() {
    let spread = |life: &Life| {
        let sizes: Vec<f64> = life
            .records
            .iter()
            .filter(|r| r.prompt_tokens > 0)
            .map(|r| (r.prompt_tokens as f64).ln())
            .collect();
        let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
        (sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / sizes.len() as f64).sqrt()
    };
    let spreads: Vec<f64> = lives("service", 60, 0.3).iter().map(spread).collect();
    let share = |fits: fn(&f64) -> bool| spreads.iter().filter(|s| fits(s)).count() as f64 / 60.0;
    assert!((0.02..0.3).contains(&share(|s| *s < 0.2)), "{spreads:?}");
    assert!((0.05..0.45).contains(&share(|s| *s > 0.9)), "{spreads:?}");
}

#[test]
fn as_many_keys_are_mixed_as_planned_and_each_has_one_secret() {
    let mixed: BTreeSet<_> = archetypes::MIXED.iter().map(|archetype| archetype.name).collect();
    let keys: BTreeSet<u32> =
        TRAFFIC.iter().filter(|l| !l.attacked && mixed.contains(l.archetype)).map(|l| l.key).collect();
    assert_eq!(keys.len() as u32, small().mixed_keys());
    assert_eq!(Plan { mixed: 0.0, ..small() }.mixed_keys(), 0);
    let own = f64::from(small().mixed_keys()) / f64::from(small().mixed_keys() + 28);
    assert!((own - small().mixed).abs() < 0.02, "{own}");
    let mut secrets = BTreeMap::<u32, BTreeSet<_>>::new();
    for labelled in TRAFFIC.iter().filter(|l| l.label != Some("credential_stuffing")) {
        let record = &labelled.record;
        let secret = record.api_key.clone().or(record.key_id.clone()).unwrap();
        secrets.entry(labelled.key).or_default().insert((secret, record.project_id.clone()));
    }
    assert!(secrets.values().all(|secrets| secrets.len() == 1));
    let distinct: BTreeSet<_> = secrets.values().flatten().map(|(secret, _)| secret).collect();
    assert_eq!(distinct.len(), secrets.len(), "a secret is of one key");
}

#[test]
fn all_parts_of_a_mixed_key_are_there_from_its_first_days() {
    for life in lives("team", 12, 0.6) {
        let first_days = life.records.iter().take_while(|r| r.timestamp < TWO_WEEKS.from + 3 * DAY);
        assert!((3..=6).contains(&cities(first_days).len()), "{:?}", cities(life.records.iter()));
    }
    for life in lives("interactive_and_batch", 12, 0.6) {
        let busy = |from: f64, to: f64| {
            let hours = |r: &&WireRecord| (from..to).contains(&hour(r.timestamp, life.persona.home.offset));
            life.records.iter().filter(hours).count()
        };
        assert!(busy(8.0, 20.0) > 0 && life.persona.clients.len() >= 2);
    }
    for life in lives("three_regions_and_batch", 6, 0.3) {
        assert!(cities(life.records.iter()).len() >= 3);
    }
}

#[test]
fn nobody_ever_flies_faster_than_an_airliner() {
    let mut flights = 0;
    // A carrier's traffic may leave through a hub that is this far away from where the phone is.
    for (name, hubs) in [("traveller", 0.0), ("mobile_traveller", 1_400.0)] {
        for life in lives(name, 40, 1.5) {
            for pair in life.records.windows(2) {
                let [from, to] = [place(pair[0].source_ip), place(pair[1].source_ip)];
                let km = from.km(to) - hubs;
                let hours = (pair[1].timestamp - pair[0].timestamp) as f64 / HOUR as f64;
                assert!(
                    km <= 0.0 || km / hours < 1_000.0,
                    "{name}: {} to {} in {hours} h",
                    from.name,
                    to.name
                );
                flights += u32::from(km > 500.0);
            }
        }
    }
    assert!(flights > 100, "{flights}");
}

#[test]
fn a_vpn_has_one_or_two_exits_in_daily_use_and_a_third_now_and_then() {
    let mut numbers = BTreeSet::new();
    for life in lives("vpn", 40, 2.0) {
        let mut exits = BTreeMap::<&str, usize>::new();
        for record in &life.records {
            let (city, network) = City::of(record.source_ip).unwrap();
            if network.sort == crate::simulate::atlas::Sort::Vpn {
                *exits.entry(city.name).or_default() += 1;
            }
        }
        numbers.insert(exits.len());
    }
    assert!(numbers.is_subset(&BTreeSet::from([1, 2, 3])) && numbers.len() == 3, "{numbers:?}");
}

#[test]
fn batches_start_within_twenty_minutes_of_two_and_some_run_once_a_week() {
    let (mut weekly, mut drifting) = (0, 0);
    for life in lives("batch", 40, 1.0) {
        let starts: Vec<Millis> = life
            .records
            .iter()
            .enumerate()
            .filter(|(i, r)| *i == 0 || r.timestamp - life.records[i - 1].timestamp > 6 * HOUR)
            .map(|(_, record)| record.timestamp)
            .collect();
        let late = |offset: Millis| {
            starts.iter().map(move |start| start - midnight(*start, offset) - 2 * HOUR).collect::<Vec<_>>()
        };
        // The first request comes a little after the start; a run before the first midnight is cut.
        let on_time =
            |late: &[Millis]| late.iter().skip(1).all(|late| (-20 * MINUTE..26 * MINUTE).contains(late));
        let local = late(life.persona.home.offset);
        let by_clock = if on_time(&local) { local } else { late(0) };
        assert!(on_time(&by_clock), "{by_clock:?}");
        weekly += u32::from(starts.len() <= 3);
        drifting += u32::from(by_clock.iter().any(|late| late.abs() > 8 * MINUTE));
    }
    assert!((1..15).contains(&weekly) && drifting >= 5, "{weekly} {drifting}");
}

#[test]
fn residential_addresses_change_within_their_provider() {
    let mut changing = 0;
    for life in lives("interactive", 40, 1.5) {
        let mut addresses = HashSet::new();
        let mut providers = BTreeSet::new();
        for record in &life.records {
            let (_, network) = City::of(record.source_ip).unwrap();
            if network.sort == crate::simulate::atlas::Sort::Residential {
                providers.insert(network.asn);
                addresses.insert(record.source_ip);
            }
        }
        assert!(providers.len() <= 1, "{providers:?}");
        changing += u32::from(addresses.len() >= 4);
    }
    assert!((8..40).contains(&changing), "{changing}");
}
