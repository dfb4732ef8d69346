//! A burst on a weekend night, from the holder's own network.

use super::{ANYBODY, Attack, Tellable};
use crate::{
    domain::MINUTE,
    simulate::{
        atlas::Sort,
        calendar::{Span, arrivals},
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "weekend_burst",
    about: "ten to forty times as many requests as usual on a weekend night",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let from = victim.night(random, true);
        let length = random.whole(15, 60) * MINUTE;
        let own = victim.address_at(from);
        let ip =
            if random.chance(0.5) { own } else { victim.persona.home.address(Sort::Residential, random) };
        let times_usual = random.between(10.0, 40.0);
        // Of a key that is hardly used, ten times as much is still nothing.
        let least = random.between(400.0, 1_500.0);
        let per_hour = (victim.usual_per_hour() * times_usual).clamp(least, 6_000.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| victim.persona.request(random, time, ip)).collect()
    },
};
