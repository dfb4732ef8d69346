//! A team with one key: three to six people in different cities, each with hours and addresses of their own.

use super::{
    Archetype,
    interactive::Habits,
    mixed::{from_the_start, under_one_key},
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "team",
    about: "three to six people in different cities with one key",
    rates: [0.05, 2.0],
    live: |random, span, rate| {
        let others = random.whole(2, 5);
        let mut person = || {
            from_the_start(random, span, |random| {
                let mut habits = Habits::draw(random, rate / 2.0);
                let times = habits.sittings(random, span, |_| 1.0);
                habits.into_life(random, times)
            })
        };
        let first = person();
        under_one_key(first, (0..others).map(|_| person()).collect())
    },
};
