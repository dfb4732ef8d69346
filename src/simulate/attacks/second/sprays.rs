//! Guessing that is spread: over many addresses, over a day.

use std::{net::IpAddr, sync::Arc};

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, Millis, SECOND},
    simulate::{
        atlas::{City, Sort},
        calendar::Span,
        persona::{fail, strange_client},
        random::Random,
        wire::WireRecord,
    },
};

pub(super) const SPREAD_STUFFING: Attack = Attack {
    name: "spread_stuffing",
    about: "hundreds of unknown keys, a few each from dozens of addresses, by one client",
    tellable: Tellable::Hard,
    // It falls on nobody's key: the victim only says when and against which endpoints.
    victims: &["service"],
    strike: |random, victim| {
        let length = (random.between(1.0, 6.0) * HOUR as f64) as Millis;
        let from = victim.start(random, length);
        let span = Span { from, to: from + length };
        let client = strange_client(random);
        let addresses: Vec<IpAddr> = (0..random.whole(30, 90))
            .filter_map(|_| {
                let city = random.pick(City::all())?;
                Some(city.address(Sort::Residential, random))
            })
            .collect();
        (0..random.whole(150, 350))
            .filter_map(|_| {
                let address = random.pick(&addresses).copied()?;
                let time = span.moment(random);
                let record = victim.persona.request(random, time, address);
                Some(unknown(random, record, &client))
            })
            .collect()
    },
};

pub(super) const SLOW_STUFFING: Attack = Attack {
    name: "slow_stuffing",
    about: "one address tries an unknown key about every 70 seconds, for most of a day",
    tellable: Tellable::Yes,
    victims: &["service"],
    strike: |random, victim| {
        let length = random.whole(8, 20) * HOUR;
        let mut time = victim.start(random, length);
        let (to, pause) = (time + length, random.between(60.0, 90.0));
        let mut thief = Thief::abroad(random, victim, 0.0);
        thief.addresses.truncate(1);
        let client = strange_client(random);
        let mut records = Vec::new();
        while time < to {
            let record = thief.request(random, victim, time);
            records.push(unknown(random, record, &client));
            time += (pause * random.between(0.8, 1.2) * SECOND as f64) as Millis;
        }
        records
    },
};

pub(super) const SLOW_GUESSING: Attack = Attack {
    name: "slow_guessing",
    about: "one address has wrong credentials refused in a key's name about every 31 seconds, all day",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = random.whole(6, 20) * HOUR;
        let mut time = victim.start(random, length);
        let (to, pause) = (time + length, random.between(25.0, 40.0));
        let mut thief = Thief::abroad(random, victim, 200.0);
        thief.addresses.truncate(1);
        let mut records = Vec::new();
        while time < to {
            let mut record = thief.request(random, victim, time);
            fail(&mut record, 401);
            records.push(record);
            time += (pause * random.between(0.8, 1.2) * SECOND as f64) as Millis;
        }
        records
    },
};

/// Makes a request one with a key that does not exist.
fn unknown(random: &mut Random, mut record: WireRecord, client: &Arc<str>) -> WireRecord {
    record.api_key = Some(format!("sk-leak-{:016x}{:016x}", random.bits(), random.bits()).into());
    (record.key_id, record.project_id) = (None, None);
    record.user_agent = client.clone();
    fail(&mut record, 401);
    record
}
