//! How good the decisions were: attacks found and how soon, benign keys harmed and how much.
//!
//! *Found* means that one of the attack's own requests was refused or carries a high or critical finding. Findings
//! of benign keys count once per key, type and hour. A key that is attacked is benign until its attack begins: what
//! is done to it before then counts like what is done to any other key. Of what its owner suffers afterwards only the
//! share of requests that is refused counts.

mod bars;
mod json;
mod outage;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub use bars::{Bar, bars, bars_of_second, missed};
use serde::Serialize;
pub use table::{Row, Table};

use self::outage::Outages;
use super::{
    archetypes::is_loud,
    attacks::Tellable,
    persona::list_price,
    wire::{Labelled, WireRecord},
};
use crate::domain::{
    DAY, HOUR, Millis,
    decision::Decision,
    event::rfc3339_millis,
    finding::{AnomalyKind, Severity},
};

/// A record that says how its request was answered, and what it cost.
pub trait HasStatus {
    /// HTTP status of the answer.
    fn status(&self) -> u16;

    /// US dollars, or an amount that is as good for shares.
    fn cost(&self) -> f64;
}

impl HasStatus for WireRecord {
    fn status(&self) -> u16 {
        self.response_status
    }

    fn cost(&self) -> f64 {
        self.cost_usd.unwrap_or_else(|| self.tokens_used as f64 * list_price(self.model.as_deref()))
    }
}

/// What was decided about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether enforcement lets the request through.
    pub allowed: bool,
    /// What was found about the request.
    pub findings: Vec<(AnomalyKind, Severity)>,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        let findings = decision.anomalies.iter().map(|finding| (finding.kind, finding.severity)).collect();
        Self { allowed: decision.ruling().allowed, findings }
    }
}

/// Requests, and how many of them were let through; the same in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Through {
    /// Requests, let through or refused.
    pub requests: u64,
    /// Those that were let through.
    pub passed: u64,
    /// What all of them cost, in dollars.
    pub cost: f64,
    /// What those cost that were let through, in dollars.
    pub passed_cost: f64,
}

impl Through {
    /// Counts a request and its cost in dollars.
    fn count(&mut self, allowed: bool, cost: f64) {
        self.requests += 1;
        self.cost += cost;
        if allowed {
            self.passed += 1;
            self.passed_cost += cost;
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.passed += other.passed;
        self.cost += other.cost;
        self.passed_cost += other.passed_cost;
    }

    /// Share of the requests that was let through, 0 to 1.
    pub fn share(&self) -> f64 {
        share(self.passed as f64, self.requests as f64, 0.0)
    }

    /// Share of the cost that was let through, 0 to 1.
    pub fn cost_share(&self) -> f64 {
        share(self.passed_cost, self.cost, 0.0)
    }
}

/// How one kind of attack fared, or the attacks on one archetype.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttackScore {
    /// Attacks of this kind.
    pub attacks: u32,
    /// Those that were found.
    pub found: u32,
    /// From an attack's first request to the first of its requests that gave it away, in milliseconds: the median
    /// over the attacks that were found.
    pub median_delay: Option<Millis>,
    /// The attack's own requests up to the one that gave it away, which counts: the median likewise.
    pub median_requests: Option<u32>,
    /// Which findings gave them away, by attacks; refusals without a finding of their own are not in here.
    pub by: BTreeMap<AnomalyKind, u32>,
    /// What the attacks that were found did after the request that gave them away, and how much of it was let through.
    pub after: Through,
    /// Requests of the rightful owners from the first of the attack's on.
    pub owners_requests: u64,
    /// Those of them that were refused.
    pub owners_refused: u64,
    /// The delays of those that were found, in order.
    delays: Vec<Millis>,
    /// Their requests, in order.
    requests: Vec<u32>,
}

impl AttackScore {
    /// Share of the attacks that were found, 0 to 1; 1 when there were none.
    pub fn recall(&self) -> f64 {
        share(self.found.into(), self.attacks.into(), 1.0)
    }

    /// Share of the owners' requests that was refused since the attack began, 0 to 1.
    pub fn owners_refused_share(&self) -> f64 {
        share(self.owners_refused as f64, self.owners_requests as f64, 0.0)
    }

    fn add(&mut self, other: &Self) {
        self.attacks += other.attacks;
        self.found += other.found;
        for (finding, count) in &other.by {
            *self.by.entry(*finding).or_default() += count;
        }
        self.after.add(&other.after);
        self.owners_requests += other.owners_requests;
        self.owners_refused += other.owners_refused;
        self.delays.extend(&other.delays);
        self.requests.extend(&other.requests);
        self.delays.sort_unstable();
        self.requests.sort_unstable();
        self.median_delay = self.delays.get(self.delays.len() / 2).copied();
        self.median_requests = self.requests.get(self.requests.len() / 2).copied();
    }
}

/// How one archetype of benign keys fared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BenignScore {
    /// How many keys there were.
    pub keys: u32,
    /// Keys of which any request was refused.
    pub keys_refused: u32,
    /// How many requests they made.
    pub requests: u64,
    /// How many of their requests were refused.
    pub requests_refused: u64,
    /// Those of them that were made while the provider failed.
    pub refused_in_outage: u64,
    /// Days on which a key was in use, over all keys.
    pub key_days: u64,
    /// High or critical findings, once per key, type and hour.
    pub findings: BTreeMap<AnomalyKind, u64>,
}

impl BenignScore {
    /// High or critical findings of all types.
    pub fn high_findings(&self) -> u64 {
        self.findings.values().sum()
    }

    /// Share of the keys that were ever refused, 0 to 1.
    pub fn keys_refused_share(&self) -> f64 {
        share(self.keys_refused.into(), self.keys.into(), 0.0)
    }

    /// Share of the requests that were refused, 0 to 1.
    pub fn requests_refused_share(&self) -> f64 {
        share(self.requests_refused as f64, self.requests as f64, 0.0)
    }

    /// High or critical findings per key and day.
    pub fn findings_per_key_day(&self) -> f64 {
        share(self.high_findings() as f64, self.key_days as f64, 0.0)
    }

    fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.keys_refused += other.keys_refused;
        self.requests += other.requests;
        self.requests_refused += other.requests_refused;
        self.refused_in_outage += other.refused_in_outage;
        self.key_days += other.key_days;
        for (kind, count) in &other.findings {
            *self.findings.entry(*kind).or_default() += count;
        }
    }
}

/// An attack that was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The kind of attack that it was.
    pub attack: &'static str,
    /// What sort of key it fell on.
    pub archetype: &'static str,
    /// Its number in its run.
    pub attack_id: u32,
    /// The key, counted from 0.
    pub key: u32,
    /// When its first request was made, in milliseconds.
    #[serde(with = "rfc3339_millis")]
    pub began: Millis,
    /// How many requests it made.
    pub requests: u32,
}

/// How good the decisions were. Shows itself as a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// By kind of attack.
    pub attacks: BTreeMap<&'static str, AttackScore>,
    /// The same attacks by archetype of the key that they fell on.
    pub victims: BTreeMap<&'static str, AttackScore>,
    /// Attacks that were not found.
    pub missed: Vec<Missed>,
    /// By archetype of benign keys.
    pub benign: BTreeMap<&'static str, BenignScore>,
}

impl Score {
    /// All kinds of attack together.
    pub fn all_attacks(&self) -> AttackScore {
        sum(self.attacks.values(), AttackScore::add)
    }

    /// The attacks that an analyst could tell, or would find hard to, or could not.
    pub fn that_are(&self, tellable: Tellable) -> AttackScore {
        let those = self.attacks.iter().filter(|(kind, _)| Tellable::of(kind) == tellable);
        sum(those.map(|(_, score)| score), AttackScore::add)
    }

    /// All benign keys together.
    pub fn all_benign(&self) -> BenignScore {
        sum(self.benign.values(), BenignScore::add)
    }

    /// Those of them that are rightfully loud, or those that are not.
    pub fn benign_that_are(&self, loud: bool) -> BenignScore {
        let those = self.benign.iter().filter(|(name, _)| is_loud(name) == loud);
        sum(those.map(|(_, score)| score), BenignScore::add)
    }

    /// Takes another run in, of other keys and attacks.
    pub fn merge(&mut self, other: &Self) {
        for (name, score) in &other.attacks {
            self.attacks.entry(name).or_default().add(score);
        }
        for (name, score) in &other.victims {
            self.victims.entry(name).or_default().add(score);
        }
        self.missed.extend_from_slice(&other.missed);
        for (name, score) in &other.benign {
            self.benign.entry(name).or_default().add(score);
        }
    }
}

fn sum<'a, T: Default + 'a>(parts: impl Iterator<Item = &'a T>, add: impl Fn(&mut T, &T)) -> T {
    parts.fold(T::default(), |mut sum, part| {
        add(&mut sum, part);
        sum
    })
}

/// Scores a whole run: each record with what was decided about it, in order of time.
pub fn score<'a>(decided: impl IntoIterator<Item = (&'a Labelled, Verdict)>) -> Score {
    let mut scorer = Scorer::default();
    for (labelled, verdict) in decided {
        scorer.add(labelled, &verdict);
    }
    scorer.finish()
}

/// Scores a run record by record, for callers that do not keep it.
#[derive(Debug, Default)]
pub struct Scorer {
    attacks: BTreeMap<u32, AttackSeen>,
    benign: BTreeMap<u32, KeySeen>,
    /// Keys whose attack has begun, with the attack's number.
    struck: HashMap<u32, u32>,
}

#[derive(Debug)]
struct AttackSeen {
    kind: &'static str,
    archetype: &'static str,
    key: u32,
    began: Millis,
    requests: u32,
    found: Option<Millis>,
    by: BTreeSet<AnomalyKind>,
    after: Through,
    owners_requests: u64,
    owners_refused: u64,
}

#[derive(Debug)]
struct KeySeen {
    archetype: &'static str,
    score: BenignScore,
    days: HashSet<Millis>,
    hours: HashSet<(Option<AnomalyKind>, Millis)>,
    outages: Outages,
}

impl Scorer {
    /// Takes in the next record, in order of time. Whether it is news of a benign key: the first refusal, or the first
    /// finding of its type, within the hour.
    pub fn add<R: HasStatus>(&mut self, labelled: &Labelled<R>, verdict: &Verdict) -> bool {
        let serious = verdict.findings.iter().filter(|(_, severity)| *severity >= Severity::High);
        let kinds: BTreeSet<AnomalyKind> = serious.map(|(kind, _)| *kind).collect();
        if let (Some(kind), Some(id)) = (labelled.label, labelled.attack_id) {
            self.struck.insert(labelled.key, id);
            self.add_attack(kind, id, labelled, verdict.allowed, kinds);
            false
        } else if let Some(id) = self.struck.get(&labelled.key).filter(|_| labelled.attacked) {
            if let Some(seen) = self.attacks.get_mut(id) {
                seen.owners_requests += 1;
                seen.owners_refused += u64::from(!verdict.allowed);
            }
            false
        } else {
            self.add_benign(labelled, verdict.allowed, &kinds)
        }
    }

    fn add_attack<R: HasStatus>(
        &mut self,
        kind: &'static str,
        id: u32,
        labelled: &Labelled<R>,
        allowed: bool,
        kinds: BTreeSet<AnomalyKind>,
    ) {
        let seen = self.attacks.entry(id).or_insert_with(|| AttackSeen {
            kind,
            archetype: labelled.archetype,
            key: labelled.key,
            began: labelled.time,
            requests: 0,
            found: None,
            by: BTreeSet::new(),
            after: Through::default(),
            owners_requests: 0,
            owners_refused: 0,
        });
        if seen.found.is_some() {
            seen.after.count(allowed, labelled.record.cost());
            return;
        }
        seen.requests += 1;
        if !allowed || !kinds.is_empty() {
            seen.found = Some(labelled.time);
            seen.by = kinds;
        }
    }

    fn add_benign<R: HasStatus>(
        &mut self,
        labelled: &Labelled<R>,
        allowed: bool,
        kinds: &BTreeSet<AnomalyKind>,
    ) -> bool {
        let seen = self.benign.entry(labelled.key).or_insert_with(|| KeySeen {
            archetype: labelled.archetype,
            score: BenignScore { keys: 1, ..BenignScore::default() },
            days: HashSet::new(),
            hours: HashSet::new(),
            outages: Outages::default(),
        });
        let hour = labelled.time.div_euclid(HOUR);
        let fails = seen.outages.fails(labelled.time, labelled.record.status());
        seen.score.requests += 1;
        seen.days.insert(labelled.time.div_euclid(DAY));
        let mut news = false;
        if !allowed {
            seen.score.requests_refused += 1;
            seen.score.refused_in_outage += u64::from(fails);
            seen.score.keys_refused = 1;
            news |= seen.hours.insert((None, hour));
        }
        for kind in kinds {
            if seen.hours.insert((Some(*kind), hour)) {
                *seen.score.findings.entry(*kind).or_default() += 1;
                news = true;
            }
        }
        news
    }

    /// The score of everything taken in.
    pub fn finish(self) -> Score {
        let mut score = Score::default();
        for (id, seen) in self.attacks {
            let one = AttackScore {
                attacks: 1,
                found: u32::from(seen.found.is_some()),
                by: seen.by.iter().map(|kind| (*kind, 1)).collect(),
                delays: seen.found.map(|found| found - seen.began).into_iter().collect(),
                requests: seen.found.map(|_| seen.requests).into_iter().collect(),
                after: seen.after,
                owners_requests: seen.owners_requests,
                owners_refused: seen.owners_refused,
                ..AttackScore::default()
            };
            score.attacks.entry(seen.kind).or_default().add(&one);
            score.victims.entry(seen.archetype).or_default().add(&one);
            if seen.found.is_none() {
                score.missed.push(Missed {
                    attack: seen.kind,
                    archetype: seen.archetype,
                    attack_id: id,
                    key: seen.key,
                    began: seen.began,
                    requests: seen.requests,
                });
            }
        }
        for mut seen in self.benign.into_values() {
            seen.score.key_days = seen.days.len() as u64;
            score.benign.entry(seen.archetype).or_default().add(&seen.score);
        }
        score
    }
}

fn share(part: f64, whole: f64, of_none: f64) -> f64 {
    if whole == 0.0 { of_none } else { part / whole }
}
