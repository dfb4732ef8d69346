//! A service behind a provider that fails: now and then half of all answers are 5xx for an hour. Not the client's
//! doing, even where clients try again and the rate goes up.

use super::{Archetype, TOKENS_PER_DAY, service::Service};
use crate::{
    domain::{HOUR, SECOND},
    simulate::{
        calendar::Span,
        persona::{Persona, fail},
        random::Random,
        wire::WireRecord,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "flaky_provider",
    about: "a service whose provider answers half of all requests with 5xx for an hour",
    rates: Service::RATES,
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let times = service.times(random, span, 1.0, |_| 1.0);
        let mut life = service.into_life(random, times);
        let provider = Provider::draw(random, span, 0.5);
        provider.answer(random, &life.persona, &mut life.records);
        life
    },
};

/// A provider with outages.
pub(super) struct Provider {
    outages: Vec<Span>,
    /// Share of the requests that fail in an outage.
    failing: f64,
    /// How often clients try again.
    retries: u32,
}

impl Provider {
    /// Clients try again this often.
    pub(super) fn draw(random: &mut Random, span: Span, retried: f64) -> Self {
        let outage = |random: &mut Random| {
            let from = span.moment(random);
            Span { from, to: from + HOUR }
        };
        Self {
            outages: (0..random.whole(1, 3)).map(|_| outage(random)).collect(),
            failing: random.between(0.4, 0.6),
            retries: if random.chance(retried) { random.whole(1, 4) as u32 } else { 0 },
        }
    }

    /// Fails requests, and adds those that are tried again.
    pub(super) fn answer(&self, random: &mut Random, persona: &Persona, records: &mut Vec<WireRecord>) {
        let mut again = Vec::new();
        for record in records.iter_mut().filter(|record| self.is_down(record)) {
            if !random.chance(self.failing) {
                continue;
            }
            fail(record, status(random));
            let mut time = record.timestamp;
            for retry in 0..self.retries {
                // Twice the wait each time, with jitter.
                time += (f64::from(1 << retry) * random.between(0.5, 1.5) * 2.0 * SECOND as f64) as i64;
                let mut next = persona.request(random, time, record.source_ip);
                (next.user_agent, next.endpoint) = (record.user_agent.clone(), record.endpoint.clone());
                let fails = random.chance(self.failing);
                if fails {
                    fail(&mut next, status(random));
                }
                again.push(next);
                if !fails {
                    break;
                }
            }
        }
        records.extend(again);
    }

    fn is_down(&self, record: &WireRecord) -> bool {
        self.outages.iter().any(|outage| outage.contains(record.timestamp))
    }
}

fn status(random: &mut Random) -> u16 {
    *random.pick(&[500, 502, 503, 504]).unwrap_or(&503)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::atlas::Sort;

    #[test]
    fn clients_that_try_again_make_more_requests_while_the_provider_fails_and_none_else() {
        let mut random = Random::new(3);
        let persona = Persona::draw(&mut random, Sort::Cloud);
        let provider =
            Provider { outages: vec![Span { from: HOUR, to: 2 * HOUR }], failing: 0.5, retries: 3 };
        let ip = persona.home.address(Sort::Cloud, &mut random);
        let minute = |minute| persona.request(&mut Random::new(minute as u64), minute * HOUR / 60, ip);
        let mut records: Vec<_> = (0..180).map(minute).collect();
        records.iter_mut().for_each(|record| record.response_status = 200);
        provider.answer(&mut random, &persona, &mut records);
        let failed = records.iter().filter(|record| record.response_status >= 500).count();
        let during = records.iter().filter(|record| provider.is_down(record)).count();
        assert!((80..150).contains(&during), "{during} instead of 60");
        assert!((during * 2 / 5..during * 3 / 5 + 5).contains(&failed), "{failed} of {during}");
        assert!(records.len() - during <= 120 + 5, "only those that began in the outage go on after it");
    }
}
