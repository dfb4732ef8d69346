//! What one key does not show and many together do: one address that is new to keys of several projects, one client
//! whose unknown keys come from everywhere. Remembered by this instance, in bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::{
    detect::{FirstUses, Spray},
    domain::{DAY, HOUR, Millis, record::Record, stable_hash, subject::Subject},
};

/// Addresses that are remembered as new to keys.
const ADDRESSES: usize = 20_000;
/// Keys that are remembered of one address.
const KEYS: usize = 16;
/// How long an address stays new to a key.
const NEW: Millis = DAY;

/// Clients that are remembered for unknown keys; beyond that those leave that were least in use.
const CLIENTS: usize = 256;
/// Failures that are remembered of one client.
const FAILURES: usize = 512;
/// How far back failures of one client are counted.
const SPAN: Millis = 2 * HOUR;
/// The number of the project of all keys that have none: they may well be one team's.
const NO_PROJECT: u64 = 0;
/// How much of what is usual stays from one span to the next.
const MEMORY: f64 = 0.8;

/// A key that an address is new to: its number, that of its project, and since when.
type FirstUse = (u64, u64, Millis);

/// What many keys show together.
#[derive(Debug)]
pub(in crate::engine) struct Crowd {
    first_uses: Cache<Subject, Vec<FirstUse>>,
    clients: Cache<String, Arc<Mutex<Failures>>>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { first_uses: Cache::new(ADDRESSES), clients: Cache::new(CLIENTS) }
    }
}

fn number(text: &str) -> u64 {
    stable_hash(text.as_bytes())
}

impl Crowd {
    /// Notes that a key succeeds from an address that is new to it; how many keys, of how many projects, this address
    /// has been new to for a day.
    pub(in crate::engine) fn first_use(&self, record: &Record, now: Millis) -> FirstUses {
        let key = number(record.key.as_str());
        let project = record.project.as_ref().map_or(NO_PROJECT, |project| number(project.as_str()));
        let mut known = self.first_uses.get(&record.address).unwrap_or_default();
        known.retain(|(_, _, since)| now - since < NEW);
        if known.iter().all(|(other, ..)| *other != key) {
            if known.len() >= KEYS {
                known.remove(0);
            }
            known.push((key, project, now));
            self.first_uses.insert(record.address.clone(), known.clone());
        }
        let mut projects: Vec<u64> = known.iter().map(|(_, project, _)| *project).collect();
        projects.sort_unstable();
        projects.dedup();
        FirstUses { keys: known.len() as u32, projects: projects.len() as u32 }
    }

    /// Notes that an unknown key of a client was refused; what this client's unknown keys look like together.
    pub(in crate::engine) fn refused(&self, client: &str, record: &Record, now: Millis) -> Spray {
        let new = || Ok::<_, Infallible>(Arc::default());
        let Ok(failures) = self.clients.get_or_insert_with(client, new);
        failures.lock().add(record, now)
    }
}

/// Numbers, and how often each is there.
#[derive(Debug, Default)]
struct Tally(HashMap<u32, u32>);

impl Tally {
    fn add(&mut self, number: u32) {
        *self.0.entry(number).or_default() += 1;
    }

    fn remove(&mut self, number: u32) {
        if let Some(count) = self.0.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&number);
            }
        }
    }

    /// How many different ones there are: at most as many as failures are remembered.
    fn distinct(&self) -> u32 {
        self.0.len() as u32
    }
}

/// The unknown keys of one client that were refused.
#[derive(Debug, Default)]
struct Failures {
    /// Key, address and moment of each, the oldest first.
    last: VecDeque<(u32, u32, Millis)>,
    keys: Tally,
    addresses: Tally,
    /// Keys that are usual in a span, as far as spans are over.
    usual: f64,
    /// The span that goes on, and the most keys that it held.
    span: i64,
    most: u32,
}

impl Failures {
    fn add(&mut self, record: &Record, now: Millis) -> Spray {
        self.begin_span(now.div_euclid(SPAN));
        while self.last.len() >= FAILURES || self.last.front().is_some_and(|(.., at)| now - at > SPAN) {
            let Some((key, address, _)) = self.last.pop_front() else { break };
            self.keys.remove(key);
            self.addresses.remove(address);
        }
        let (key, address) = (number(record.key.as_str()) as u32, number(record.address.as_str()) as u32);
        self.last.push_back((key, address, now));
        self.keys.add(key);
        self.addresses.add(address);
        let (keys, addresses) = (self.keys.distinct(), self.addresses.distinct());
        self.most = self.most.max(keys);
        Spray { keys, addresses, usual: self.usual, span_millis: SPAN }
    }

    fn begin_span(&mut self, span: i64) {
        if span == self.span {
            return;
        }
        let passed = (span - self.span).clamp(1, 64) as i32;
        let seen = if self.span == 0 { 0.0 } else { f64::from(self.most) };
        self.usual = (self.usual * MEMORY + seen * (1.0 - MEMORY)) * MEMORY.powi(passed - 1);
        (self.span, self.most) = (span, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::record_of;

    const NOW: Millis = 1_760_000_000_000;

    #[test]
    fn an_address_that_is_new_to_keys_of_several_projects_is_counted_for_a_day() {
        let crowd = Crowd::default();
        let seen = |key: &str, project: &str, at| {
            crowd.first_use(&record_of(key, Some(project), "198.51.100.7"), at)
        };
        assert_eq!(seen("a", "one", NOW), FirstUses { keys: 1, projects: 1 });
        assert_eq!(seen("b", "one", NOW), FirstUses { keys: 2, projects: 1 });
        assert_eq!(seen("b", "one", NOW + 1), FirstUses { keys: 2, projects: 1 });
        assert_eq!(seen("c", "two", NOW + HOUR), FirstUses { keys: 3, projects: 2 });
        assert_eq!(seen("d", "three", NOW + DAY), FirstUses { keys: 2, projects: 2 });
    }

    #[test]
    fn keys_without_a_project_count_as_one_project() {
        let crowd = Crowd::default();
        let seen =
            |key: &str, project| crowd.first_use(&record_of(key, project, "198.51.100.7"), NOW).projects;
        for key in ["a", "b", "c", "d"] {
            assert_eq!(seen(key, None), 1, "four colleagues at the address of one hotel");
        }
        assert_eq!(seen("e", Some("one")), 2);
    }

    #[test]
    fn made_up_clients_do_not_make_a_count_be_forgotten() {
        let crowd = Crowd::default();
        let refused = |client: &str, n: u32| {
            crowd.refused(client, &record_of(&format!("made-up-{n}"), None, "198.51.100.1"), NOW).keys
        };
        assert_eq!((0..60).map(|n| refused("curl", n)).max(), Some(60));
        let made_up = (0..2 * CLIENTS as u32).map(|n| refused(&format!("client-{n}"), n));
        assert_eq!(made_up.max(), Some(1));
        assert_eq!(refused("curl", 60), 61);
    }

    #[test]
    fn the_unknown_keys_of_a_client_are_counted_over_all_addresses_and_held_against_the_spans_before() {
        let crowd = Crowd::default();
        let mut spray = Spray::default();
        for n in 0..60 {
            let record = record_of(&format!("made-up-{n}"), None, &format!("198.51.100.{}", n % 20));
            spray = crowd.refused("curl", &record, NOW + n * 1_000);
        }
        assert_eq!((spray.keys, spray.addresses, spray.usual), (60, 20, 0.0));
        let other = crowd.refused("axios", &record_of("x", None, "198.51.100.1"), NOW);
        assert_eq!((other.keys, other.addresses), (1, 1));
        let later = crowd.refused("curl", &record_of("y", None, "198.51.100.1"), NOW + SPAN);
        assert!(later.usual > 11.0 && later.usual < 13.0, "{later:?}");
    }

    #[test]
    fn what_is_remembered_of_failures_is_bounded() {
        let crowd = Crowd::default();
        let mut spray = Spray::default();
        for n in 0..3_000 {
            let record = record_of(&format!("made-up-{n}"), None, "198.51.100.1");
            spray = crowd.refused(&format!("client-{}", n % 300), &record, NOW);
            crowd.refused("curl", &record, NOW);
        }
        assert!(spray.keys <= FAILURES as u32 && crowd.clients.len() <= CLIENTS);
        let curl = crowd.clients.get("curl").unwrap();
        let curl = curl.lock();
        assert!(curl.last.len() <= FAILURES && curl.keys.distinct() <= curl.last.len() as u32);
    }
}
