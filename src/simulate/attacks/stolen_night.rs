//! A stolen key, used in bulk at night from a neighbouring country.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, Millis},
    simulate::calendar::{Span, arrivals},
};

pub(super) const ATTACK: Attack = Attack {
    name: "stolen_key_night_bulk",
    about: "used in bulk at night from a neighbouring country",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let from = victim.night(random, false);
        let length = (random.between(0.7, 2.5) * HOUR as f64) as Millis;
        let thief = Thief::draw(random, victim, victim.persona.home.neighbour(&victim.places()));
        let per_hour = random.between(60.0, 500.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| thief.request(random, victim, time)).collect()
    },
};
