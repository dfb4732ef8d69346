//! A person at work: business hours of their zone, an address at home and a few at the office.

use std::net::IpAddr;

use super::{Archetype, Life, TOKENS_PER_PERSON_DAY};
use crate::{
    domain::{DAY, HOUR, Millis},
    simulate::{
        atlas::{City, Sort},
        calendar::{Span, arrivals, hour, midnight, office_hours, sitting},
        persona::Persona,
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "interactive",
    about: "a person in business hours, from home and from an office",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let times = habits.sittings(random, span, |_| 1.0);
        habits.into_life(random, times)
    },
};

/// A person's habits, which other archetypes share.
pub(super) struct Habits {
    pub(super) persona: Persona,
    sittings_per_hour: f64,
    requests_per_sitting: f64,
    desk: Desk,
    /// How much later than others this person works.
    later: Millis,
    /// How often they work late in the evening.
    late: f64,
    /// How often they work on a day of rest.
    restless: f64,
    /// Days off as local midnights, by the zone at home.
    off: Vec<Millis>,
}

impl Habits {
    /// From five requests on a working day to hundreds an hour.
    pub(super) const RATES: [f64; 2] = [0.06, 6.0];

    pub(super) fn draw(random: &mut Random, rate: f64) -> Self {
        let persona = Persona::draw(random, Sort::Residential);
        Self::of(random, rate, persona)
    }

    /// The habits of somebody who lives in a city.
    pub(super) fn draw_in(random: &mut Random, rate: f64, city: &'static City) -> Self {
        let persona = Persona::draw(random, Sort::Residential);
        Self::of(random, rate, Persona { home: city, week: city.week(), ..persona })
    }

    fn of(random: &mut Random, rate: f64, mut persona: Persona) -> Self {
        let sittings_per_hour = random.lognormal(2.2, 0.5).clamp(0.8, 6.0) * rate;
        let requests_per_sitting = random.between(2.5, 8.0);
        persona.fit(sittings_per_hour * requests_per_sitting, 9.0, TOKENS_PER_PERSON_DAY);
        Self {
            sittings_per_hour,
            requests_per_sitting,
            desk: Desk::at_home(random, persona.home),
            later: (random.between(-1.5, 2.5) * HOUR as f64) as Millis,
            late: if random.chance(0.6) { random.between(0.0, 0.12) } else { 0.0 },
            restless: if random.chance(0.6) { random.between(0.0, 0.25) } else { 0.0 },
            off: Vec::new(),
            persona,
        }
    }

    /// Begins with less, so that `times` as much in the end is still a person's work.
    pub(super) fn grow(&mut self, times: f64) {
        self.sittings_per_hour *= 0.4 * times;
        self.persona.fit(self.sittings_per_hour * self.requests_per_sitting, 9.0, TOKENS_PER_PERSON_DAY);
    }

    /// Every request's time, with the address where the person sits then. `load` multiplies how much they do and is
    /// 1 at most.
    pub(super) fn sittings(
        &mut self,
        random: &mut Random,
        span: Span,
        load: impl Fn(Millis) -> f64,
    ) -> Vec<(Millis, IpAddr)> {
        self.take_days_off(random, span);
        let mut desk = self.desk.clone();
        let times = self.sittings_at(random, span, &mut desk, load);
        self.desk = desk;
        times
    }

    /// The same at another desk, in the hours of its city.
    pub(super) fn sittings_at(
        &self,
        random: &mut Random,
        span: Span,
        desk: &mut Desk,
        load: impl Fn(Millis) -> f64,
    ) -> Vec<(Millis, IpAddr)> {
        let offset = desk.city.offset - self.later;
        let mut asked = Vec::new();
        for midnight in span.midnights(offset) {
            let day = Span { from: midnight, to: midnight + DAY };
            let at_home = desk.wake(random, self.persona.week.rests(midnight + 12 * HOUR, offset));
            let (today, tonight) = self.effort(random, midnight, offset);
            let busy = |t: Millis| {
                let evening = if (19.5..24.0).contains(&hour(t, offset)) { tonight } else { 0.0 };
                (office_hours(t, offset) * today).max(evening) * load(t)
            };
            for start in arrivals(random, day, self.sittings_per_hour, busy) {
                let in_office = !at_home && (8.7..18.2).contains(&hour(start, offset));
                let ip = desk.address(random, in_office);
                asked.extend(sitting(random, start, self.requests_per_sitting).into_iter().map(|t| (t, ip)));
            }
        }
        asked.retain(|(time, _)| span.contains(*time));
        asked
    }

    /// How much the person does on a day, and how much in its late evening, 0 to 1 each.
    fn effort(&self, random: &mut Random, midnight: Millis, offset: Millis) -> (f64, f64) {
        let noon = midnight + 12 * HOUR;
        let off = self.off.iter().any(|day| (*day..*day + DAY).contains(&noon));
        let rests = self.persona.week.rests(noon, offset);
        let works_anyway = random.chance(self.restless);
        let stays_late = random.chance(self.late);
        match (off, rests) {
            (true, _) => (0.0, 0.0),
            (false, true) if works_anyway => (random.between(0.15, 0.6), 0.0),
            (false, true) => (0.0, 0.0),
            (false, false) => (1.0 / random.lognormal(1.0, 0.2).max(1.0), if stays_late { 0.5 } else { 0.0 }),
        }
    }

    /// Public holidays, and for some a few days of leave.
    fn take_days_off(&mut self, random: &mut Random, span: Span) {
        let offset = self.persona.home.offset;
        let mut off = |days: i64, random: &mut Random| {
            let first = midnight(span.moment(random), offset);
            self.off.extend((0..days).map(|day| first + day * DAY));
        };
        if random.chance(0.4) {
            off(1, random);
        }
        if random.chance(0.12) {
            off(random.whole(3, 8), random);
        }
    }

    /// Fills the times with ordinary requests.
    pub(super) fn into_life(self, random: &mut Random, times: Vec<(Millis, IpAddr)>) -> Life {
        let records = times.into_iter().map(|(time, ip)| self.persona.request(random, time, ip)).collect();
        Life { persona: self.persona, records }
    }
}

/// Where a person sits in a city: a provider's line, and an office or none.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    city: &'static City,
    provider: u32,
    lines: Vec<IpAddr>,
    offices: Vec<IpAddr>,
    /// How often a day is spent at home.
    at_home: f64,
    /// How often a day begins with other addresses of the same provider.
    renewal: f64,
    /// Whether the provider puts many customers behind one address, another one each time.
    shared: bool,
}

impl Desk {
    /// A home, and the exits of an office that many people share.
    fn at_home(random: &mut Random, city: &'static City) -> Self {
        let company = city.provider(Sort::Office, random);
        let offices =
            (0..random.whole(1, 3)).map(|_| city.address_of(company, Sort::Office, random)).collect();
        let at_home = random.between(0.0, 0.6);
        Self { offices, at_home, ..Self::away(random, city) }
    }

    /// A line and no office, as in a hotel.
    pub(super) fn away(random: &mut Random, city: &'static City) -> Self {
        let provider = city.provider(Sort::Residential, random);
        let mut desk = Self {
            city,
            provider,
            lines: Vec::new(),
            offices: Vec::new(),
            at_home: 1.0,
            // Some providers renew every night, most now and then.
            renewal: if random.chance(0.15) { random.between(0.5, 1.0) } else { random.between(0.0, 0.12) },
            shared: random.chance(0.12),
        };
        desk.renew(random);
        desk
    }

    fn renew(&mut self, random: &mut Random) {
        let lines = if self.shared { random.whole(3, 8) } else { random.whole(1, 2) };
        self.lines =
            (0..lines).map(|_| self.city.address_of(self.provider, Sort::Residential, random)).collect();
    }

    /// Begins a day; whether it is spent at home.
    fn wake(&mut self, random: &mut Random, rests: bool) -> bool {
        if random.chance(self.renewal) {
            self.renew(random);
        }
        random.chance(self.at_home) || rests
    }

    fn address(&self, random: &mut Random, in_office: bool) -> IpAddr {
        let office = random.pick(&self.offices).copied().filter(|_| in_office);
        let line = random.pick(&self.lines).copied();
        office.or(line).unwrap_or(IpAddr::from([192, 0, 2, 1]))
    }
}
