//! Two ways to have Keyward refuse somebody else: made-up keys from behind an office's address, and wrong credentials
//! in a key's name. The rightful requests carry no label; how many of them are refused is what counts.
//!
//! An analyst could tell both: the strangers' requests are answered 401, and the others succeed.

use std::net::IpAddr;

use super::{
    Labelled, WireRecord,
    archetypes::{self, Life},
    atlas::{City, Sort},
    calendar::Span,
    persona::{Persona, fail, strange_client},
    random::Random,
};
use crate::domain::{DAY, HOUR, MINUTE, Millis};

/// The label of what the stranger sends.
pub const STRANGER: &str = "stranger";

/// Days of rightful work before the stranger comes, and with it.
const PAST: Millis = 10 * DAY;
const PRESENT: Millis = 4 * DAY;

/// A denial in the making.
struct Scene {
    all: Vec<Labelled>,
    keys: u32,
}

/// Eight people and a service work from one office address for two weeks. Somebody there tries made-up keys, some dozen
/// in some minutes, on each of the last four days.
pub fn office(seed: u64, start: Millis) -> Vec<Labelled> {
    let mut random = Random::new(seed).part("office", 0);
    let mut scene = Scene { all: Vec::new(), keys: 0 };
    let city = random.pick(&City::with(Sort::Residential)).copied().unwrap_or(&City::all()[0]);
    let office = city.address(Sort::Residential, &mut random);
    let span = Span { from: start, to: start + PAST + PRESENT };
    for archetype in ["interactive"; 8].into_iter().chain(["service"]) {
        let life = live(&mut random, archetype, span);
        let at_the_office = life.records.into_iter().map(|record| WireRecord { source_ip: office, ..record });
        scene.add(at_the_office.collect(), archetype, None);
    }
    let neighbour = Persona::draw(&mut random, Sort::Residential);
    for day in 0..PRESENT / DAY {
        let from = start + PAST + day * DAY + random.whole(8, 15) * HOUR;
        let tries = Span { from, to: from + random.whole(2, 12) * MINUTE };
        let client = strange_client(&mut random);
        for _ in 0..random.whole(10, 60) {
            let time = tries.moment(&mut random);
            let mut record = neighbour.request(&mut random, time, office);
            record.api_key = Some(format!("made-up-{:016x}", random.bits()).into());
            (record.key_id, record.project_id) = (None, None);
            record.user_agent = client.clone();
            fail(&mut record, 401);
            scene.add(vec![record], "neighbour", Some(STRANGER));
        }
    }
    scene.finish()
}

/// A key works for two weeks. From the tenth day on a stranger sends wrong credentials in its name: now and then from
/// other continents, or fast from one address.
pub fn in_a_name(seed: u64, start: Millis) -> Vec<Labelled> {
    let mut random = Random::new(seed).part("in a name", 0);
    let mut scene = Scene { all: Vec::new(), keys: 0 };
    let span = Span { from: start, to: start + PAST + PRESENT };
    let names: Vec<_> = archetypes::ALL.iter().map(|archetype| archetype.name).collect();
    for archetype in random_three(&mut random, &names) {
        let life = live(&mut random, archetype, span);
        let victim = life.persona.clone();
        scene.add(life.records, archetype, None);
        let addresses: Vec<IpAddr> = (0..random.whole(1, 4))
            .map(|_| City::far(&[victim.home], 2_000.0, &mut random).address(Sort::Residential, &mut random))
            .collect();
        let client = strange_client(&mut random);
        let fast = random.chance(0.5);
        for _ in 0..random.whole(12, 120) {
            let length = if fast { HOUR } else { PRESENT };
            let time = start + PAST + (random.unit() * length as f64) as Millis;
            let from = random.pick(&addresses).copied().unwrap_or(IpAddr::from([192, 0, 2, 1]));
            let mut record = victim.request(&mut random, time, from);
            record.user_agent = client.clone();
            let status = if random.chance(0.9) { 401 } else { 403 };
            fail(&mut record, status);
            (record.tokens_used, record.prompt_tokens, record.completion_tokens) = (0, 0, 0);
            record.cost_usd = None;
            scene.all.push(scene.labelled(record, archetype, Some(STRANGER)));
        }
    }
    scene.finish()
}

fn random_three<'a>(random: &mut Random, names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    random.shuffle(&mut names);
    names.truncate(3);
    names
}

/// A life of an archetype with something to lose: the busiest of some.
fn live(random: &mut Random, archetype: &str, span: Span) -> Life {
    let archetype = archetypes::named(archetype).unwrap_or(&archetypes::ALL[0]);
    let mut lives: Vec<Life> = (0..3).map(|_| (archetype.live)(random, span, 0.3)).collect();
    lives.sort_by_key(|life| life.records.len());
    lives.pop().unwrap_or_else(|| (archetype.live)(random, span, 1.0))
}

impl Scene {
    fn labelled(&self, record: WireRecord, archetype: &'static str, label: Option<&'static str>) -> Labelled {
        Labelled {
            time: record.timestamp,
            record,
            label,
            attack_id: label.map(|_| self.keys),
            archetype,
            key: self.keys,
            attacked: false,
        }
    }

    fn add(&mut self, records: Vec<WireRecord>, archetype: &'static str, label: Option<&'static str>) {
        self.keys += 1;
        let labelled: Vec<Labelled> =
            records.into_iter().map(|record| self.labelled(record, archetype, label)).collect();
        self.all.extend(labelled);
    }

    fn finish(mut self) -> Vec<Labelled> {
        self.all.sort_by_key(|labelled| labelled.time);
        for (labelled, id) in self.all.iter_mut().zip(1..) {
            labelled.record.request_id = id;
        }
        self.all
    }
}
