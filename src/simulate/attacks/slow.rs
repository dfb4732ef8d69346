//! A stolen key, used slowly and quietly: nine requests an hour, another client, other endpoints, another model.

use super::{ANYBODY, Attack, Thief};
use crate::{
    domain::{HOUR, Millis},
    simulate::{
        atlas::City,
        calendar::{Span, arrivals},
        persona::{client, curious_endpoint, dear_model, other_endpoint, other_model},
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "stolen_key_slow",
    about: "nine requests an hour with another client, other endpoints and another model",
    victims: ANYBODY,
    strike: |random, victim| {
        let length = (random.between(6.0, 30.0) * HOUR as f64) as Millis;
        let from = victim.start(random, length);
        let home = victim.persona.home;
        let near: Vec<&City> = City::all().iter().filter(|city| city.country == home.country).collect();
        let city = if random.chance(0.3) {
            random.pick(&near).copied().unwrap_or(home)
        } else {
            home.far(500.0, random)
        };
        let mut thief = Thief::draw(random, city, 0.0);
        let like_any_other = random.chance(0.3);
        if like_any_other {
            thief.client = Some(client(random));
        }
        let known = &victim.persona;
        let model = if random.chance(0.5) { dear_model(random) } else { other_model(random, &known.models) };
        let times = arrivals(random, Span { from, to: from + length }, 9.0, |_| 1.0);
        let ask = |time| {
            let mut record = thief.request(random, victim, time);
            record = known.with_model(record, &model);
            record.endpoint = if random.chance(0.4) {
                curious_endpoint(random)
            } else {
                other_endpoint(random, &known.endpoints)
            };
            record
        };
        times.into_iter().map(ask).collect()
    },
};
