//! A person behind a VPN: the home address and a far exit in turn, all day.

use super::{Archetype, interactive::Habits};
use crate::simulate::atlas::{City, Sort};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "vpn",
    about: "a person whose requests come from home and from a far VPN exit in turn",
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let mut exits = City::with(Sort::Vpn);
        exits.retain(|city| city.km(habits.persona.home) > 800.0);
        random.shuffle(&mut exits);
        exits.truncate(if random.chance(0.7) { 1 } else { 2 });
        let share = random.between(0.3, 0.7);
        let mut times = habits.sittings(random, span);
        let mut exit = None;
        for (_, ip) in &mut times {
            // The tunnel goes up and down within sittings too.
            if random.chance(0.25) {
                let city = random.pick(&exits).copied().filter(|_| random.chance(share));
                exit = city.map(|city| city.address(Sort::Vpn, random));
            }
            *ip = exit.unwrap_or(*ip);
        }
        habits.into_life(random, times)
    },
};
