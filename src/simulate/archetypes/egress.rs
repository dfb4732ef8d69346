//! Keys whose addresses say little: functions that leave by any address of a cloud, a key that all machines of a build
//! farm and some developers share, a key inside an app that users all over the world carry along.

use std::{net::IpAddr, sync::Arc};

use super::{Archetype, Life, TOKENS_PER_DAY, service::Service};
use crate::{
    domain::{HOUR, Millis, SECOND},
    simulate::{
        atlas::{City, Sort},
        calendar::{arrivals, office_hours, tide},
        persona::{Persona, client},
        random::Random,
    },
};

pub(super) const SERVERLESS: Archetype = Archetype {
    name: "serverless",
    about: "functions that leave by another address of a cloud each time, in two regions",
    rates: [0.1, 4.0],
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let home = service.persona.home;
        let regions = [home, nearest_region(home)];
        let elsewhere = random.between(0.0, 0.3);
        let mut times = service.times(random, span, 1.0, |_| 1.0);
        for (_, ip) in &mut times {
            let region = regions[usize::from(random.chance(elsewhere))];
            *ip = region.address(Sort::Cloud, random);
        }
        service.into_life(random, times)
    },
};

pub(super) const SHARED_CI: Archetype = Archetype {
    name: "shared_ci",
    about: "build machines of one cloud and some developers share a key, each with clients of its own",
    rates: [0.2, 3.0],
    live: |random, span, rate| {
        let mut persona = Persona::draw(random, Sort::Cloud);
        persona.clients = (0..random.whole(3, 6)).map(|_| (client(random), 1.0)).collect();
        persona.fit(40.0 * rate, 10.0, TOKENS_PER_DAY);
        let developers: Vec<&'static City> = (0..random.whole(2, 5))
            .filter_map(|_| random.pick(&City::with(Sort::Residential)).copied())
            .collect();
        let (offset, week) = (persona.home.offset, persona.week);
        let at_work = |t| if week.rests(t, offset) { 0.03 } else { office_hours(t, offset) + 0.02 };
        let mut records = Vec::new();
        for start in arrivals(random, span, 3.0 * rate, at_work) {
            let by_hand = random.chance(0.25);
            let city = random.pick(&developers).copied().filter(|_| by_hand);
            let ip = match city {
                Some(city) => city.address(Sort::Residential, random),
                None => persona.home.address(Sort::Cloud, random),
            };
            let tests = if by_hand { random.whole(1, 6) } else { random.whole(4, 40) };
            let agent = random.weighted(&persona.clients).cloned().unwrap_or_default();
            let mut time = start;
            for _ in 0..tests {
                let mut record = persona.request(random, time, ip);
                record.user_agent = agent.clone();
                records.push(record);
                time += (random.exponential(4.0) * SECOND as f64) as Millis;
            }
        }
        records.retain(|record| span.contains(record.timestamp));
        Life { persona, records }
    },
};

/// How a phone and two browsers name themselves.
const IN_AN_APP: &[&str] = &[
    "okhttp/4.12.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 \
     Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
];

pub(super) const EMBEDDED_APP: Archetype = Archetype {
    name: "embedded_app",
    about: "a key inside an app, used by people all over the world from their own lines and phones",
    rates: [0.2, 4.0],
    live: |random, span, rate| {
        let mut persona = Persona::draw(random, Sort::Residential);
        let kinds = random.whole(1, 3) as usize;
        persona.clients = IN_AN_APP.iter().take(kinds).map(|name| (Arc::from(*name), 1.0)).collect();
        persona.models.truncate(1);
        persona.endpoints.truncate(1);
        persona.fit(40.0 * rate, 24.0, TOKENS_PER_DAY);
        let mut markets: Vec<&'static City> = City::all().iter().collect();
        random.shuffle(&mut markets);
        markets.truncate(random.whole(8, 40) as usize);
        let week = persona.week;
        let times = arrivals(random, span, 40.0 * rate, |t| tide(t, persona.home.offset, week, 0.4));
        let records = times
            .into_iter()
            .map(|time| {
                let ip = user(random, &markets);
                persona.request(random, time, ip)
            })
            .collect();
        Life { persona, records }
    },
};

/// Somebody in one of the cities, at home or on the way.
fn user(random: &mut Random, markets: &[&'static City]) -> IpAddr {
    let sort = if random.chance(0.6) { Sort::Mobile } else { Sort::Residential };
    random.pick(markets).map_or(IpAddr::from([192, 0, 2, 1]), |city| city.address(sort, random))
}

/// The nearest other city with a cloud region.
fn nearest_region(home: &'static City) -> &'static City {
    let others = City::with(Sort::Cloud).into_iter().filter(|city| city.name != home.name);
    others.min_by(|a, b| home.km(a).total_cmp(&home.km(b))).unwrap_or(home)
}

pub(super) const DAYLIGHT: Archetype = Archetype {
    name: "daylight_saving",
    about: "a job at a fixed local hour, whose clock is put forward on one day",
    rates: [0.3, 3.0],
    live: |random, span, rate| {
        let mut persona = Persona::draw(random, Sort::Cloud);
        let per_run = random.between(30.0, 200.0) * rate;
        persona.fit(per_run, 1.0, TOKENS_PER_DAY);
        let address = persona.home.address(Sort::Cloud, random);
        let hour = random.whole(0, 23) * HOUR;
        let forward = span.from + span.length() / 2 + random.whole(0, 3) * 24 * HOUR;
        let mut records = Vec::new();
        for midnight in span.midnights(persona.home.offset) {
            let summer = if midnight >= forward { HOUR } else { 0 };
            let mut time = midnight + hour - summer + random.whole(0, 120) * SECOND;
            for _ in 0..random.lognormal(per_run, 0.15) as usize {
                records.push(persona.request(random, time, address));
                time += (random.exponential(8.0) * SECOND as f64) as Millis;
            }
        }
        records.retain(|record| span.contains(record.timestamp));
        Life { persona, records }
    },
};
