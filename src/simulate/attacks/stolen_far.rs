//! A stolen key, used from another continent while its holder works.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, MINUTE, Millis},
    simulate::{
        atlas::City,
        calendar::{Span, arrivals},
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "stolen_key_far",
    about: "used from another continent while its holder works",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = (random.between(1.0, 3.0) * HOUR as f64) as Millis;
        let from = victim.at_work(random, length) + random.whole(MINUTE, 10 * MINUTE);
        let city = City::far(&victim.places(), 3_000.0, random);
        let thief = Thief::draw(random, victim, city);
        let per_hour = random.between(10.0, 90.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| thief.request(random, victim, time)).collect()
    },
};
