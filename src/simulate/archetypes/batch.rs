//! A job by the clock: silence, then 260 requests an hour from 02:00, every night, on working days, or once a week.

use std::net::IpAddr;

use super::{Archetype, Life, TOKENS_PER_DAY};
use crate::{
    domain::{DAY, HOUR, MINUTE, Millis},
    simulate::{
        atlas::Sort,
        calendar::{Span, arrivals, weekday},
        persona::Persona,
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "batch",
    about: "silence, then about 260 requests an hour from 02:00",
    rates: RATES,
    live: |random, span, rate| {
        let any = [(Days::All, 0.6), (Days::Working, 0.28), (Days::Weekly(random.whole(0, 6)), 0.12)];
        let days = random.weighted(&any).copied().unwrap_or(Days::All);
        Batch::draw(random, rate, days).into_life(random, span)
    },
};

/// The part of a mixed key: a weekly run would be the first sight of half of the key's habits, a week too late.
pub(super) const NIGHTLY: Archetype = Archetype {
    name: "nightly",
    about: "silence, then about 260 requests an hour from 02:00, on most nights",
    rates: RATES,
    live: |random, span, rate| {
        let days = if random.chance(0.7) { Days::All } else { Days::Working };
        Batch::draw(random, rate, days).into_life(random, span)
    },
};

/// Up to 300 requests an hour.
const RATES: [f64; 2] = [0.05, 1.2];

/// On which days it runs.
#[derive(Debug, Clone, Copy)]
enum Days {
    All,
    Working,
    /// On one day of the week.
    Weekly(i64),
}

/// The habits of a scheduled job.
struct Batch {
    persona: Persona,
    per_hour: f64,
    hours: f64,
    /// The zone of its clock.
    offset: Millis,
    days: Days,
    /// Once a month it runs this many times as long.
    monthly: Option<(i64, f64)>,
    /// How much its start drifts, in milliseconds, up to twenty minutes either way.
    drift: f64,
    machines: Vec<IpAddr>,
}

impl Batch {
    fn draw(random: &mut Random, rate: f64, days: Days) -> Self {
        let sort = if random.chance(0.6) { Sort::Cloud } else { Sort::Office };
        let mut persona = Persona::draw(random, sort);
        let per_hour = random.between(220.0, 300.0) * rate;
        let hours = random.between(0.8, 2.2);
        persona.fit(per_hour, hours, TOKENS_PER_DAY * 0.4);
        let provider = persona.home.provider(sort, random);
        Self {
            per_hour,
            hours,
            // Two in three keep to their own zone; the others are scheduled in UTC.
            offset: if random.chance(0.66) { persona.home.offset } else { 0 },
            days,
            monthly: random.chance(0.2).then(|| (random.whole(0, 20), random.between(1.5, 2.5))),
            drift: (random.between(0.2, 7.0) * MINUTE as f64),
            machines: (0..random.whole(1, 3))
                .map(|_| persona.home.address_of(provider, sort, random))
                .collect(),
            persona,
        }
    }

    fn runs_on(&self, midnight: Millis) -> bool {
        match self.days {
            Days::All => true,
            Days::Working => !self.persona.week.rests(midnight, self.offset),
            Days::Weekly(day) => weekday(midnight, self.offset) == day,
        }
    }

    fn times(&self, random: &mut Random, span: Span) -> Vec<(Millis, IpAddr)> {
        let mut times = Vec::new();
        for (day, midnight) in (0..).zip(span.midnights(self.offset)) {
            if !self.runs_on(midnight) {
                continue;
            }
            let most = 20.0 * MINUTE as f64;
            let late = (random.normal() * self.drift).clamp(-most, most) as Millis;
            let longer = self.monthly.filter(|(date, _)| day == *date).map_or(1.0, |(_, times)| times);
            let length = self.hours * longer * random.lognormal(1.0, 0.1) * HOUR as f64;
            let from = midnight + 2 * HOUR + late;
            let run = Span { from, to: (from + length as Millis).min(from + DAY / 2) };
            let machine = random.pick(&self.machines).copied().unwrap_or(IpAddr::from([192, 0, 2, 1]));
            times.extend(arrivals(random, run, self.per_hour, |_| 1.0).into_iter().map(|t| (t, machine)));
        }
        times.retain(|(time, _)| span.contains(*time));
        times
    }

    fn into_life(self, random: &mut Random, span: Span) -> Life {
        let times = self.times(random, span);
        let records = times.into_iter().map(|(time, ip)| self.persona.request(random, time, ip)).collect();
        Life { persona: self.persona, records }
    }
}
