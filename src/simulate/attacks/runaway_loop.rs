//! A runaway loop in the client's own code: sixty small requests a minute.

use super::{ANYBODY, Attack, Tellable};
use crate::{
    domain::{HOUR, MINUTE},
    simulate::calendar::{Span, arrivals},
};

pub(super) const ATTACK: Attack = Attack {
    name: "runaway_loop",
    about: "sixty small requests a minute from the holder's own machine",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = random.whole(15, 60) * MINUTE;
        let from = victim.at_work(random, length);
        let per_minute = random.between(50.0, 75.0);
        let template = victim.own_request(random, from);
        let tokens = random.between(0.1, 0.5) * victim.persona.prompt;
        let times =
            arrivals(random, Span { from, to: from + length }, per_minute * (HOUR / MINUTE) as f64, |_| 1.0);
        let ask = |time| {
            let mut record = victim.persona.request(random, time, template.source_ip);
            record.user_agent = template.user_agent.clone();
            record.endpoint = template.endpoint.clone();
            let prompt = random.lognormal(tokens, 0.1);
            let answer = if record.response_status == 200 { prompt * 0.2 } else { 0.0 };
            victim.persona.with_tokens(record, prompt, answer)
        };
        times.into_iter().map(ask).collect()
    },
};
