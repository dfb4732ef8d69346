//! Thieves near their victims: in the same country, the same city, the same office.

use super::{ANYBODY, Attack, Tellable, Thief, Victim, at_work};
use crate::{
    domain::{HOUR, Millis},
    simulate::{
        atlas::{City, Sort},
        random::Random,
    },
};

pub(super) const RESIDENTIAL_THIEF: Attack = Attack {
    name: "residential_thief",
    about: "from a line in the victim's own country or the next, with another client and endpoint, beside its work",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let mut thief = next_door(random, victim);
        thief.client = Some(Thief::own_client(random));
        thief.endpoint = Some(Thief::own_endpoint(random, victim));
        thief.model = random.chance(0.6).then(|| Thief::own_model(random, victim));
        work_beside(random, victim, &thief)
    },
};

pub(super) const RESIDENTIAL_TWIN: Attack = Attack {
    name: "residential_twin",
    about: "from a line in the victim's own city, with the victim's client, endpoints and models",
    tellable: Tellable::No,
    victims: ANYBODY,
    strike: |random, victim| {
        let home = victim.persona.home;
        let provider = home.provider(Sort::Residential, random);
        let network = home.network_of(provider, Sort::Residential, random);
        let addresses = network.map(|network| network.hideout(random)).into_iter().collect();
        let thief = Thief { addresses, client: None, endpoint: None, model: None };
        work_beside(random, victim, &thief)
    },
};

pub(super) const OFFICE_THIEF: Attack = Attack {
    name: "office_thief",
    about: "from the victim's own address, with another client, endpoint and model",
    tellable: Tellable::Hard,
    victims: ANYBODY,
    strike: |random, victim| {
        let from = victim.at_work(random, 30 * HOUR);
        let thief = Thief {
            addresses: vec![victim.address_at(from)],
            client: Some(Thief::own_client(random)),
            endpoint: Some(Thief::own_endpoint(random, victim)),
            model: Some(Thief::own_model(random, victim)),
        };
        let (hours, per_hour) = (random.between(3.0, 24.0), random.between(4.0, 40.0));
        at_work(random, victim, &thief, from, hours, per_hour)
    },
};

/// A thief in another city of the country, or of the nearest one.
fn next_door(random: &mut Random, victim: &Victim) -> Thief {
    let home = victim.persona.home;
    let cities: Vec<&'static City> =
        City::all().iter().filter(|city| city.country == home.country && city.name != home.name).collect();
    let city = random.pick(&cities).copied().unwrap_or_else(|| home.neighbour(&[home]));
    let provider = city.provider(Sort::Residential, random);
    let network = city.network_of(provider, Sort::Residential, random);
    let addresses = network.map(|network| network.hideout(random)).into_iter().collect();
    Thief { addresses, client: None, endpoint: None, model: None }
}

fn work_beside(random: &mut Random, victim: &Victim, thief: &Thief) -> Vec<super::WireRecord> {
    let hours = random.between(4.0, 30.0);
    let from = victim.at_work(random, (hours * HOUR as f64) as Millis);
    let per_hour = random.between(6.0, 40.0);
    at_work(random, victim, thief, from, hours, per_hour)
}
