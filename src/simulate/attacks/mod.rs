//! What attackers do to keys. One file per attack, one line in [`ALL`] to register it.

mod brute_force;
mod burst;
mod cost_spike;
mod credential_stuffing;
mod endpoint_scan;
mod off_schedule;
mod runaway_loop;
mod shared;
mod slow;
mod stolen_far;
mod stolen_night;
mod token_exhaustion;

use std::{net::IpAddr, sync::Arc};

use super::{
    atlas::{City, Sort},
    calendar::{Span, is_weekend},
    persona::{Persona, client, strange_client},
    random::Random,
    wire::WireRecord,
};
use crate::domain::{DAY, HOUR, Millis};

/// A kind of attack.
pub struct Attack {
    /// Its name in labels and tables.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Archetypes of the keys that it falls on.
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

/// Keys of people.
const PEOPLE: &[&str] = &["interactive", "newcomer", "sdk_upgrade"];
/// Keys of people and machines alike.
const ANYBODY: &[&str] = &["interactive", "service", "newcomer", "growing", "model_move", "new_endpoint"];

/// The key that is attacked.
pub struct Victim {
    /// Its holder.
    pub persona: Persona,
    /// What the holder did over the whole run, in order of time.
    pub records: Vec<WireRecord>,
    /// When it may be attacked: from the key's third day on.
    pub window: Span,
}

impl Victim {
    /// A key as its holder used it until `end`.
    pub fn new(persona: Persona, mut records: Vec<WireRecord>, span: Span) -> Self {
        records.sort_by_key(|record| record.timestamp);
        let born = records.first().map_or(span.from, |record| record.timestamp);
        // A key that is not used for so long gets its attack in the second half of its life.
        let life = span.to - born;
        let learned = if life > 5 * DAY / 2 { 2 * DAY } else { life / 2 };
        Self { persona, records, window: span.after(born + learned) }
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
        let chosen: Vec<_> =
            nights.iter().copied().filter(|time| !weekend || is_weekend(*time, offset)).collect();
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
}

/// Somebody who has a key that is not theirs.
struct Thief {
    addresses: Vec<IpAddr>,
    /// Their own client; `None` when they use the victim's, on purpose or by chance.
    client: Option<Arc<str>>,
}

impl Thief {
    /// A thief in a city, whose requests look like the holder's this often.
    fn draw(random: &mut Random, city: &City, disguised: f64) -> Self {
        let sorts: Vec<_> = [(Sort::Residential, 4.0), (Sort::Cloud, 4.0), (Sort::Vpn, 3.0)]
            .into_iter()
            .filter(|(sort, _)| city.has(*sort))
            .collect();
        let sort = random.weighted(&sorts).copied().unwrap_or(Sort::Residential);
        let addresses = (0..random.whole(1, 3)).map(|_| city.address(sort, random)).collect();
        let own =
            |random: &mut Random| if random.chance(0.6) { strange_client(random) } else { client(random) };
        let client = (!random.chance(disguised)).then(|| own(random));
        Self { addresses, client }
    }

    /// A thief somewhere at least this far from the holder's home.
    fn abroad(random: &mut Random, victim: &Victim, least_km: f64, disguised: f64) -> Self {
        let city = victim.persona.home.far(least_km, random);
        Self::draw(random, city, disguised)
    }

    /// A request with the stolen key.
    fn request(&self, random: &mut Random, victim: &Victim, time: Millis) -> WireRecord {
        let ip = random.pick(&self.addresses).copied().unwrap_or(IpAddr::from([192, 0, 2, 1]));
        let mut record = victim.persona.request(random, time, ip);
        if let Some(client) = &self.client {
            record.user_agent = client.clone();
        }
        record
    }
}
