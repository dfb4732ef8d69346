//! A stolen key, used from another continent while its holder works.

use super::{Attack, PEOPLE, Thief};
use crate::{
    domain::{HOUR, MINUTE, Millis},
    simulate::calendar::{Span, arrivals},
};

pub(super) const ATTACK: Attack = Attack {
    name: "stolen_key_far",
    about: "used from another continent while its holder works",
    victims: PEOPLE,
    strike: |random, victim| {
        let length = (random.between(1.0, 3.0) * HOUR as f64) as Millis;
        let from = victim.at_work(random, length) + random.whole(MINUTE, 10 * MINUTE);
        let home = victim.persona.home;
        let mut city = home.far(3_000.0, random);
        // A few draws find another continent; the last one counts whatever it is.
        for _ in 0..20 {
            if city.continent == home.continent {
                city = home.far(3_000.0, random);
            }
        }
        let thief = Thief::draw(random, city, 0.5);
        let per_hour = random.between(15.0, 70.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| thief.request(random, victim, time)).collect()
    },
};
