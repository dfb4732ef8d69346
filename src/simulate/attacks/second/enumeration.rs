//! Somebody counts up: the ids below a path that the key knows, or the models that there are.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, MINUTE, Millis},
    simulate::{
        archetypes::file_path,
        calendar::{Span, arrivals},
        persona::{any_model, fail},
        random::Random,
        wire::WireRecord,
    },
};

pub(super) const IDS: Attack = Attack {
    name: "id_enumeration",
    about: "files asked for by one number after the other, of which most are not there or not the key's",
    tellable: Tellable::Yes,
    victims: &["file_service"],
    strike: |random, victim| {
        let length = (random.between(0.5, 3.0) * HOUR as f64) as Millis;
        let from = victim.at_work(random, length);
        let per_hour = random.between(120.0, 1_200.0);
        let (first, refused) = (random.bits() % 40_000_000, random.between(0.6, 0.98));
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        let ask = |(time, number): (Millis, u64)| {
            let mut record = victim.own_request(random, time);
            record.endpoint = file_path(first + number).into();
            record.model = None;
            if random.chance(refused) {
                fail(&mut record, if random.chance(0.6) { 404 } else { 403 });
            }
            without_usage(record)
        };
        times.into_iter().zip(0..).map(ask).collect()
    },
};

pub(super) const MODELS: Attack = Attack {
    name: "model_enumeration",
    about: "tiny requests to one model after the other, from elsewhere and with another client",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let mut thief = Thief::abroad(random, victim, 200.0);
        thief.client = Some(Thief::own_client(random));
        thief.endpoint = None;
        let mut time = victim.start(random, HOUR);
        let mut records = Vec::new();
        for _ in 0..random.whole(10, 40) {
            thief.model = Some(any_model(random));
            let record = thief.request(random, victim, time);
            records.push(tiny(random, victim, record));
            time += (random.exponential(0.3) * MINUTE as f64) as Millis;
        }
        records
    },
};

fn tiny(random: &mut Random, victim: &super::Victim, record: WireRecord) -> WireRecord {
    if random.chance(0.4) {
        let mut refused = record;
        fail(&mut refused, if random.chance(0.5) { 404 } else { 403 });
        return refused;
    }
    let (prompt, answer) = (random.between(5.0, 20.0), random.between(1.0, 10.0));
    victim.persona.with_tokens(record, prompt, answer)
}

fn without_usage(mut record: WireRecord) -> WireRecord {
    (record.tokens_used, record.prompt_tokens, record.completion_tokens) = (0, 0, 0);
    record.cost_usd = record.cost_usd.map(|_| 0.0);
    record
}
