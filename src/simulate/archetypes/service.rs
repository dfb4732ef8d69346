//! Services around the clock: in one cloud region, or in three at once on three continents.

use std::net::IpAddr;

use super::{Archetype, Life, TOKENS_PER_DAY};
use crate::{
    domain::{HOUR, MINUTE, Millis, SECOND},
    simulate::{
        atlas::{City, Sort},
        calendar::{Span, arrivals, tide},
        persona::Persona,
        random::Random,
    },
};

pub(super) const ONE_REGION: Archetype = Archetype {
    name: "service",
    about: "a service in one cloud region, around the clock",
    rates: Service::RATES,
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let times = service.times(random, span, 1.0, |_| 1.0);
        service.into_life(random, times)
    },
};

pub(super) const THREE_REGIONS: Archetype = Archetype {
    name: "service_three_regions",
    about: "a service on three continents at once, often in the same second",
    rates: Service::RATES,
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let fleets = three_continents(random, service.persona.home)
            .map(|city| Fleet::draw(random, city))
            .collect::<Vec<_>>();
        let together = random.between(0.2, 0.6);
        let mut times = Vec::new();
        // Each tick is work in one region, or the same job in all of them within a second.
        for tick in arrivals(random, span, service.per_hour * 0.6, |t| {
            tide(t, 0, service.persona.week, service.depth * 0.3)
        }) {
            if random.chance(together) {
                for fleet in &fleets {
                    times.push((tick + random.whole(0, SECOND - 1), fleet.address(random, tick)));
                }
            } else if let Some(fleet) = random.pick(&fleets) {
                times.push((tick, fleet.address(random, tick)));
            }
        }
        service.into_life(random, times)
    },
};

/// The home region and two others, each on a continent of its own.
fn three_continents(random: &mut Random, home: &'static City) -> impl Iterator<Item = &'static City> + use<> {
    let mut regions = City::with(Sort::Cloud);
    random.shuffle(&mut regions);
    regions.insert(0, home);
    let mut continents = Vec::new();
    regions.retain(|city| {
        let new = !continents.contains(&city.continent);
        continents.push(city.continent);
        new
    });
    regions.into_iter().take(3)
}

/// A service's habits, which other archetypes share.
pub(super) struct Service {
    pub(super) persona: Persona,
    pub(super) per_hour: f64,
    depth: f64,
    fleet: Fleet,
}

impl Service {
    /// From five requests a day to 300 an hour.
    pub(super) const RATES: [f64; 2] = [0.02, 3.0];

    /// Draws a service that uses so many tokens a day at most.
    pub(super) fn draw(random: &mut Random, rate: f64, tokens_per_day: f64) -> Self {
        let mut persona = Persona::draw(random, Sort::Cloud);
        let per_hour = random.lognormal(28.0, 0.6).clamp(6.0, 110.0) * rate;
        persona.fit(per_hour, 24.0, tokens_per_day);
        let fleet = Fleet::draw(random, persona.home);
        Self { persona, per_hour, depth: random.between(0.1, 0.8), fleet }
    }

    /// Times and addresses of its requests; `load` multiplies the usual rate, and is `most` at most.
    pub(super) fn times(
        &self,
        random: &mut Random,
        span: Span,
        most: f64,
        load: impl Fn(Millis) -> f64,
    ) -> Vec<(Millis, IpAddr)> {
        let offset = self.persona.home.offset;
        let share = |time| tide(time, offset, self.persona.week, self.depth) * load(time) / most;
        let times = arrivals(random, span, self.per_hour * most, share);
        times.into_iter().map(|time| (time, self.fleet.address(random, time))).collect()
    }

    /// Fills the times with ordinary requests.
    pub(super) fn into_life(self, random: &mut Random, times: Vec<(Millis, IpAddr)>) -> Life {
        let records = times.into_iter().map(|(time, ip)| self.persona.request(random, time, ip)).collect();
        Life { persona: self.persona, records }
    }
}

/// Machines in one region. Each lives for hours or days and is replaced by one with another address of the provider.
pub(super) struct Fleet {
    city: &'static City,
    asn: u32,
    machines: u64,
    lifetime: Millis,
    seed: Random,
}

impl Fleet {
    pub(super) fn draw(random: &mut Random, city: &'static City) -> Self {
        let asn = city.provider(Sort::Cloud, random);
        let lifetime = (random.lognormal(40.0, 0.8) * HOUR as f64) as Millis;
        Self {
            city,
            asn,
            machines: random.whole(1, 6) as u64,
            lifetime: lifetime.max(30 * MINUTE),
            seed: Random::new(random.bits()),
        }
    }

    /// The address of one of the machines that live at a moment.
    pub(super) fn address(&self, random: &mut Random, time: Millis) -> IpAddr {
        let machine = random.bits() % self.machines;
        // Machines are replaced one after the other, not all at once.
        let stagger = self.lifetime / self.machines as Millis * machine as Millis;
        let generation = (time + stagger).div_euclid(self.lifetime) as u64;
        let mut fixed = self.seed.part("machine", machine ^ (generation << 8));
        self.city.address_of(self.asn, Sort::Cloud, &mut fixed)
    }
}
