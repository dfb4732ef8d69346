//! A person behind a VPN: the home address and a far exit in turn, all day.

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
    name: "vpn",
    about: "a person whose requests come from home and from a far VPN exit in turn",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let tunnel = Tunnel::draw(random, habits.persona.home);
        let mut times = habits.sittings(random, span, |_| 1.0);
        tunnel.take(random, &mut times);
        habits.into_life(random, times)
    },
};

/// A VPN and how it is used.
pub(super) struct Tunnel {
    provider: u32,
    /// One or two exits in daily use.
    usual: Vec<&'static City>,
    /// One more that is taken now and then.
    other: Option<&'static City>,
    now_and_then: f64,
    share: f64,
}

impl Tunnel {
    pub(super) fn draw(random: &mut Random, home: &'static City) -> Self {
        let mut exits = City::with(Sort::Vpn);
        exits.retain(|city| city.km(home) > 800.0);
        random.shuffle(&mut exits);
        let daily = if random.chance(0.7) { 1 } else { 2 };
        let provider = exits.first().map_or(0, |city| city.provider(Sort::Vpn, random));
        let other = exits.get(daily).copied().filter(|_| random.chance(0.4));
        exits.truncate(daily);
        let now_and_then = random.between(0.01, 0.06);
        Self { provider, usual: exits, other, now_and_then, share: random.between(0.3, 0.7) }
    }

    /// Sends a part of the requests through it.
    pub(super) fn take(&self, random: &mut Random, times: &mut [(Millis, IpAddr)]) {
        times.sort_unstable();
        let mut exit = None;
        for (_, ip) in times {
            // The tunnel goes up and down within sittings too.
            if random.chance(0.25) {
                let up = random.chance(self.share);
                let other = self.other.filter(|_| random.chance(self.now_and_then));
                let city = other.or_else(|| random.pick(&self.usual).copied()).filter(|_| up);
                exit = city.map(|city| city.address_of(self.provider, Sort::Vpn, random));
            }
            *ip = exit.unwrap_or(*ip);
        }
    }
}
