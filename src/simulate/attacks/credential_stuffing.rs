//! Credential stuffing: one address tries 300 unknown keys in eight minutes.

use super::{Attack, Tellable, Thief};
use crate::{
    domain::MINUTE,
    simulate::{calendar::Span, persona::fail},
};

pub(super) const ATTACK: Attack = Attack {
    name: "credential_stuffing",
    about: "one address tries 300 unknown keys in eight minutes",
    // It falls on nobody's key: the victim only says when and against which endpoints.
    tellable: Tellable::Yes,
    victims: &["service"],
    strike: |random, victim| {
        let length = random.whole(6, 10) * MINUTE;
        let from = victim.start(random, length);
        let span = Span { from, to: from + length };
        let mut thief = Thief::abroad(random, victim, 0.0);
        thief.addresses.truncate(1);
        let hits = random.between(0.0, 0.02);
        (0..random.whole(250, 350))
            .map(|_| {
                let time = span.moment(random);
                let mut record = thief.request(random, victim, time);
                record.api_key = Some(format!("sk-leak-{:016x}{:016x}", random.bits(), random.bits()).into());
                record.key_id = None;
                record.project_id = None;
                if !random.chance(hits) {
                    fail(&mut record, 401);
                }
                record
            })
            .collect()
    },
};
