//! A stolen key, used slowly and quietly: nine requests an hour from another network, with one to three of another
//! client, other endpoints and another model.

use super::{ANYBODY, Attack, Tellable, Thief, Victim};
use crate::{
    domain::{HOUR, Millis},
    simulate::{
        atlas::{City, Sort},
        calendar::{Span, arrivals},
        random::Random,
    },
};

pub(super) const ATTACK: Attack = Attack {
    name: "stolen_key_slow",
    about: "nine requests an hour with another client, other endpoints or another model",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = (random.between(6.0, 30.0) * HOUR as f64) as Millis;
        let from = victim.start(random, length);
        let city = City::far(&victim.places(), 500.0, random);
        let mut thief = Thief::draw(random, victim, city);
        if random.chance(0.35) {
            move_next_door(random, victim, &mut thief);
        }
        bring_habits(random, victim, &mut thief);
        let per_hour = random.between(6.0, 12.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        times.into_iter().map(|time| thief.request(random, victim, time)).collect()
    },
};

/// Gives the thief new habits, of those that are told: one to three abroad, where the country is new as well, and two
/// or three next door.
fn bring_habits(random: &mut Random, victim: &Victim, thief: &mut Thief) {
    let [tells_client, tells_model] = victim.tells;
    let mut habits = vec![Habit::Endpoint];
    habits.extend(tells_client.then_some(Habit::Client));
    habits.extend(tells_model.then_some(Habit::Model));
    random.shuffle(&mut habits);
    let home = victim.persona.home.country;
    let next_door =
        thief.addresses.iter().any(|ip| City::of(*ip).is_some_and(|(city, _)| city.country == home));
    let least = if next_door { 2 } else { 1 };
    habits.truncate(random.whole(least, 3) as usize);
    let new = |habit| habits.contains(&habit);
    thief.client = new(Habit::Client).then(|| Thief::own_client(random));
    thief.endpoint = new(Habit::Endpoint).then(|| Thief::own_endpoint(random, victim));
    thief.model = new(Habit::Model).then(|| Thief::own_model(random, victim));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Client,
    Endpoint,
    Model,
}

/// Puts the thief into the holder's own country, with a provider that the holder never used, where there is one.
fn move_next_door(random: &mut Random, victim: &Victim, thief: &mut Thief) {
    let known = victim.providers();
    let country = victim.persona.home.country;
    let other: Vec<_> = City::all()
        .iter()
        .filter(|city| city.country == country)
        .flat_map(|city| &city.networks)
        .filter(|network| !matches!(network.sort, Sort::Office) && !known.contains(&network.asn))
        .collect();
    if let Some(network) = random.pick(&other) {
        thief.addresses = (0..random.whole(1, 3)).map(|_| network.hideout(random)).collect();
    }
}
