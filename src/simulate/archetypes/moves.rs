//! Keys that change several things at once, and rightfully: a migration to another provider with another client, and a
//! second application in a city where colleagues of the same project work.

use super::{Archetype, Life, TOKENS_PER_DAY, interactive::Habits, service::Fleet, service::Service};
use crate::{
    domain::{DAY, Millis},
    simulate::{
        atlas::{City, Sort},
        calendar::{Span, arrivals, office_hours},
        persona::{client, other_endpoint, other_model},
        random::Random,
    },
};

pub(super) const MIGRATION: Archetype = Archetype {
    name: "migration",
    about: "a service moves to another cloud, client and model within two days, both at work meanwhile",
    rates: Service::RATES,
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let regions: Vec<&'static City> = City::with(Sort::Cloud)
            .into_iter()
            .filter(|city| city.name != service.persona.home.name)
            .collect();
        let region = random.pick(&regions).copied().unwrap_or(service.persona.home);
        let fleet = Fleet::draw(random, region);
        let from = date(random, span);
        let length = random.between(0.1, 2.0) * DAY as f64;
        let new_client = client(random);
        let new_model = random.chance(0.5).then(|| other_model(random, &service.persona.models));
        let times = service.times(random, span, 1.0, |_| 1.0);
        let mut life = service.into_life(random, times);
        for record in life.records.iter_mut().filter(|record| record.timestamp >= from) {
            if !random.chance((record.timestamp - from) as f64 / length) {
                continue;
            }
            record.source_ip = fleet.address(random, record.timestamp);
            record.user_agent = new_client.clone();
            if let Some(model) = &new_model {
                *record = life.persona.with_model(record.clone(), model);
            }
        }
        life
    },
};

/// Cities in which projects of colleagues sit: few, so that each project has several keys.
const OFFICES: usize = 2;

pub(super) const COLLEAGUE: Archetype = Archetype {
    name: "colleague",
    about: "one of some colleagues of a project in one city",
    rates: [0.3, 3.0],
    live: |random, span, rate| colleague(random, span, rate),
};

pub(super) const SECOND_APPLICATION: Archetype = Archetype {
    name: "second_application",
    about: "a colleague whose key a second application begins to use, in a colleagues' way and city",
    rates: [0.3, 3.0],
    live: |random, span, rate| {
        let mut life = colleague(random, span, rate);
        let from = date(random, span);
        let (offset, week) = (life.persona.home.offset, life.persona.week);
        let address = life.persona.home.address(Sort::Residential, random);
        let mut second = life.persona.clone();
        second.clients = vec![(client(random), 1.0)];
        second.endpoints = vec![(other_endpoint(random, &second.endpoints), 1.0)];
        if random.chance(0.5) {
            second.models = vec![(other_model(random, &second.models), 1.0)];
        }
        let at_work = |t| if week.rests(t, offset) { 0.0 } else { office_hours(t, offset) };
        let per_hour = random.between(3.0, 20.0) * rate;
        let times = arrivals(random, span.after(from), per_hour, at_work);
        life.records.extend(times.into_iter().map(|time| second.request(random, time, address)));
        life
    },
};

/// A person of one of a few offices. Their keys are of the office's project.
fn colleague(random: &mut Random, span: Span, rate: f64) -> Life {
    let offices = City::with(Sort::Residential);
    let office = random.below(OFFICES.min(offices.len()));
    // Spread over the table of cities, which is in order of continents.
    let city = offices[(office * 11 + 3) % offices.len()];
    let mut habits = Habits::draw_in(random, rate, city);
    habits.persona.project = Some(format!("project-office-{office}").into());
    let times = habits.sittings(random, span, |_| 1.0);
    habits.into_life(random, times)
}

/// When the change comes: somewhere in the later part of the run.
fn date(random: &mut Random, span: Span) -> Millis {
    span.from + (span.length() as f64 * random.between(0.4, 0.85)) as Millis
}
