//! Parts of a key's traffic: one client from one network. Each is remembered with when it was at work and what it is
//! accused of, so that evidence about it adds up over days, and so that it can be stopped while the rest passes.
//!
//! All of a row merges by minimum or maximum: in any order and in any grouping, and as often as one likes.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Network;
use crate::domain::{DAY, HOUR, Millis, place::PlaceCore, stable_hash};

/// Parts that are remembered because they were at work last.
const RECENT: usize = 20;
/// Parts that are remembered because they were stopped last, beside those: so that many of them leave room for the
/// owner's, and the owner's for them.
const STOPPED: usize = 20;
/// How long an accusation counts, and a part is stopped, unless an operator clears it: a thief who waits for so long is
/// judged anew.
const HOLD: Millis = 14 * DAY;
/// Standard deviations that a size counts for at most, where its lag is learned.
pub const MOST_DEVIATIONS: f64 = 3.0;
/// How long a part is watched before it counts as the owner's.
const QUARANTINE: Millis = DAY;

/// A part of a key's traffic, as a number: client family, and network in its country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Part(u32);

impl Part {
    /// The part that a request belongs to. Where nothing but its address is known, the prefix stands for the network.
    pub fn of(client: &str, place: &PlaceCore) -> Self {
        let network = match Network::of(place) {
            Some(Network(asn, country)) => (u64::from(asn) << 16) | u64::from(u16::from_be_bytes(country)),
            None => place.prefix.0 ^ (1 << 63),
        };
        let mut hash = stable_hash(client.as_bytes());
        hash ^= stable_hash(&network.to_be_bytes()).rotate_left(17);
        Self((hash ^ (hash >> 32)) as u32)
    }

    /// The number as it is, to name a counter by.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A part by its name, as people read it: `client openai-python from AS64512 in DE`.
#[derive(Debug, Clone, Copy)]
pub struct PartName<'a> {
    /// The client family of its requests.
    pub client: &'a str,
    /// Where it comes from.
    pub place: &'a PlaceCore,
}

impl PartName<'_> {
    /// The client family in the name of a part; `None` of a text that names none. No place has ` from ` in its name.
    pub fn client_of(name: &str) -> Option<&str> {
        Some(name.strip_prefix("client ")?.rsplit_once(" from ")?.0)
    }
}

impl fmt::Display for PartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} from ", self.client)?;
        match (self.place.asn, self.place.country_code()) {
            (0, Some(country)) => write!(f, "a network in {country}"),
            (0, None) => f.write_str("a network without a name"),
            (asn, Some(country)) => write!(f, "AS{asn} in {country}"),
            (asn, None) => write!(f, "AS{asn}"),
        }
    }
}

/// What is remembered of one part. Moments are 0 for never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartSeen {
    /// When it was at work first.
    pub first_seen: Millis,
    /// When it was at work last.
    pub last_seen: Millis,
    /// What was new about its requests: a bit for each value, by its hash.
    pub new_values: u64,
    /// When it was last accused, of whatever.
    pub accused_at: Millis,
    /// When it was last accused of something that stops it.
    pub stopped_at: Millis,
    /// What it was accused of until then counts no more: somebody has cleared it.
    pub cleared_at: Millis,
    /// Its [`PartName`] as text, once it was stopped: some 90 bytes at most, of which a client family takes 48.
    pub name: Option<Box<str>>,
}

impl PartSeen {
    fn new(at: Millis) -> Self {
        Self {
            first_seen: at,
            last_seen: at,
            new_values: 0,
            accused_at: 0,
            stopped_at: 0,
            cleared_at: 0,
            name: None,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.new_values |= other.new_values;
        self.accused_at = self.accused_at.max(other.accused_at);
        self.stopped_at = self.stopped_at.max(other.stopped_at);
        self.cleared_at = self.cleared_at.max(other.cleared_at);
        if self.name < other.name {
            self.name.clone_from(&other.name);
        }
    }
}

/// What one request says about its part.
#[derive(Debug, Clone, PartialEq)]
pub struct PartSighting {
    /// The part that the request belongs to.
    pub part: Part,
    /// What was new about the request: a bit for each value, by its hash.
    pub new_values: u64,
    /// Whether it is accused by this request.
    pub accused: bool,
    /// The part's name, where what it is accused of stops it.
    pub stopped_as: Option<Box<str>>,
    /// Whether it was as large as the one before for the same use.
    pub repeats: bool,
    /// How it goes with the one before for the same use: the product of both deviations from the usual size, and the
    /// square of the one before, each deviation at most [`MOST_DEVIATIONS`].
    pub lag: Option<(f64, f64)>,
    /// Whether it was stopped before: then the request teaches nothing.
    pub is_stopped: bool,
}

#[cfg(test)]
impl PartSighting {
    /// A request that has its part stopped: of a client, from a place.
    pub(crate) fn that_stops(client: &str, place: &PlaceCore) -> Self {
        Self {
            part: Part::of(client, place),
            new_values: 0,
            accused: true,
            stopped_as: Some(PartName { client, place }.to_string().into()),
            repeats: false,
            lag: None,
            is_stopped: false,
        }
    }
}

/// A part that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoppedPart<'a> {
    /// The number that stands for its client and place.
    pub part: Part,
    /// Its name, as findings and refusals have it.
    pub name: &'a str,
    /// Until when nothing of it passes, unless it is accused again.
    pub until: Millis,
}

/// The parts of a key's traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Parts {
    rows: BTreeMap<Part, PartSeen>,
    /// What parts were accused of until then counts no more: an operator has cleared all of them.
    cleared_at: Millis,
}

impl Parts {
    /// Notes a request of a part, made at `at`.
    pub fn see(&mut self, sighting: &PartSighting, at: Millis) {
        let seen = PartSeen {
            new_values: sighting.new_values,
            accused_at: if sighting.accused { at } else { 0 },
            stopped_at: if sighting.stopped_as.is_some() { at } else { 0 },
            name: sighting.stopped_as.clone(),
            ..PartSeen::new(at)
        };
        self.add(sighting.part, &seen);
        self.trim();
    }

    /// Takes back all that parts were accused of until now.
    pub fn clear(&mut self, at: Millis) {
        self.cleared_at = self.cleared_at.max(at);
    }

    /// Takes back what one part, which was at work at `seen_at`, was accused of until `at`.
    pub fn clear_part(&mut self, part: Part, seen_at: Millis, at: Millis) {
        self.add(part, &PartSeen { cleared_at: at, ..PartSeen::new(seen_at) });
        self.trim();
    }

    /// Adds what another instance has seen.
    pub fn merge(&mut self, other: &Self) {
        self.cleared_at = self.cleared_at.max(other.cleared_at);
        other.rows.iter().for_each(|(part, row)| self.add(*part, row));
        self.trim();
    }

    fn add(&mut self, part: Part, seen: &PartSeen) {
        self.rows.entry(part).and_modify(|row| row.merge(seen)).or_insert_with(|| seen.clone());
    }

    /// Both ranks only grow, by maximum: so which rows stay is the same in any order of merging.
    fn trim(&mut self) {
        if self.rows.len() <= RECENT {
            return;
        }
        let at_work = |(part, row): (&Part, &PartSeen)| (row.last_seen, *part);
        let stopped = |(part, row): (&Part, &PartSeen)| (row.stopped_at, *part);
        let recent = least_of_the_largest(RECENT, self.rows.iter().map(at_work));
        let last_stopped = least_of_the_largest(
            STOPPED,
            self.rows.iter().filter(|(_, row)| row.stopped_at > 0).map(stopped),
        );
        self.rows.retain(|part, row| {
            at_work((part, row)) >= recent || row.stopped_at > 0 && stopped((part, row)) >= last_stopped
        });
    }

    /// The row of a part.
    pub fn get(&self, part: Part) -> Option<&PartSeen> {
        self.rows.get(&part)
    }

    /// How many parts are remembered.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cleared_at == 0
    }

    /// Whether any part is the owner's.
    pub fn has_settled(&self, born: Millis, now: Millis) -> bool {
        self.rows.keys().any(|part| self.is_settled(*part, born, now))
    }

    /// Whether any part is stopped.
    pub fn stops_any(&self, now: Millis) -> bool {
        self.rows.values().any(|row| self.counts(row, row.stopped_at, now))
    }

    /// Whether nothing of a part passes.
    pub fn is_stopped(&self, part: Part, now: Millis) -> bool {
        self.rows.get(&part).is_some_and(|row| self.counts(row, row.stopped_at, now))
    }

    /// The parts that are stopped, by their numbers.
    pub fn stopped(&self, now: Millis) -> impl Iterator<Item = StoppedPart<'_>> {
        let rows = self.rows.iter().filter(move |(_, row)| self.counts(row, row.stopped_at, now));
        rows.map(|(part, row)| StoppedPart {
            part: *part,
            name: row.name.as_deref().unwrap_or_default(),
            until: row.stopped_at + HOLD,
        })
    }

    /// Whether an accusation of this moment still counts.
    fn counts(&self, row: &PartSeen, accused_at: Millis, now: Millis) -> bool {
        accused_at > self.cleared_at.max(row.cleared_at) && now - accused_at < HOLD
    }

    /// Whether a part is the owner's: the key began with it (`born`), or it has been at work for a day or more and is
    /// accused of nothing.
    pub fn is_settled(&self, part: Part, born: Millis, now: Millis) -> bool {
        let of_the_owner = |row: &PartSeen| {
            row.first_seen - born < HOUR || row.last_seen.min(now) - row.first_seen >= QUARANTINE
        };
        let row = self.rows.get(&part);
        row.is_some_and(|row| of_the_owner(row) && !self.counts(row, row.accused_at, now))
    }
}

/// The least of the `count` largest ranks; the least of all where there are fewer.
fn least_of_the_largest(count: usize, ranks: impl Iterator<Item = (Millis, Part)>) -> (Millis, Part) {
    let mut ranks: Vec<_> = ranks.collect();
    if ranks.len() <= count {
        return (Millis::MIN, Part(0));
    }
    let (_, least, _) = ranks.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    *least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_760_000_000_000;

    /// What a request of a part is accused of.
    #[derive(Clone, Copy, PartialEq)]
    enum Accused {
        OfNothing,
        Noted,
        Stopped,
    }
    use Accused::{Noted, OfNothing, Stopped};

    fn sighting(part: u32, accused: Accused) -> PartSighting {
        PartSighting {
            part: Part(part),
            new_values: u64::from(part),
            accused: accused != OfNothing,
            stopped_as: (accused == Stopped).then(|| format!("client {part}").into()),
            repeats: false,
            lag: None,
            is_stopped: false,
        }
    }

    type Script = Vec<(u32, i64, u8)>;

    fn seen(script: &[(u32, i64, u8)]) -> Parts {
        let mut parts = Parts::default();
        for (part, minutes, kind) in script {
            let at = NOW + minutes * 60_000;
            let accused = match kind {
                0 => Noted,
                1 | 2 => Stopped,
                _ => OfNothing,
            };
            parts.see(&sighting(*part, accused), at);
            match kind {
                8 => parts.clear_part(Part(*part), at, at),
                9 => parts.clear(at),
                _ => {}
            }
        }
        parts
    }

    fn sightings(parts: u32, length: usize) -> impl Strategy<Value = Script> {
        proptest::collection::vec((0..parts, 0..20_000_i64, 0..12_u8), 0..length)
    }

    /// What three instances saw, merged in two orders and groupings, and seen by one.
    fn merged(a: Script, b: Script, c: Script) -> [Parts; 3] {
        let (mut left, mut right) = (seen(&a), seen(&c));
        left.merge(&seen(&b));
        left.merge(&seen(&c));
        right.merge(&seen(&b));
        right.merge(&seen(&a));
        let together: Vec<_> = a.into_iter().chain(b).chain(c).collect();
        [left, right, seen(&together)]
    }

    /// Which parts are remembered, and when those were stopped that were last.
    fn kept(parts: &Parts) -> (Vec<Part>, Vec<(Millis, Part)>) {
        let mut stopped: Vec<_> = parts.rows.iter().map(|(part, row)| (row.stopped_at, *part)).collect();
        stopped.retain(|(at, _)| *at > 0);
        stopped.sort_unstable_by(|a, b| b.cmp(a));
        stopped.truncate(STOPPED);
        (parts.rows.keys().copied().collect(), stopped)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_instances_saw_of_parts_merges_in_any_order_and_grouping(
            a in sightings(15, 40), b in sightings(15, 40), c in sightings(15, 40),
        ) {
            let [left, right, together] = merged(a, b, c);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &together);
            let mut again = left.clone();
            again.merge(&right);
            prop_assert_eq!(again, left, "merging once more changes nothing");
        }

        #[test]
        fn the_same_parts_stay_in_any_order_where_there_is_no_room_for_all(
            a in sightings(60, 150), b in sightings(60, 150), c in sightings(60, 150),
        ) {
            let [left, right, together] = merged(a, b, c);
            prop_assert!(together.rows.len() <= RECENT + STOPPED);
            prop_assert_eq!(kept(&left), kept(&right));
            prop_assert_eq!(kept(&left), kept(&together));
        }
    }

    #[test]
    fn a_part_is_stopped_until_it_is_cleared_or_two_weeks_have_passed() {
        let mut parts = Parts::default();
        parts.see(&sighting(1, Noted), NOW);
        assert!(!parts.stops_any(NOW + DAY), "what is only noted passes");
        parts.see(&sighting(1, Stopped), NOW + 1);
        assert!(parts.is_stopped(Part(1), NOW + HOLD) && parts.stops_any(NOW + HOLD));
        let stopped: Vec<_> = parts.stopped(NOW + 2).collect();
        assert_eq!(stopped, [StoppedPart { part: Part(1), name: "client 1", until: NOW + 1 + HOLD }]);
        assert!(!parts.is_stopped(Part(1), NOW + 1 + HOLD));
        assert!(!parts.is_stopped(Part(2), NOW), "another part passes");
        parts.clear(NOW + 2);
        assert!(!parts.is_stopped(Part(1), NOW + DAY));
        parts.see(&sighting(1, Stopped), NOW + 3);
        assert!(parts.is_stopped(Part(1), NOW + DAY), "it is accused anew");
    }

    #[test]
    fn the_client_of_a_part_is_read_from_its_name() {
        let place = PlaceCore::unknown("198.51.100.7".parse().unwrap());
        for client in ["curl", "(none)", "a tool from afar"] {
            let name = PartName { client, place: &place }.to_string();
            assert_eq!(PartName::client_of(&name), Some(client), "{name}");
        }
        assert_eq!(PartName::client_of("project"), None);
    }

    #[test]
    fn one_part_is_cleared_and_another_stays_stopped() {
        let mut parts = Parts::default();
        parts.see(&sighting(1, Stopped), NOW);
        parts.see(&sighting(2, Stopped), NOW);
        parts.clear_part(Part(1), NOW, NOW + 1);
        assert!(!parts.is_stopped(Part(1), NOW + 2) && parts.is_stopped(Part(2), NOW + 2));
    }

    #[test]
    fn a_part_is_the_owners_from_the_first_hour_or_after_a_day_without_an_accusation() {
        let mut parts = Parts::default();
        let born = NOW;
        parts.see(&sighting(1, OfNothing), born);
        parts.see(&sighting(2, OfNothing), born + 5 * DAY);
        assert!(parts.is_settled(Part(1), born, born + 1));
        assert!(!parts.is_settled(Part(2), born, born + 7 * DAY), "one request is not a day of work");
        parts.see(&sighting(2, OfNothing), born + 6 * DAY);
        assert!(parts.is_settled(Part(2), born, born + 6 * DAY));
        parts.see(&sighting(2, Noted), born + 7 * DAY);
        assert!(!parts.is_settled(Part(2), born, born + 7 * DAY));
    }

    #[test]
    fn of_forty_parts_those_stay_that_were_stopped_or_at_work_last_and_none_pushes_the_other_out() {
        let mut parts = Parts::default();
        (0..40).for_each(|part| parts.see(&sighting(part, Stopped), NOW + Millis::from(part)));
        parts.see(&sighting(100, OfNothing), NOW + 50);
        assert!(parts.get(Part(100)).is_some(), "the owner's row was just made");
        (101..400).for_each(|part| parts.see(&sighting(part, OfNothing), NOW + Millis::from(part)));
        assert_eq!(parts.rows.len(), RECENT + STOPPED);
        let stopped: Vec<_> = parts.stopped(NOW + DAY).map(|stopped| stopped.part.0).collect();
        assert_eq!(stopped, (20..40).collect::<Vec<_>>(), "those that were stopped last");
    }
}
