//! A score for programs: what its table shows, with shares from 0 to 1.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{AttackScore, BenignScore, Score};

impl Score {
    /// The score as JSON.
    pub fn json(&self) -> Value {
        json!({
            "attacks": attacks(&self.all_attacks()),
            "by_attack": by_name(&self.attacks, attacks),
            "by_victim": by_name(&self.victims, attacks),
            "benign": benign(&self.all_benign()),
            "by_archetype": by_name(&self.benign, benign),
            "missed": self.missed,
        })
    }
}

fn by_name<S>(scores: &BTreeMap<&'static str, S>, json: fn(&S) -> Value) -> Map<String, Value> {
    scores.iter().map(|(name, score)| ((*name).to_owned(), json(score))).collect()
}

fn attacks(score: &AttackScore) -> Value {
    json!({
        "attacks": score.attacks,
        "found": score.found,
        "recall": score.recall(),
        "median_delay_ms": score.median_delay,
        "median_requests": score.median_requests,
        "owners_requests": score.owners_requests,
        "owners_refused": score.owners_refused,
        "by": score.by.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect::<Map<_, _>>(),
    })
}

fn benign(score: &BenignScore) -> Value {
    json!({
        "keys": score.keys,
        "keys_refused": score.keys_refused,
        "requests": score.requests,
        "requests_refused": score.requests_refused,
        "refused_in_outage": score.refused_in_outage,
        "key_days": score.key_days,
        "high_findings": score.high_findings(),
    })
}
