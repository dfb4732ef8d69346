//! How good the decisions were: attacks found and how soon, benign keys harmed and how much.
//!
//! *Found* means that one of the attack's own requests was refused or carries a high or critical finding. Findings
//! of benign keys count once per key, type and hour. Keys that are attacked at any time do not count as benign.

mod table;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::wire::Labelled;
use crate::domain::{
    DAY, HOUR, Millis,
    decision::Decision,
    finding::{AnomalyKind, Severity},
};

/// What was decided about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request was let through.
    pub allowed: bool,
    /// What was found.
    pub findings: Vec<(AnomalyKind, Severity)>,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        let findings = decision.anomalies.iter().map(|finding| (finding.kind, finding.severity)).collect();
        Self { allowed: decision.allowed, findings }
    }
}

/// How one kind of attack fared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttackScore {
    /// Attacks of this kind.
    pub attacks: u32,
    /// Those that were found.
    pub found: u32,
    /// From an attack's first request to the first of its requests that gave it away, in milliseconds: the median
    /// over the attacks that were found.
    pub median_delay: Option<Millis>,
    /// Which findings gave them away, by attacks; refusals without a finding of their own are not in here.
    pub by: BTreeMap<AnomalyKind, u32>,
}

impl AttackScore {
    /// Share of the attacks that were found, 0 to 1; 1 when there were none.
    pub fn recall(&self) -> f64 {
        share(self.found.into(), self.attacks.into(), 1.0)
    }
}

/// How one archetype of benign keys fared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BenignScore {
    /// Keys.
    pub keys: u32,
    /// Keys of which any request was refused.
    pub keys_refused: u32,
    /// Requests.
    pub requests: u64,
    /// Requests refused.
    pub requests_refused: u64,
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
        self.key_days += other.key_days;
        for (kind, count) in &other.findings {
            *self.findings.entry(*kind).or_default() += count;
        }
    }
}

/// How good the decisions were. Shows itself as a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// By kind of attack.
    pub attacks: BTreeMap<&'static str, AttackScore>,
    /// By archetype of benign keys.
    pub benign: BTreeMap<&'static str, BenignScore>,
}

impl Score {
    /// All kinds of attack together, without their delays.
    pub fn all_attacks(&self) -> AttackScore {
        self.attacks.values().fold(AttackScore::default(), |mut sum, kind| {
            sum.attacks += kind.attacks;
            sum.found += kind.found;
            for (finding, count) in &kind.by {
                *sum.by.entry(*finding).or_default() += count;
            }
            sum
        })
    }

    /// All benign keys together.
    pub fn all_benign(&self) -> BenignScore {
        self.benign.values().fold(BenignScore::default(), |mut sum, archetype| {
            sum.add(archetype);
            sum
        })
    }
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
}

#[derive(Debug)]
struct AttackSeen {
    kind: &'static str,
    began: Millis,
    found: Option<Millis>,
    by: BTreeSet<AnomalyKind>,
}

#[derive(Debug)]
struct KeySeen {
    archetype: &'static str,
    score: BenignScore,
    days: HashSet<Millis>,
    hours: HashSet<(AnomalyKind, Millis)>,
}

impl Scorer {
    /// Takes in the next record, in order of time.
    pub fn add(&mut self, labelled: &Labelled, verdict: &Verdict) {
        let serious = verdict.findings.iter().filter(|(_, severity)| *severity >= Severity::High);
        let kinds: BTreeSet<AnomalyKind> = serious.map(|(kind, _)| *kind).collect();
        match (labelled.label, labelled.attack_id) {
            (Some(kind), Some(id)) => {
                let seen = self.attacks.entry(id).or_insert_with(|| AttackSeen {
                    kind,
                    began: labelled.time,
                    found: None,
                    by: BTreeSet::new(),
                });
                if seen.found.is_none() && (!verdict.allowed || !kinds.is_empty()) {
                    seen.found = Some(labelled.time);
                    seen.by = kinds;
                }
            }
            _ if labelled.attacked => {}
            _ => self.add_benign(labelled, verdict.allowed, &kinds),
        }
    }

    fn add_benign(&mut self, labelled: &Labelled, allowed: bool, kinds: &BTreeSet<AnomalyKind>) {
        let seen = self.benign.entry(labelled.key).or_insert_with(|| KeySeen {
            archetype: labelled.archetype,
            score: BenignScore { keys: 1, ..BenignScore::default() },
            days: HashSet::new(),
            hours: HashSet::new(),
        });
        seen.score.requests += 1;
        seen.days.insert(labelled.time.div_euclid(DAY));
        if !allowed {
            seen.score.requests_refused += 1;
            seen.score.keys_refused = 1;
        }
        for kind in kinds {
            if seen.hours.insert((*kind, labelled.time.div_euclid(HOUR))) {
                *seen.score.findings.entry(*kind).or_default() += 1;
            }
        }
    }

    /// The score of everything taken in.
    pub fn finish(self) -> Score {
        let mut score = Score::default();
        let mut delays: BTreeMap<&'static str, Vec<Millis>> = BTreeMap::new();
        for seen in self.attacks.into_values() {
            let kind = score.attacks.entry(seen.kind).or_default();
            kind.attacks += 1;
            let Some(found) = seen.found else { continue };
            kind.found += 1;
            delays.entry(seen.kind).or_default().push(found - seen.began);
            for finding in seen.by {
                *kind.by.entry(finding).or_default() += 1;
            }
        }
        for (kind, mut delays) in delays {
            delays.sort_unstable();
            if let Some(entry) = score.attacks.get_mut(kind) {
                entry.median_delay = delays.get(delays.len() / 2).copied();
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
