//! Token exhaustion: requests 14 to 20 times their usual size.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, Millis},
    simulate::calendar::{Span, arrivals},
};

pub(super) const ATTACK: Attack = Attack {
    name: "token_exhaustion",
    about: "requests 14 to 20 times their usual size",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = (random.between(0.5, 2.0) * HOUR as f64) as Millis;
        let from = victim.at_work(random, length);
        // Injected through the holder's own application more often than with a stolen key.
        let thief = random.chance(0.3).then(|| Thief::abroad(random, victim, 300.0));
        let per_hour = random.between(20.0, 60.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        let usual = victim.persona.prompt;
        let ask = |time| {
            let mut record = match &thief {
                Some(thief) => thief.request(random, victim, time),
                None => victim.own_request(random, time),
            };
            record.response_status = 200;
            let size = usual * random.between(14.0, 20.0);
            let answer = size * victim.persona.answer;
            victim.persona.with_tokens(record, size, answer)
        };
        times.into_iter().map(ask).collect()
    },
};
