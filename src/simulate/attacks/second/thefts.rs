//! Thefts that are hard to see: a few requests a day for days, and one on a key's first day.

use super::{ANYBODY, Attack, Tellable, Thief, at_work};
use crate::{domain::HOUR, simulate::atlas::City};

pub(super) const LOW_AND_SLOW: Attack = Attack {
    name: "low_and_slow",
    about: "one or two requests an hour for days, from another country and with another client",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let hours = random.between(60.0, 160.0);
        let from = victim.start(random, (hours as i64) * HOUR);
        let city = City::far(&victim.places(), 500.0, random);
        let mut thief = Thief::draw(random, victim, city);
        thief.addresses.truncate(1);
        thief.client = Some(Thief::own_client(random));
        thief.endpoint = random.chance(0.5).then(|| Thief::own_endpoint(random, victim));
        let per_hour = random.between(0.5, 2.0);
        at_work(random, victim, &thief, from, hours, per_hour)
    },
};

pub(super) const FIRST_DAY_THEFT: Attack = Attack {
    name: "first_day_theft",
    about: "on the key's first day, from far away and with another client, beside the owner's work",
    tellable: Tellable::Hard,
    victims: &["service", "interactive", "colleague", "agent"],
    strike: |random, victim| {
        let from = victim.born + (random.between(4.0, 20.0) * HOUR as f64) as i64;
        let mut thief = Thief::abroad(random, victim, 2_000.0);
        thief.client = Some(Thief::own_client(random));
        thief.endpoint = random.chance(0.5).then(|| Thief::own_endpoint(random, victim));
        thief.model = random.chance(0.5).then(|| Thief::own_model(random, victim));
        let (hours, per_hour) = (random.between(3.0, 10.0), random.between(8.0, 60.0));
        at_work(random, victim, &thief, from, hours, per_hour)
    },
};
