//! A scan for endpoints: 403, 404 and 405 over random paths.

use super::{ANYBODY, Attack, Thief};
use crate::{
    domain::MINUTE,
    simulate::{calendar::Span, persona::fail},
};

const WORDS: &[&str] = &[
    "admin", "users", "keys", "internal", "debug", "config", "export", "billing", "orgs", "tokens",
    "graphql", "metrics", "backup", "jobs", "roles", "audit",
];

pub(super) const ATTACK: Attack = Attack {
    name: "endpoint_scan",
    about: "403, 404 and 405 over random paths",
    victims: ANYBODY,
    strike: |random, victim| {
        let length = random.whole(3, 20) * MINUTE;
        let from = victim.start(random, length);
        let span = Span { from, to: from + length };
        // A stolen key, or a compromised machine of the holder's own.
        let thief = random.chance(0.6).then(|| Thief::abroad(random, victim, 200.0, 0.3));
        (0..random.whole(50, 180))
            .map(|_| {
                let time = span.moment(random);
                let mut record = match &thief {
                    Some(thief) => thief.request(random, victim, time),
                    None => victim.own_request(random, time),
                };
                let word = |i: usize| WORDS[i % WORDS.len()];
                let version = random.whole(1, 3);
                let (first, second) = (random.below(WORDS.len()), random.below(WORDS.len()));
                record.endpoint = format!("/v{version}/{}/{}", word(first), word(second)).into();
                record.model = None;
                let answers = [(404, 6.0), (403, 2.5), (405, 1.0), (200, 0.3)];
                match random.weighted(&answers).copied().unwrap_or(404) {
                    200 => record,
                    status => {
                        fail(&mut record, status);
                        record
                    }
                }
            })
            .collect()
    },
};
