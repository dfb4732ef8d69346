//! A key that was shared in public: 20 addresses in 20 cities within three hours.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::HOUR,
    simulate::{atlas::City, calendar::Span},
};

pub(super) const ATTACK: Attack = Attack {
    name: "shared_in_public",
    about: "20 addresses in 20 cities within three hours",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = 3 * HOUR;
        let from = victim.start(random, length);
        let mut cities: Vec<&City> = City::all().iter().collect();
        random.shuffle(&mut cities);
        let mut records = Vec::new();
        for city in cities.into_iter().take(random.whole(15, 25) as usize) {
            let mut finder = Thief::draw(random, victim, city);
            finder.addresses.truncate(1);
            let found = Span { from, to: from + length }.moment(random);
            let tries = Span { from: found, to: found + HOUR / 4 };
            for _ in 0..random.whole(1, 6) {
                let time = tries.moment(random);
                records.push(finder.request(random, victim, time));
            }
        }
        records
    },
};
