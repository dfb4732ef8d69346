//! A person who travels: plausible flights, a few days elsewhere, and back again.

use super::{
    Archetype,
    interactive::{Desk, Habits},
};
use crate::{
    domain::{DAY, HOUR, Millis},
    simulate::{atlas::City, calendar::Span, random::Random},
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "traveller",
    about: "a person with plausible flights, and back again",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let trips = Trip::plan(random, span, habits.persona.home);
        let mut times = habits.sittings(random, span, |_| 1.0);
        times.retain(|(time, _)| trips.iter().all(|trip| !trip.span().contains(*time)));
        for trip in &trips {
            let mut desk = Desk::away(random, trip.city);
            times.extend(habits.sittings_at(random, trip.stay(), &mut desk, |_| 1.0));
        }
        habits.into_life(random, times)
    },
};

/// A stay elsewhere, with the journeys there and back.
pub(super) struct Trip {
    there: Span,
    back: Span,
    pub(super) city: &'static City,
}

impl Trip {
    /// Trips one after the other through the whole span.
    pub(super) fn plan(random: &mut Random, span: Span, home: &'static City) -> Vec<Self> {
        let mut trips = Vec::new();
        let mut leave = span.from + (random.between(2.0, 7.0) * DAY as f64) as Millis;
        while leave < span.to {
            let city = City::far(&[home], 600.0, random);
            let stay = (random.between(2.0, 10.0) * DAY as f64) as Millis;
            let there = Span { from: leave, to: leave + journey(random, home, city) };
            let back = Span { from: there.to + stay, to: there.to + stay + journey(random, city, home) };
            leave = back.to + (random.between(2.0, 8.0) * DAY as f64) as Millis;
            trips.push(Self { there, back, city });
        }
        trips
    }

    /// From leaving home until being back.
    pub(super) fn span(&self) -> Span {
        Span { from: self.there.from, to: self.back.to }
    }

    /// From arriving until leaving again.
    pub(super) fn stay(&self) -> Span {
        Span { from: self.there.to, to: self.back.from }
    }
}

/// How long a journey takes: the flight at a cruising airliner's speed, and the ways to and from airports.
fn journey(random: &mut Random, from: &City, to: &City) -> Millis {
    let hours = from.km(to) / random.between(700.0, 850.0) + random.between(2.5, 5.0);
    (hours * HOUR as f64) as Millis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trips_take_two_to_ten_days_and_flights_as_long_as_they_must() {
        let span = Span { from: 0, to: 60 * DAY };
        for seed in 0..50 {
            let home = &City::all()[seed as usize];
            let trips = Trip::plan(&mut Random::new(seed), span, home);
            assert!(trips.len() >= 3);
            for trip in &trips {
                assert!((2 * DAY..=10 * DAY).contains(&trip.stay().length()));
                let least = home.km(trip.city) / 850.0 + 2.5;
                for flight in [trip.there, trip.back] {
                    assert!(flight.length() as f64 / HOUR as f64 >= least - 0.01);
                }
            }
            assert!(trips.windows(2).all(|pair| pair[1].span().from >= pair[0].span().to + 2 * DAY));
        }
    }
}
