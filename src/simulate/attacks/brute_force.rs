//! Brute force on one key: 93 % 401, then successes.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, MINUTE},
    simulate::{
        calendar::{Span, arrivals},
        persona::fail,
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "brute_force",
    about: "93 % of the attempts on one key are refused, then some succeed",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = random.whole(3, 12) * MINUTE;
        let from = victim.start(random, length + HOUR);
        let thief = Thief::abroad(random, victim, 200.0);
        let per_hour = random.between(20.0, 120.0) * (HOUR / MINUTE) as f64;
        let refused = random.between(0.90, 0.96);
        let mut records: Vec<_> = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0)
            .into_iter()
            .map(|time| {
                let mut record = thief.request(random, victim, time);
                if random.chance(refused) {
                    fail(&mut record, if random.chance(0.9) { 401 } else { 403 });
                }
                record
            })
            .collect();
        let inside = Span { from: from + length, to: from + length + HOUR };
        let successes = random.between(10.0, 40.0);
        let times = arrivals(random, inside, successes, |_| 1.0);
        records.extend(times.into_iter().map(|time| thief.request(random, victim, time)));
        records
    },
};
