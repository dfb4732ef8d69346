//! Thefts made of recorded traffic: from a moment on, the requests of one key come in another's name. Whoever has
//! recordings of many keys can measure detectors on traffic that nobody made up.
//!
//! The recording is read twice: [`Survey`] learns which keys there are and when they were at work, [`Swaps`] then
//! renames. A thief's own key is silent while its requests are another's; before and after, it counts as benign.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{random::Random, score::HasStatus, wire::Labelled};
use crate::domain::{DAY, HOUR, Millis, address, event::parse_millis, place::Prefix};

/// Requests of a victim before the theft: of a key with fewer, little is known.
const KNOWN_FOR: u64 = 100;
/// A victim is at least so old when it is robbed, like the youngest victims of generated traffic.
const OLDEST_FIRST: Millis = 2 * DAY;
/// Requests of a theft at least: of fewer, little can be told.
const LEAST: u64 = 20;
/// Moments that are tried for a thief and its victim.
const TRIES: usize = 20;
/// Networks that are remembered of a key.
const NETWORKS: usize = 1_000;
/// What all keys of a recording are called.
const RECORDED: &str = "recorded";
/// A theft by somebody who was never seen in a network of the victim's.
const BY_STRANGER: &str = "swap_stranger";
/// A theft by somebody from a network that the victim uses, too: the hardest to tell.
const BY_NEIGHBOUR: &str = "swap_neighbour";

/// A line of a recording, as it is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The usage record as JSON, with the victim's key and project where it is part of a theft.
    pub line: Vec<u8>,
    /// HTTP status of the answer; 200 where the record names none.
    pub status: u16,
    /// What it cost, in dollars, or a millionth of its tokens where it does not say.
    pub cost: f64,
}

impl HasStatus for Recorded {
    fn status(&self) -> u16 {
        self.status
    }

    fn cost(&self) -> f64 {
        self.cost
    }
}

/// How many thefts to make, and how long each lasts.
#[derive(Debug, Clone, Copy)]
pub struct SwapPlan {
    /// Another seed, other thefts.
    pub seed: u64,
    /// How many at most.
    pub thefts: usize,
    /// How long each lasts, in milliseconds.
    pub length: Millis,
}

/// What a record says that matters here. The key is named by its field and value.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    api_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    project_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source_ip: Option<Cow<'a, str>>,
    response_status: Option<f64>,
    tokens_used: Option<f64>,
    cost_usd: Option<Value>,
}

/// A key as records name it: the field, and what is in it.
type Name = (bool, Box<str>);

fn name(head: &Head<'_>) -> Option<Name> {
    match (&head.api_key, &head.key_id) {
        (Some(secret), None) => Some((true, secret.as_ref().into())),
        (None, Some(id)) => Some((false, id.as_ref().into())),
        _ => None,
    }
}

/// A record of a recording, and when it was made: the time of the one before, where it does not say.
fn read<'a>(line: &'a [u8], last: &mut Millis) -> Option<(Head<'a>, Name)> {
    let head: Head<'a> = serde_json::from_slice(line).ok()?;
    let name = name(&head)?;
    *last = head.timestamp.as_deref().and_then(|text| parse_millis(text).ok()).unwrap_or(*last);
    Some((head, name))
}

/// When a key was at work, and where.
#[derive(Debug, Default)]
struct Seen {
    first: Millis,
    hours: BTreeMap<Millis, u64>,
    networks: BTreeSet<Prefix>,
    project: Option<Box<str>>,
}

impl Seen {
    fn requests(&self, from: Millis, to: Millis) -> u64 {
        self.hours.range(from..to).map(|(_, count)| count).sum()
    }
}

/// Which keys a recording has. Memory grows with the hours in which keys were at work.
#[derive(Debug, Default)]
pub struct Survey {
    keys: BTreeMap<Name, Seen>,
    time: Millis,
}

/// Part of the traffic of one key that comes in the name of another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Theft {
    victim: Name,
    project: Option<Box<str>>,
    kind: &'static str,
    id: u32,
    from: Millis,
    to: Millis,
}

/// The thefts of a recording.
#[derive(Debug)]
pub struct Swaps {
    /// By the key of the thief.
    thefts: HashMap<Name, Theft>,
    victims: BTreeSet<Name>,
    numbers: HashMap<Name, u32>,
    time: Millis,
}

impl Survey {
    /// Takes in a line; says whether it is a record that names one key.
    pub fn add(&mut self, line: &[u8]) -> bool {
        let Some((head, name)) = read(line, &mut self.time) else { return false };
        let hour = self.time.div_euclid(HOUR) * HOUR;
        let seen = self.keys.entry(name).or_insert_with(|| Seen { first: hour, ..Seen::default() });
        *seen.hours.entry(hour).or_default() += 1;
        let address = head.source_ip.and_then(|text| address::parse(&text).ok());
        if let Some(address) = address.filter(|_| seen.networks.len() < NETWORKS) {
            seen.networks.insert(Prefix::of(address));
        }
        if let Some(project) = head.project_id {
            seen.project = Some(project.as_ref().into());
        }
        true
    }

    /// Chooses thieves and victims, each key for one part at most; fewer than asked for where there are not enough
    /// keys with a past of two days and 100 requests.
    pub fn plan(&self, plan: SwapPlan) -> Swaps {
        let mut random = Random::new(plan.seed).part("swap", 0);
        let mut free: Vec<&Name> = self.keys.keys().collect();
        for last in (1..free.len()).rev() {
            free.swap(last, random.below(last + 1));
        }
        let mut swaps = Swaps {
            thefts: HashMap::new(),
            victims: BTreeSet::new(),
            numbers: self.keys.keys().cloned().zip(0..).collect(),
            time: 0,
        };
        for thief in free.clone() {
            let is_taken = |name: &Name| swaps.victims.contains(name) || swaps.thefts.contains_key(name);
            if swaps.thefts.len() >= plan.thefts {
                break;
            }
            if is_taken(thief) {
                continue;
            }
            let others = free.iter().filter(|other| **other != thief && !is_taken(other));
            let id = u32::try_from(swaps.thefts.len()).unwrap_or(u32::MAX);
            let found =
                others.take(TRIES).find_map(|victim| self.theft(thief, victim, id, plan, &mut random));
            if let Some(theft) = found {
                swaps.victims.insert(theft.victim.clone());
                swaps.thefts.insert(thief.clone(), theft);
            }
        }
        swaps
    }

    /// A theft by one key of another, at a moment of the second half of the thief's hours.
    fn theft(
        &self,
        thief: &Name,
        victim: &Name,
        id: u32,
        plan: SwapPlan,
        random: &mut Random,
    ) -> Option<Theft> {
        let (robber, robbed) = (self.keys.get(thief)?, self.keys.get(victim)?);
        let hours: Vec<Millis> = robber.hours.keys().copied().collect();
        let later = hours.get(hours.len() / 2..)?;
        let fits = |from: &Millis| {
            robbed.requests(Millis::MIN, *from) >= KNOWN_FOR
                && robbed.first + OLDEST_FIRST <= *from
                && robber.requests(*from, from.saturating_add(plan.length)) >= LEAST
        };
        let from = (0..TRIES).find_map(|_| later.get(random.below(later.len())).copied().filter(fits))?;
        let is_neighbour = !robber.networks.is_disjoint(&robbed.networks);
        Some(Theft {
            victim: victim.clone(),
            project: robbed.project.clone(),
            kind: if is_neighbour { BY_NEIGHBOUR } else { BY_STRANGER },
            id,
            from,
            to: from.saturating_add(plan.length),
        })
    }
}

impl Swaps {
    /// How many thefts there are.
    pub fn len(&self) -> usize {
        self.thefts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.thefts.is_empty()
    }

    /// The next line of the recording, with the truth about it; `None` where it is no record that names one key.
    pub fn label(&mut self, line: &[u8]) -> Option<Labelled<Recorded>> {
        let (head, name) = read(line, &mut self.time)?;
        let status = head.response_status.map_or(200, |status| status as u16);
        let cost = dollars(head.cost_usd.as_ref()).unwrap_or(head.tokens_used.unwrap_or(0.0) * 1e-6);
        let theft = self.thefts.get(&name).filter(|theft| (theft.from..theft.to).contains(&self.time));
        let owner = theft.map_or(&name, |theft| &theft.victim);
        let line = match theft {
            Some(theft) => renamed(line, theft)?,
            None => line.to_vec(),
        };
        Some(Labelled {
            time: self.time,
            record: Recorded { line, status, cost },
            label: theft.map(|theft| theft.kind),
            attack_id: theft.map(|theft| theft.id),
            archetype: RECORDED,
            key: self.numbers.get(owner).copied()?,
            attacked: self.victims.contains(owner),
        })
    }
}

/// A cost as it is written: a number, or one in quotes.
fn dollars(cost: Option<&Value>) -> Option<f64> {
    match cost? {
        Value::String(text) => text.parse().ok(),
        number => number.as_f64(),
    }
}

/// A record in the name of a victim. What it does not say differently stays as it was written, to the digit.
fn renamed(line: &[u8], theft: &Theft) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<&str, Cow<'_, RawValue>> = BTreeMap::new();
    let read: BTreeMap<&str, &RawValue> = serde_json::from_slice(line).ok()?;
    // Another key cannot settle what the thief's own key had reserved.
    let own = ["api_key", "key_id", "project_id", "reservation_id"];
    fields
        .extend(read.into_iter().filter(|(name, _)| !own.contains(name)).map(|(n, v)| (n, Cow::Borrowed(v))));
    let (secret, key) = &theft.victim;
    let field = if *secret { "api_key" } else { "key_id" };
    fields.insert(field, Cow::Owned(serde_json::value::to_raw_value(key).ok()?));
    if let Some(project) = &theft.project {
        fields.insert("project_id", Cow::Owned(serde_json::value::to_raw_value(project).ok()?));
    }
    serde_json::to_vec(&fields).ok()
}
