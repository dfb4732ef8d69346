//! What attackers do to keys. One file per attack, one line in [`ALL`] to register it.

mod brute_force;
mod burst;
mod cost_spike;
mod credential_stuffing;
mod endpoint_scan;
mod off_schedule;
mod runaway_loop;
mod second;
mod shared;
mod slow;
mod stolen_far;
mod stolen_night;
mod token_exhaustion;

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

pub use second::ALL as SECOND;
use serde::Serialize;

use super::{
    atlas::{City, Sort},
    calendar::Span,
    persona::{
        Model, Persona, client, curious_endpoint, dear_model, other_endpoint, other_model, strange_client,
    },
    random::Random,
    wire::WireRecord,
};
use crate::domain::{DAY, HOUR, Millis};

/// Whether an analyst who sees all fields of all records could tell an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tellable {
    /// Anybody who looks at the key's records sees it.
    Yes,
    /// It takes comparing, and the owner could have done the same.
    Hard,
    /// The owner does the same in all that a record says.
    No,
}

impl Tellable {
    /// The word as tables have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Hard => "hard",
            Self::No => "no",
        }
    }

    /// The word for a kind of attack; a kind that is not in the lists can be told.
    pub fn of(kind: &str) -> Self {
        let all = ALL.iter().chain(SECOND).find(|attack| attack.name == kind);
        all.map_or(Self::Yes, |attack| attack.tellable)
    }
}

/// A kind of attack.
pub struct Attack {
    /// Its name in labels and tables.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Whether an analyst could tell it.
    pub tellable: Tellable,
    /// Archetypes of the keys that it falls on; of any archetype, mixed or not, where none is named.
    pub victims: &'static [&'static str],
    /// Draws the attack's own requests, in any order, within the victim's window as far as that is long enough.
    pub strike: fn(&mut Random, &Victim) -> Vec<WireRecord>,
}

/// Every kind of attack.
pub const ALL: &[Attack] = &[
    stolen_far::ATTACK,
    stolen_night::ATTACK,
    slow::ATTACK,
    runaway_loop::ATTACK,
    token_exhaustion::ATTACK,
    burst::ATTACK,
    brute_force::ATTACK,
    credential_stuffing::ATTACK,
    shared::ATTACK,
    cost_spike::ATTACK,
    endpoint_scan::ATTACK,
    off_schedule::ATTACK,
];

/// Keys of any sort.
const ANYBODY: &[&str] = &[];

/// How often an attacker looks like the holder in everything but the place: the same client, endpoints and model.
const DISGUISED: f64 = 1.0 / 3.0;

/// Requests that a key has made before it is attacked: of one that was used less, nobody can say what is usual.
const LEAST_PAST: usize = 30;

/// The key that is attacked.
pub struct Victim {
    /// The holder of the key that is attacked.
    pub persona: Persona,
    /// What the holder did over the whole run, in order of time.
    pub records: Vec<WireRecord>,
    /// When it may be attacked: from the key's third day on.
    pub window: Span,
    /// When the key was first used.
    born: Millis,
    /// Whether the middleware tells clients, and models.
    tells: [bool; 2],
}

impl Victim {
    /// A key as its holder used it until `end`.
    pub fn new(persona: Persona, mut records: Vec<WireRecord>, span: Span) -> Self {
        records.sort_by_key(|record| record.timestamp);
        let born = records.first().map_or(span.from, |record| record.timestamp);
        // A key that is not used for so long gets its attack in the second half of its life.
        let life = span.to - born;
        let learned = if life > 5 * DAY / 2 { 2 * DAY } else { life / 2 };
        let past = records.get(LEAST_PAST).map_or(born + life / 2, |record| record.timestamp);
        let from = (born + learned).max(past).min(span.to - life / 10);
        Self { persona, records, window: span.after(from), born, tells: [true; 2] }
    }

    /// Has it attacked within the first days in which that is possible.
    pub fn only_while_young(&mut self) {
        self.window = self.window.before(self.window.from.max(self.born + 2 * DAY) + 3 * DAY);
    }

    /// Has it attacked by somebody whose client or model is not told.
    pub fn withhold(&mut self, tells_client: bool, tells_model: bool) {
        self.tells = [tells_client, tells_model];
    }

    /// Has it attacked after so many runs of a scheduled job, as far as there are so many.
    fn only_after_runs(&self, runs: usize) -> Span {
        let starts = self.records.windows(2).filter(|pair| pair[1].timestamp - pair[0].timestamp > 6 * HOUR);
        // Each silence begins when a run ends.
        let ends = starts.map(|pair| pair[0].timestamp).nth(runs.saturating_sub(1));
        self.window.after(ends.unwrap_or(self.window.from).min(self.window.to - DAY))
    }

    /// A start from which an attack of this length is over within the window.
    fn start(&self, random: &mut Random, length: Millis) -> Millis {
        self.window.before((self.window.to - length).max(self.window.from + 1)).moment(random)
    }

    /// A moment when the holder is at work, early enough for an attack of this length.
    fn at_work(&self, random: &mut Random, length: Millis) -> Millis {
        let window = self.window.before((self.window.to - length).max(self.window.from + 1));
        let busy: Vec<_> = self
            .records
            .iter()
            .map(|record| record.timestamp)
            .filter(|time| window.contains(*time))
            .collect();
        random.pick(&busy).copied().unwrap_or_else(|| self.start(random, length))
    }

    /// Between one and four in the night at home, on a weekend if asked for and there is one.
    fn night(&self, random: &mut Random, weekend: bool) -> Millis {
        let offset = self.persona.home.offset;
        let nights: Vec<_> = self
            .window
            .midnights(offset)
            .map(|midnight| midnight + HOUR)
            .filter(|time| self.window.contains(*time) && self.window.contains(time + 3 * HOUR))
            .collect();
        let chosen: Vec<_> = nights
            .iter()
            .copied()
            .filter(|time| !weekend || self.persona.week.rests(*time, offset))
            .collect();
        let night = random.pick(if chosen.is_empty() { &nights } else { &chosen }).copied();
        night.unwrap_or(self.window.from) + (random.between(0.0, 1.5) * HOUR as f64) as Millis
    }

    /// The address that the holder used last before a moment.
    fn address_at(&self, time: Millis) -> IpAddr {
        let after = self.records.partition_point(|record| record.timestamp <= time);
        let record = self.records.get(after.saturating_sub(1));
        record.map_or(IpAddr::from([192, 0, 2, 1]), |record| record.source_ip)
    }

    /// A request like the holder's own, from where the holder is.
    fn own_request(&self, random: &mut Random, time: Millis) -> WireRecord {
        self.persona.request(random, time, self.address_at(time))
    }

    /// The holder's requests in a stretch of time.
    fn between(&self, span: Span) -> impl Iterator<Item = &WireRecord> {
        self.records.iter().filter(move |record| span.contains(record.timestamp))
    }

    /// The cities that the holder's requests come from.
    fn places(&self) -> Vec<&'static City> {
        let addresses: HashSet<IpAddr> = self.records.iter().map(|record| record.source_ip).collect();
        let mut places: Vec<&'static City> =
            addresses.into_iter().filter_map(City::of).map(|(city, _)| city).collect();
        places.push(self.persona.home);
        places.sort_by_key(|city| city.name);
        places.dedup_by_key(|city| city.name);
        places
    }

    /// The providers whose networks the holder's requests come from.
    fn providers(&self) -> BTreeSet<u32> {
        let addresses: HashSet<IpAddr> = self.records.iter().map(|record| record.source_ip).collect();
        addresses.into_iter().filter_map(City::of).map(|(_, network)| network.asn).collect()
    }

    /// Requests an hour in those hours in which the key is in use at all.
    fn usual_per_hour(&self) -> f64 {
        let hours: HashSet<Millis> =
            self.records.iter().map(|record| record.timestamp.div_euclid(HOUR)).collect();
        self.records.len() as f64 / hours.len().max(1) as f64
    }
}

/// Somebody who has a key that is not theirs. What they leave as it is, is as the holder does it: on purpose, or
/// because the key came with the code around it.
struct Thief {
    addresses: Vec<IpAddr>,
    client: Option<Arc<str>>,
    endpoint: Option<Arc<str>>,
    model: Option<Model>,
}

impl Thief {
    /// A thief in a city, who looks like the holder in everything else as often as not.
    fn draw(random: &mut Random, victim: &Victim, city: &City) -> Self {
        let sorts: Vec<_> = [(Sort::Residential, 4.0), (Sort::Cloud, 4.0), (Sort::Vpn, 3.0)]
            .into_iter()
            .filter(|(sort, _)| city.has(*sort))
            .collect();
        let sort = random.weighted(&sorts).copied().unwrap_or(Sort::Residential);
        let provider = city.provider(sort, random);
        let number = random.whole(1, 3);
        let mut address = || Some(city.network_of(provider, sort, random)?.hideout(random));
        let addresses = (0..number).filter_map(|_| address()).collect();
        let mut thief = Self { addresses, client: None, endpoint: None, model: None };
        if !random.chance(DISGUISED) {
            thief.client = Some(Self::own_client(random));
            thief.endpoint = random.chance(0.4).then(|| Self::own_endpoint(random, victim));
            thief.model = random.chance(0.4).then(|| Self::own_model(random, victim));
        }
        thief
    }

    /// A thief somewhere at least this far from everywhere that the key is used.
    fn abroad(random: &mut Random, victim: &Victim, least_km: f64) -> Self {
        let city = City::far(&victim.places(), least_km, random);
        Self::draw(random, victim, city)
    }

    fn own_client(random: &mut Random) -> Arc<str> {
        if random.chance(0.6) { strange_client(random) } else { client(random) }
    }

    fn own_endpoint(random: &mut Random, victim: &Victim) -> Arc<str> {
        if random.chance(0.4) {
            curious_endpoint(random)
        } else {
            other_endpoint(random, &victim.persona.endpoints)
        }
    }

    fn own_model(random: &mut Random, victim: &Victim) -> Model {
        if random.chance(0.5) { dear_model(random) } else { other_model(random, &victim.persona.models) }
    }

    /// A request with the stolen key.
    fn request(&self, random: &mut Random, victim: &Victim, time: Millis) -> WireRecord {
        let ip = random.pick(&self.addresses).copied().unwrap_or(IpAddr::from([192, 0, 2, 1]));
        let mut record = victim.persona.request(random, time, ip);
        if let Some(client) = &self.client {
            record.user_agent = client.clone();
        }
        if let Some(endpoint) = &self.endpoint {
            record.endpoint = endpoint.clone();
        }
        match &self.model {
            Some(model) => victim.persona.with_model(record, model),
            None => record,
        }
    }
}
