//! A service behind a provider that fails: now and then half of all answers are 5xx for an hour. Not the client's
//! doing.

use super::{Archetype, TOKENS_PER_DAY, service::Service};
use crate::{
    domain::HOUR,
    simulate::{calendar::Span, persona::fail},
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "flaky_provider",
    about: "a service whose provider answers half of all requests with 5xx for an hour",
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let times = service.times(random, span, 1.0, |_| 1.0);
        let mut life = service.into_life(random, times);
        let outages: Vec<Span> = (0..random.whole(1, 3))
            .map(|_| {
                let from = span.moment(random);
                Span { from, to: from + HOUR }
            })
            .collect();
        for record in &mut life.records {
            if outages.iter().any(|outage| outage.contains(record.timestamp)) && random.chance(0.5) {
                let status = *random.pick(&[500, 502, 503, 504]).unwrap_or(&503);
                fail(record, status);
            }
        }
        life
    },
};
