//! Parts of a key's traffic: one client from one network. Each is remembered with when it was at work and what it is
//! accused of, so that evidence about it adds up over days, and so that it can be held back while the rest passes.
//!
//! All of a row merges by minimum, maximum or sum: in any order, and in any grouping.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Network;
use crate::domain::{DAY, HOUR, Millis, place::PlaceCore, stable_hash};

/// Parts that are remembered of one key; beyond that those leave that were at work longest ago, accused ones last.
const PARTS: usize = 20;
/// How long an accusation holds a part back, unless an operator clears it: a thief who waits for so long is judged
/// anew.
const HOLD: Millis = 14 * DAY;
/// Standard deviations that a size counts for at most, where its lag is learned.
pub const MOST_DEVIATIONS: f64 = 3.0;
/// How long a loop or a scan holds a part back that may be the owner's, from the last finding on.
const LOUD: Millis = 6 * HOUR;
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

/// How a part of a key's traffic is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// At more than the key ever did, as it may be the owner's own loop.
    Loud,
    /// At the key's own usual rate.
    Slowed,
    /// Nothing of it passes.
    Stopped,
}

/// What is remembered of one part. Moments are 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartSeen {
    /// When it was at work first.
    pub first_seen: Millis,
    /// When it was at work last.
    pub last_seen: Millis,
    /// How many requests it made.
    pub requests: u32,
    /// Those of them that came right after one of another part.
    pub switches: u32,
    /// What was new about its requests: a bit for each value, by its hash.
    pub new_values: u64,
    /// When it was last accused of something high.
    pub slowed_at: Millis,
    /// When it was last accused of something critical.
    pub stopped_at: Millis,
    /// When it was last accused of a loop or a scan, though it may be the owner's.
    pub loud_at: Millis,
}

impl PartSeen {
    fn new(at: Millis) -> Self {
        Self {
            first_seen: at,
            last_seen: at,
            requests: 0,
            switches: 0,
            new_values: 0,
            slowed_at: 0,
            stopped_at: 0,
            loud_at: 0,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.requests = self.requests.saturating_add(other.requests);
        self.switches = self.switches.saturating_add(other.switches);
        self.new_values |= other.new_values;
        self.slowed_at = self.slowed_at.max(other.slowed_at);
        self.stopped_at = self.stopped_at.max(other.stopped_at);
        self.loud_at = self.loud_at.max(other.loud_at);
    }

    fn accused_at(&self) -> Millis {
        self.slowed_at.max(self.stopped_at).max(self.loud_at)
    }
}

/// What one request says about its part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartSighting {
    /// The part that the request belongs to.
    pub part: Part,
    /// What was new about the request: a bit for each value, by its hash.
    pub new_values: u64,
    /// Whether the request before was of another part.
    pub switched: bool,
    /// What it is accused of by this request.
    pub accused: Option<Held>,
    /// Whether it was as large as the one before for the same use.
    pub repeats: bool,
    /// How it goes with the one before for the same use: the product of both deviations from the usual size, and the
    /// square of the one before, each deviation at most [`MOST_DEVIATIONS`].
    pub lag: Option<(f64, f64)>,
    /// Whether it was held back before: then the request teaches nothing.
    pub is_held: bool,
}

/// The parts of a key's traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Parts {
    rows: BTreeMap<Part, PartSeen>,
    /// What parts were accused of before counts no more: an operator has cleared it.
    cleared_at: Millis,
}

impl Parts {
    /// Notes a request of a part, made at `at`.
    pub fn see(&mut self, sighting: &PartSighting, at: Millis) {
        let row = self.rows.entry(sighting.part).or_insert_with(|| PartSeen::new(at));
        row.first_seen = row.first_seen.min(at);
        row.last_seen = row.last_seen.max(at);
        row.requests = row.requests.saturating_add(1);
        row.switches = row.switches.saturating_add(u32::from(sighting.switched));
        row.new_values |= sighting.new_values;
        match sighting.accused {
            Some(Held::Loud) => row.loud_at = row.loud_at.max(at),
            Some(Held::Slowed) => row.slowed_at = row.slowed_at.max(at),
            Some(Held::Stopped) => row.stopped_at = row.stopped_at.max(at),
            None => {}
        }
        self.trim();
    }

    /// Takes back all that parts were accused of until now.
    pub fn clear(&mut self, at: Millis) {
        self.cleared_at = self.cleared_at.max(at);
    }

    /// Adds what another instance has seen.
    pub fn merge(&mut self, other: &Self) {
        self.cleared_at = self.cleared_at.max(other.cleared_at);
        for (part, row) in &other.rows {
            self.rows.entry(*part).and_modify(|mine| mine.merge(row)).or_insert(*row);
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.rows.len() > PARTS {
            let cleared = self.cleared_at;
            let rank = |row: &PartSeen| (row.accused_at() > cleared, row.last_seen);
            let first = self.rows.iter().min_by_key(|(part, row)| (rank(row), **part)).map(|(part, _)| *part);
            let Some(part) = first else { return };
            self.rows.remove(&part);
        }
    }

    /// The row of a part.
    pub fn get(&self, part: Part) -> Option<&PartSeen> {
        self.rows.get(&part)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.cleared_at == 0
    }

    /// Whether any part is the owner's.
    pub fn has_settled(&self, born: Millis, now: Millis) -> bool {
        self.rows.keys().any(|part| self.is_settled(*part, born, now))
    }

    /// Whether any part is held back.
    pub fn holds_any(&self, now: Millis) -> bool {
        self.rows.keys().any(|part| self.held(*part, now).is_some())
    }

    /// How a part is held back, by what it was accused of.
    pub fn held(&self, part: Part, now: Millis) -> Option<Held> {
        let row = self.rows.get(&part)?;
        let holds = |at: Millis, length: Millis| at > self.cleared_at && now - at < length;
        if holds(row.stopped_at, HOLD) {
            Some(Held::Stopped)
        } else if holds(row.slowed_at, HOLD) {
            Some(Held::Slowed)
        } else {
            holds(row.loud_at, LOUD).then_some(Held::Loud)
        }
    }

    /// Whether a part is the owner's: the key began with it (`born`), or it has been at work for a day or more and is
    /// accused of nothing.
    pub fn is_settled(&self, part: Part, born: Millis, now: Millis) -> bool {
        let of_the_owner = |row: &PartSeen| {
            row.first_seen - born < HOUR || row.last_seen.min(now) - row.first_seen >= QUARANTINE
        };
        self.rows.get(&part).is_some_and(of_the_owner)
            && self.held(part, now).is_none_or(|held| held == Held::Loud)
    }

    /// Whether the owner goes on beside a part: a settled other one was at work since then.
    pub fn goes_on_beside(&self, part: Part, born: Millis, since: Millis, now: Millis) -> bool {
        let mut others = self.rows.iter().filter(|(other, row)| **other != part && row.last_seen > since);
        others.any(|(other, _)| self.is_settled(*other, born, now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_760_000_000_000;

    fn sighting(part: u32, accused: Option<Held>) -> PartSighting {
        PartSighting {
            part: Part(part),
            new_values: u64::from(part),
            switched: part.is_multiple_of(2),
            accused,
            repeats: false,
            lag: None,
            is_held: false,
        }
    }

    fn seen(sightings: &[(u32, i64, u8)]) -> Parts {
        let mut parts = Parts::default();
        for (part, minutes, kind) in sightings {
            let accused = match kind {
                0 => Some(Held::Slowed),
                1 => Some(Held::Stopped),
                _ => None,
            };
            parts.see(&sighting(*part, accused), NOW + minutes * 60_000);
            if *kind == 9 {
                parts.clear(NOW + minutes * 60_000);
            }
        }
        parts
    }

    fn sightings() -> impl Strategy<Value = Vec<(u32, i64, u8)>> {
        proptest::collection::vec((0..15_u32, 0..20_000_i64, 0..12_u8), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_instances_saw_of_parts_merges_in_any_order_and_grouping(
            a in sightings(), b in sightings(), c in sightings(),
        ) {
            let (mut left, mut right) = (seen(&a), seen(&c));
            left.merge(&seen(&b));
            left.merge(&seen(&c));
            right.merge(&seen(&b));
            right.merge(&seen(&a));
            prop_assert_eq!(&left, &right);
            let together: Vec<_> = a.into_iter().chain(b).chain(c).collect();
            prop_assert_eq!(left, seen(&together));
        }
    }

    #[test]
    fn a_part_is_held_until_it_is_cleared_or_two_weeks_have_passed() {
        let mut parts = Parts::default();
        parts.see(&sighting(1, Some(Held::Slowed)), NOW);
        assert_eq!(parts.held(Part(1), NOW + DAY), Some(Held::Slowed));
        parts.see(&sighting(1, Some(Held::Stopped)), NOW + 1);
        assert_eq!(parts.held(Part(1), NOW + HOLD), Some(Held::Stopped));
        assert_eq!(parts.held(Part(1), NOW + 1 + HOLD), None);
        assert_eq!(parts.held(Part(2), NOW), None, "another part passes");
        parts.clear(NOW + 2);
        assert_eq!(parts.held(Part(1), NOW + DAY), None);
        parts.see(&sighting(1, Some(Held::Slowed)), NOW + 3);
        assert_eq!(parts.held(Part(1), NOW + DAY), Some(Held::Slowed), "it is accused anew");
    }

    #[test]
    fn a_part_is_the_owners_from_the_first_hour_or_after_a_day_without_an_accusation() {
        let mut parts = Parts::default();
        let born = NOW;
        parts.see(&sighting(1, None), born);
        parts.see(&sighting(2, None), born + 5 * DAY);
        assert!(parts.is_settled(Part(1), born, born + 1));
        assert!(!parts.is_settled(Part(2), born, born + 7 * DAY), "one request is not a day of work");
        parts.see(&sighting(2, None), born + 6 * DAY);
        assert!(parts.is_settled(Part(2), born, born + 6 * DAY));
        parts.see(&sighting(2, Some(Held::Slowed)), born + 7 * DAY);
        assert!(!parts.is_settled(Part(2), born, born + 7 * DAY));
    }

    #[test]
    fn the_owner_goes_on_beside_a_part_while_a_settled_one_is_at_work() {
        let mut parts = Parts::default();
        parts.see(&sighting(1, None), NOW);
        parts.see(&sighting(2, Some(Held::Slowed)), NOW + 3 * DAY);
        let beside = |parts: &Parts| parts.goes_on_beside(Part(2), NOW, NOW + 3 * DAY, NOW + 4 * DAY);
        assert!(!beside(&parts));
        parts.see(&sighting(1, None), NOW + 3 * DAY + 1);
        assert!(beside(&parts));
    }

    #[test]
    fn parts_stay_few_and_accused_ones_stay_longest() {
        let mut parts = Parts::default();
        parts.see(&sighting(7, Some(Held::Stopped)), NOW);
        for part in 100..400 {
            parts.see(&sighting(part, None), NOW + Millis::from(part));
        }
        assert_eq!(parts.rows.len(), PARTS);
        assert_eq!(parts.held(Part(7), NOW + DAY), Some(Held::Stopped));
    }
}
