//! A burst on a weekend night, from the holder's own network.

use super::{Attack, PEOPLE};
use crate::{
    domain::MINUTE,
    simulate::{
        atlas::Sort,
        calendar::{Span, arrivals},
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "weekend_burst",
    about: "many requests on a weekend night",
    victims: PEOPLE,
    strike: |random, victim| {
        let from = victim.night(random, true);
        let length = random.whole(20, 90) * MINUTE;
        let own = victim.address_at(from);
        let ip =
            if random.chance(0.5) { own } else { victim.persona.home.address(Sort::Residential, random) };
        let per_hour = random.between(400.0, 1_500.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| victim.persona.request(random, time, ip)).collect()
    },
};
