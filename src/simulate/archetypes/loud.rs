//! Keys that are rightfully loud: a launch, a large evaluation, a job once a month. Nobody can tell them from a loop or
//! a theft by numbers alone; they are counted apart.

use super::{Archetype, TOKENS_PER_DAY, interactive, service::Service};
use crate::{
    domain::{DAY, HOUR, Millis, SECOND},
    simulate::{calendar::midnight, persona::other_model},
};

pub(super) const LAUNCH: Archetype = Archetype {
    name: "launch",
    about: "a service with five to twenty times the load on one day, and three times from then on",
    rates: [0.05, 1.0],
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY * 0.2);
        let launch = midnight(
            span.from + (span.length() as f64 * random.between(0.5, 0.9)) as Millis,
            service.persona.home.offset,
        ) + 9 * HOUR;
        let most = random.between(5.0, 20.0);
        let times = service.times(random, span, most, |t| match t - launch {
            ..0 => 1.0,
            0..DAY => most,
            _ => 3.0,
        });
        service.into_life(random, times)
    },
};

pub(super) const EVALUATOR: Archetype = Archetype {
    name: "evaluator",
    about: "a person who now and then has thousands of requests made to several models in an hour or two",
    rates: [0.3, 2.0],
    live: |random, span, rate| {
        let mut life = (interactive::ARCHETYPE.live)(random, span, rate);
        let Some(last) = life.records.iter().map(|record| record.timestamp).max() else { return life };
        for _ in 0..random.whole(1, 3) {
            let start = span.before(last).moment(random).max(span.from + span.length() / 3);
            let (owner, models) = (life.persona.clone(), random.whole(2, 5));
            let near = life.records.iter().min_by_key(|record| (record.timestamp - start).abs());
            let Some(address) = near.map(|record| record.source_ip) else { continue };
            for _ in 0..models {
                let model = other_model(random, &owner.models);
                let mut time = start;
                for _ in 0..random.whole(150, 800) {
                    let record = owner.request(random, time, address);
                    life.records.push(owner.with_model(record, &model));
                    time += (random.exponential(5.0) * SECOND as f64) as Millis;
                }
            }
        }
        life.records.retain(|record| span.contains(record.timestamp));
        life
    },
};

pub(super) const MONTHLY_JOB: Archetype = Archetype {
    name: "monthly_job",
    about: "a service or a person whose key also carries a large job on one night of the month",
    rates: [0.1, 1.0],
    live: |random, span, rate| {
        let usual = if random.chance(0.5) { interactive::ARCHETYPE } else { super::service::ONE_REGION };
        let mut life = (usual.live)(random, span, rate);
        let night = midnight(
            span.from + (span.length() as f64 * random.between(0.5, 0.95)) as Millis,
            life.persona.home.offset,
        );
        let near = life.records.iter().min_by_key(|record| (record.timestamp - night).abs());
        let Some(address) = near.map(|record| record.source_ip) else { return life };
        let mut time = night + random.whole(0, 5) * HOUR;
        for _ in 0..random.whole(300, 2_000) {
            life.records.push(life.persona.request(random, time, address));
            time += (random.exponential(4.0) * SECOND as f64) as Millis;
        }
        life.records.retain(|record| span.contains(record.timestamp));
        life
    },
};
