//! A person on the move: the carrier's addresses change by the minute, and their places jitter by hundreds of km.

use std::net::IpAddr;

use super::{Archetype, interactive::Habits};
use crate::{
    domain::Millis,
    simulate::{
        atlas::{City, Sort},
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "mobile",
    about: "a phone: addresses change by the minute, places jitter by hundreds of km",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let phone = Phone::draw(random);
        let mut times = habits.sittings(random, span, |_| 1.0);
        phone.carry(random, habits.persona.home, &mut times);
        habits.into_life(random, times)
    },
};

/// How a phone goes online.
pub(super) struct Phone {
    /// How often a carrier's traffic leaves through its hub in another city of the country.
    through_hub: f64,
    /// How often the address changes.
    change: f64,
    /// How often it is on a network at home or at work.
    wifi: f64,
}

impl Phone {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            through_hub: random.between(0.0, 0.2),
            change: random.between(0.2, 0.7),
            wifi: random.between(0.0, 0.3),
        }
    }

    /// Sends what is not sent over a network at home or at work through a carrier of the city.
    pub(super) fn carry(&self, random: &mut Random, city: &'static City, times: &mut [(Millis, IpAddr)]) {
        times.sort_unstable();
        let hubs: Vec<_> =
            City::all().iter().filter(|c| c.country == city.country && c.km(city) < 700.0).collect();
        let mut carrier = city.address(Sort::Mobile, random);
        let mut on_wifi = false;
        for (_, ip) in times {
            if random.chance(self.change) {
                let through_hub = random.chance(self.through_hub);
                let hub = random.pick(&hubs).copied().filter(|_| through_hub).unwrap_or(city);
                carrier = hub.address(Sort::Mobile, random);
                on_wifi = random.chance(self.wifi);
            }
            if !on_wifi {
                *ip = carrier;
            }
        }
    }
}
