//! Money burnt with what the key usually does: an agent that asks the same again and again, and somebody who makes an
//! app's key answer at length.

use super::{Attack, Tellable};
use crate::{
    domain::{HOUR, MINUTE, Millis, SECOND},
    simulate::atlas::{City, Sort},
};

pub(super) const AGENT_LOOP: Attack = Attack {
    name: "agent_loop",
    about: "the same request, of the same size, again and again for hours from the owner's own machine",
    tellable: Tellable::Yes,
    victims: &["agent", "interactive", "service"],
    strike: |random, victim| {
        let length = (random.between(1.0, 6.0) * HOUR as f64) as Millis;
        let from = victim.at_work(random, length);
        let first = victim.own_request(random, from);
        let prompt = victim.persona.median_tokens().max(1.0) * random.between(1.0, 4.0);
        let pause = random.between(6.0, 40.0);
        let mut time = from;
        let mut records = Vec::new();
        while time < from + length {
            let mut again = first.clone();
            (again.timestamp, again.response_status) = (time, 200);
            let answer = random.between(0.08, 0.12) * prompt;
            records.push(victim.persona.with_tokens(again, prompt, answer));
            time += (pause * random.between(0.6, 1.4) * SECOND as f64) as Millis;
        }
        records
    },
};

pub(super) const DENIAL_OF_WALLET: Attack = Attack {
    name: "denial_of_wallet",
    about: "one user of an app makes it send prompts as long as may be, fast, for an hour or more",
    tellable: Tellable::Yes,
    victims: &["embedded_app"],
    strike: |random, victim| {
        let length = (random.between(1.0, 4.0) * HOUR as f64) as Millis;
        let from = victim.start(random, length);
        let cities: Vec<&'static City> = City::with(Sort::Residential);
        let city = random.pick(&cities).copied().unwrap_or(victim.persona.home);
        let address = city.address(Sort::Residential, random);
        let size = victim.persona.median_tokens() * random.between(10.0, 30.0);
        let pause = random.between(8.0, 30.0);
        let mut time = from + random.whole(0, MINUTE);
        let mut records = Vec::new();
        while time < from + length {
            let mut record = victim.persona.request(random, time, address);
            record.response_status = 200;
            let prompt = size * random.between(0.7, 1.3);
            records.push(victim.persona.with_tokens(record, prompt, size * random.between(0.1, 0.5)));
            time += (pause * random.between(0.5, 1.5) * SECOND as f64) as Millis;
        }
        records
    },
};
