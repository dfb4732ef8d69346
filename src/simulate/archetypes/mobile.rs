//! A person on the move: the carrier's addresses change by the minute, and their places jitter by hundreds of km.

use super::{Archetype, interactive::Habits};
use crate::simulate::atlas::{City, Sort};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "mobile",
    about: "a phone: addresses change by the minute, places jitter by hundreds of km",
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let home = habits.persona.home;
        // Traffic of a carrier may leave through its hub in another city of the country.
        let hubs: Vec<_> =
            City::all().iter().filter(|c| c.country == home.country && c.km(home) < 700.0).collect();
        let through_hub = random.between(0.0, 0.2);
        let change = random.between(0.2, 0.7);
        let wifi = random.between(0.0, 0.3);
        let mut times = habits.sittings(random, span);
        let mut carrier = home.address(Sort::Mobile, random);
        let mut on_wifi = false;
        for (_, ip) in &mut times {
            if random.chance(change) {
                let hub = random.pick(&hubs).copied().filter(|_| random.chance(through_hub)).unwrap_or(home);
                carrier = hub.address(Sort::Mobile, random);
                on_wifi = random.chance(wifi);
            }
            if !on_wifi {
                *ip = carrier;
            }
        }
        habits.into_life(random, times)
    },
};
