//! A bundle of stolen keys: one address uses the keys of several projects, a little of each and with each key's own
//! client. Nothing about one key shows it; together they do.

use super::{
    Traffic,
    archetypes::{self, Archetype},
    atlas::City,
    attacks::Tellable,
    persona::Persona,
    random::Random,
    wire::WireRecord,
};
use crate::domain::{HOUR, Millis, SECOND};

/// The name of the attack in labels and tables.
pub const NAME: &str = "key_bundle";
/// Many keys that never met, from one address: whoever looks at the address sees it.
pub const TELLABLE: Tellable = Tellable::Yes;

/// Keys of which bundles are made.
const VICTIMS: [&str; 3] = ["interactive", "service", "sdk_upgrade"];

/// Adds some keys with their holders, and one thief who uses all of them within some hours.
pub(super) fn add(traffic: &mut Traffic, random: &mut Random) {
    let span = traffic.span;
    let start = span.from + (span.length() as f64 * random.between(0.4, 0.9)) as Millis;
    let city = random.pick(City::all()).unwrap_or(&City::all()[0]);
    let network = random.pick(&city.networks);
    let address = network.map_or([192, 0, 2, 1].into(), |network| network.hideout(random));
    for index in 0..random.whole(5, 9) {
        let archetype = random.pick(&VICTIMS).and_then(|name| archetypes::named(name));
        let Some(archetype) = archetype else { continue };
        let victim = add_holder(traffic, random, archetype);
        let mut time = start + random.whole(0, HOUR) + index * 60 * SECOND;
        let requests = random.whole(3, 12);
        let strike: Vec<WireRecord> = (0..requests)
            .map(|_| {
                time += (random.exponential(600.0) * SECOND as f64) as Millis;
                victim.request(random, time, address)
            })
            .collect();
        traffic.add(strike.into_iter(), archetype.name, true, Some(NAME));
        traffic.keys += 1;
    }
    traffic.attacks += 1;
}

fn add_holder(traffic: &mut Traffic, random: &mut Random, archetype: &Archetype) -> Persona {
    let (life, circumstances) = traffic.live(random, archetype, 100);
    let mut persona = life.persona;
    // Of a project of its own: no two keys of a bundle belong together.
    persona.project = Some(format!("project-bundle-{:06x}", random.bits() & 0xff_ffff).into());
    let project = persona.project.clone();
    let records = life
        .records
        .into_iter()
        .map(|record| circumstances.tell(WireRecord { project_id: project.clone(), ..record }));
    traffic.add(records, archetype.name, true, None);
    persona
}
