//! A person with coding agents: sessions in which each call sends all that was said before, some several at once. Sizes
//! grow from a few thousand tokens to the model's whole context, and begin anew.

use std::net::IpAddr;

use super::{Archetype, Life};
use crate::{
    domain::{Millis, SECOND},
    simulate::{
        atlas::Sort,
        calendar::{arrivals, office_hours},
        persona::Persona,
        random::Random,
        wire::WireRecord,
    },
};

/// The largest context that models take, in tokens, in the mean of several.
const WHOLE_CONTEXT: f64 = 180_000.0;

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "agent",
    about: "a person's coding agents, whose contexts grow from call to call, some at once",
    rates: [0.3, 2.0],
    live: |random, span, rate| {
        let persona = Persona::draw(random, Sort::Residential);
        let provider = persona.home.provider(Sort::Residential, random);
        let lines: Vec<IpAddr> = (0..random.whole(1, 3))
            .map(|_| persona.home.address_of(provider, Sort::Residential, random))
            .collect();
        let offset = persona.home.offset;
        let week = persona.week;
        let at_work = |t| if week.rests(t, offset) { 0.05 } else { office_hours(t, offset) };
        let mut records = Vec::new();
        for start in arrivals(random, span, 0.5 * rate, at_work) {
            let ip = random.pick(&lines).copied().unwrap_or(IpAddr::from([192, 0, 2, 1]));
            let at_once = if random.chance(0.3) { random.whole(2, 3) } else { 1 };
            for helper in 0..at_once {
                let whole = if helper == 0 { WHOLE_CONTEXT } else { WHOLE_CONTEXT / 4.0 };
                session(random, (&persona, whole), (start, ip), &mut records);
            }
        }
        records.retain(|record| span.contains(record.timestamp));
        Life { persona, records }
    },
};

/// The calls of one session, of contexts up to `whole` tokens: each sends what the one before sent and more.
fn session(
    random: &mut Random,
    (persona, whole): (&Persona, f64),
    (start, ip): (Millis, IpAddr),
    records: &mut Vec<WireRecord>,
) {
    let calls = random.lognormal(18.0, 0.7).clamp(3.0, 90.0) as usize;
    let mut context = random.between(2_000.0, 15_000.0);
    let mut time = start;
    for _ in 0..calls {
        let answer = random.lognormal(350.0, 0.8).clamp(20.0, 4_000.0);
        let record = persona.request(random, time, ip);
        let failed = record.response_status != 200;
        records.push(if failed { record } else { persona.with_tokens(record, context, answer) });
        context += answer + random.lognormal(1_500.0, 0.9).clamp(100.0, 12_000.0);
        if context > whole {
            // What was said is summed up.
            context *= random.between(0.1, 0.25);
        }
        // What is read again takes its time.
        time += (random.lognormal(12.0 + context / 7_000.0, 0.6) * SECOND as f64) as Millis;
    }
}
