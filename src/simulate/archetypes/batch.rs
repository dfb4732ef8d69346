//! A nightly job: silence, then 260 requests an hour at 02:00.

use super::{Archetype, Life, TOKENS_PER_DAY};
use crate::{
    domain::{HOUR, MINUTE, Millis},
    simulate::{
        atlas::Sort,
        calendar::{Span, arrivals, is_weekend},
        persona::Persona,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "batch",
    about: "silence, then about 260 requests an hour from 02:00",
    live: |random, span, rate| {
        let sort = if random.chance(0.6) { Sort::Cloud } else { Sort::Office };
        let mut persona = Persona::draw(random, sort);
        let per_hour = random.between(220.0, 300.0) * rate;
        let hours = random.between(0.8, 2.2);
        persona.fit(per_hour * hours, TOKENS_PER_DAY * 0.4);
        // Two in three keep to their own zone; the others are scheduled in UTC.
        let offset = if random.chance(0.66) { persona.home.offset } else { 0 };
        let weekends = random.chance(0.7);
        let machines: Vec<_> = (0..random.whole(1, 3)).map(|_| persona.home.address(sort, random)).collect();
        let mut records = Vec::new();
        for midnight in span.midnights(offset) {
            if !weekends && is_weekend(midnight, offset) {
                continue;
            }
            let from = midnight + 2 * HOUR + (random.exponential(2.0) * MINUTE as f64) as Millis;
            let length = hours * random.lognormal(1.0, 0.1) * HOUR as f64;
            let run = Span { from, to: from + length as Millis };
            let machine = random.pick(&machines).copied();
            for time in arrivals(random, run, per_hour, |_| 1.0) {
                let ip = machine.unwrap_or_else(|| persona.home.address(sort, random));
                records.push(persona.request(random, time, ip));
            }
        }
        records.retain(|record| span.contains(record.timestamp));
        Life { persona, records }
    },
};
