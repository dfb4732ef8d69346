//! A person who travels: plausible flights, a few days elsewhere, and back again.

use std::net::IpAddr;

use super::{Archetype, interactive::Habits};
use crate::{
    domain::{DAY, HOUR, Millis},
    simulate::{
        atlas::{City, Sort},
        calendar::Span,
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "traveller",
    about: "a person with plausible flights, and back again",
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let trips = Trip::plan(random, span, habits.persona.home);
        let mut times = habits.sittings(random, span);
        times.retain_mut(|(time, ip)| trips.iter().all(|trip| trip.bend(*time, ip)));
        habits.into_life(random, times)
    },
};

/// A stay elsewhere, with the journeys there and back.
struct Trip {
    there: Span,
    back: Span,
    hotel: IpAddr,
}

impl Trip {
    /// Trips one after the other through the whole span.
    fn plan(random: &mut Random, span: Span, home: &City) -> Vec<Self> {
        let mut trips = Vec::new();
        let mut leave = span.from + (random.between(2.0, 7.0) * DAY as f64) as Millis;
        while leave < span.to {
            let city = home.far(600.0, random);
            let stay = (random.between(1.5, 5.0) * DAY as f64) as Millis;
            let there = Span { from: leave, to: leave + journey(random, home, city) };
            let back = Span { from: there.to + stay, to: there.to + stay + journey(random, city, home) };
            leave = back.to + (random.between(3.0, 8.0) * DAY as f64) as Millis;
            trips.push(Self { there, back, hotel: city.address(Sort::Residential, random) });
        }
        trips
    }

    /// Whether a request can be made at a moment; on the trip it comes from the hotel.
    fn bend(&self, time: Millis, ip: &mut IpAddr) -> bool {
        if self.there.contains(time) || self.back.contains(time) {
            return false;
        }
        if time >= self.there.to && time < self.back.from {
            *ip = self.hotel;
        }
        true
    }
}

/// How long a journey takes: the flight at a cruising airliner's speed, and the ways to and from airports.
fn journey(random: &mut Random, from: &City, to: &City) -> Millis {
    let hours = from.km(to) / random.between(700.0, 850.0) + random.between(2.5, 5.0);
    (hours * HOUR as f64) as Millis
}
