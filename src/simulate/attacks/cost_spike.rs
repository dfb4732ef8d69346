//! A cost spike: a dearer model and three times the size, all day.

use super::{ANYBODY, Attack, Tellable};
use crate::{
    domain::{DAY, HOUR, MINUTE},
    simulate::{
        calendar::{Span, arrivals},
        persona::dear_model,
    },
};

/// Requests of the day, of keys that are used less as well: with fewer there is nothing to spike.
const LEAST: usize = 100;

pub(super) const ATTACK: Attack = Attack {
    name: "cost_spike",
    about: "a dearer model and three times the size, all day",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let from = victim.at_work(random, 12 * HOUR);
        let model = dear_model(random);
        let size = random.between(2.5, 4.0);
        let share = random.between(0.6, 1.0);
        let span = Span { from, to: from + DAY };
        let mut day: Vec<_> = victim.between(span).cloned().collect();
        if day.len() < LEAST {
            let busy = Span { from, to: from + 12 * HOUR };
            let more = arrivals(random, busy, LEAST as f64 / 12.0, |_| 1.0);
            day.extend(more.into_iter().map(|time| victim.own_request(random, time)));
        }
        let mut records = Vec::new();
        for own in day {
            if own.response_status != 200 || !random.chance(share) {
                continue;
            }
            let time = own.timestamp + random.whole(1, MINUTE);
            // Beside the holder's own request: the same application, told to do something dearer.
            let mut record = victim.persona.request(random, time, own.source_ip);
            record.user_agent = own.user_agent;
            record.endpoint = own.endpoint;
            record.response_status = 200;
            let tokens = random.lognormal(victim.persona.prompt * size, victim.persona.spread * 0.5);
            record = victim.persona.with_tokens(record, tokens, tokens * victim.persona.answer);
            records.push(victim.persona.with_model(record, &model));
        }
        records
    },
};
