//! Benign keys that change from one day to the next: an SDK upgrade, a move to another model, a new provider's
//! addresses, a new endpoint.

use super::{Archetype, Life, TOKENS_PER_DAY, interactive, service, service::Fleet, service::Service};
use crate::{
    domain::{DAY, HOUR, Millis},
    simulate::{
        atlas::{City, Sort},
        calendar::Span,
        persona::{other_endpoint, other_model, upgraded},
        random::Random,
    },
};

/// They are people as often as services.
const RATES: [f64; 2] = [0.05, 3.0];

pub(super) const SDK_UPGRADE: Archetype = Archetype {
    name: "sdk_upgrade",
    about: "the client library is upgraded",
    rates: RATES,
    live: |random, span, rate| {
        let mut life = usual(random, span, rate);
        let from = date(random, span);
        let newer: Vec<_> =
            life.persona.clients.iter().map(|(old, _)| (old.clone(), upgraded(old, random))).collect();
        for record in life.records.iter_mut().filter(|record| record.timestamp >= from) {
            if let Some((_, new)) = newer.iter().find(|(old, _)| *old == record.user_agent) {
                record.user_agent = new.clone();
            }
        }
        life
    },
};

pub(super) const MODEL_MOVE: Archetype = Archetype {
    name: "model_move",
    about: "all requests move to another model within a day",
    rates: RATES,
    live: |random, span, rate| {
        let mut life = usual(random, span, rate);
        let from = date(random, span);
        let new = other_model(random, &life.persona.models);
        for record in life.records.iter_mut().filter(|record| record.timestamp >= from) {
            let done = (record.timestamp - from) as f64 / DAY as f64;
            if random.chance(done + 0.2) {
                *record = life.persona.with_model(record.clone(), &new);
            }
        }
        life
    },
};

pub(super) const NEW_PROVIDER: Archetype = Archetype {
    name: "new_provider",
    about: "a service moves to another cloud region within a few hours",
    rates: RATES,
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let from = date(random, span);
        let regions: Vec<&'static City> = City::with(Sort::Cloud)
            .into_iter()
            .filter(|city| city.name != service.persona.home.name)
            .collect();
        let region = random.pick(&regions).copied().unwrap_or(service.persona.home);
        let fleet = Fleet::draw(random, region);
        let hours = random.between(0.5, 6.0) * HOUR as f64;
        let mut times = service.times(random, span, 1.0, |_| 1.0);
        for (time, ip) in times.iter_mut().filter(|(time, _)| *time >= from) {
            if random.chance((*time - from) as f64 / hours) {
                *ip = fleet.address(random, *time);
            }
        }
        service.into_life(random, times)
    },
};

pub(super) const NEW_ENDPOINT: Archetype = Archetype {
    name: "new_endpoint",
    about: "a part of the requests goes to an endpoint that is new to the key",
    rates: RATES,
    live: |random, span, rate| {
        let mut life = usual(random, span, rate);
        let from = date(random, span);
        let share = random.between(0.1, 0.5);
        let new = other_endpoint(random, &life.persona.endpoints);
        for record in life.records.iter_mut().filter(|record| record.timestamp >= from) {
            if random.chance(share) {
                record.endpoint = new.clone();
            }
        }
        life
    },
};

/// A holder as they are before the change.
fn usual(random: &mut Random, span: Span, rate: f64) -> Life {
    let archetype = if random.chance(0.5) { interactive::ARCHETYPE } else { service::ONE_REGION };
    (archetype.live)(random, span, rate)
}

/// When the change comes: somewhere in the later part of the run.
fn date(random: &mut Random, span: Span) -> Millis {
    span.from + (span.length() as f64 * random.between(0.35, 0.9)) as Millis
}
