//! A person at work: business hours of their zone, an address at home and a few at the office.

use std::net::IpAddr;

use super::{Archetype, Life, TOKENS_PER_PERSON_DAY};
use crate::{
    domain::{DAY, Millis},
    simulate::{
        atlas::Sort,
        calendar::{Span, arrivals, hour, is_weekend, office_hours, sitting},
        persona::Persona,
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "interactive",
    about: "a person in business hours, from home and from an office",
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let times = habits.sittings(random, span);
        habits.into_life(random, times)
    },
};

/// A person's habits, which other archetypes share.
pub(super) struct Habits {
    pub(super) persona: Persona,
    sittings_per_hour: f64,
    requests_per_sitting: f64,
    home: IpAddr,
    office: Vec<IpAddr>,
    at_home: f64,
}

impl Habits {
    pub(super) fn draw(random: &mut Random, rate: f64) -> Self {
        let mut persona = Persona::draw(random, Sort::Residential);
        let sittings_per_hour = random.lognormal(2.2, 0.5).clamp(0.8, 6.0) * rate;
        let requests_per_sitting = random.between(2.5, 8.0);
        persona.fit(sittings_per_hour * requests_per_sitting * 9.0, TOKENS_PER_PERSON_DAY);
        Self {
            sittings_per_hour,
            requests_per_sitting,
            home: persona.home.address(Sort::Residential, random),
            office: (0..random.whole(1, 3)).map(|_| persona.home.address(Sort::Office, random)).collect(),
            at_home: random.between(0.0, 0.6),
            persona,
        }
    }

    /// Every request's time, with the address where the person sits then.
    pub(super) fn sittings(&mut self, random: &mut Random, span: Span) -> Vec<(Millis, IpAddr)> {
        let offset = self.persona.home.offset;
        let mut asked = Vec::new();
        for midnight in span.midnights(offset) {
            let day = Span { from: midnight, to: midnight + DAY };
            let stays_home = random.chance(self.at_home) || is_weekend(midnight, offset);
            // Providers hand out another address of the same network now and then.
            if random.chance(0.06) {
                self.home = self.persona.home.address(Sort::Residential, random);
            }
            for start in arrivals(random, day, self.sittings_per_hour, |t| office_hours(t, offset)) {
                let in_office = !stays_home && (8.7..18.2).contains(&hour(start, offset));
                let office = random.pick(&self.office).copied().filter(|_| in_office);
                let ip = office.unwrap_or(self.home);
                asked.extend(sitting(random, start, self.requests_per_sitting).into_iter().map(|t| (t, ip)));
            }
        }
        asked.retain(|(time, _)| span.contains(*time));
        asked
    }

    /// Fills the times with ordinary requests.
    pub(super) fn into_life(self, random: &mut Random, times: Vec<(Millis, IpAddr)>) -> Life {
        let records = times.into_iter().map(|(time, ip)| self.persona.request(random, time, ip)).collect();
        Life { persona: self.persona, records }
    }
}
