//! What all evidence of findings has, whatever else its detector puts there.

use serde::Deserialize;
use serde_json::Value;

use super::amount::EvidenceAmount;
use crate::domain::{place::PlaceSummary, profile::PartName};

/// The five members that every finding has. A comparison that is no finding has them too: of an alert rule, or of a
/// day's spend. What is missing or of another kind is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingEvidence<'a> {
    /// Why it was found, in one plain sentence.
    pub summary: Option<&'a str>,
    /// What was measured, in the unit that the detector's part of `docs/detection.md` names.
    pub observed: Option<EvidenceAmount>,
    /// What is usual, in the same unit; 0 where nothing is.
    pub baseline: Option<EvidenceAmount>,
    /// What was passed, in the same unit.
    pub threshold: Option<EvidenceAmount>,
    /// How many requests, days or weeks the baseline is made of.
    pub samples: Option<u64>,
}

impl<'a> FindingEvidence<'a> {
    /// The names of these members, as they stand in evidence: the sentence, then the numbers.
    pub const NAMES: [&'static str; 5] = ["summary", "observed", "baseline", "threshold", "samples"];

    /// Reads the evidence of a finding or of a standing's cause.
    pub fn of(evidence: &'a Value) -> Self {
        let amount = |name: &str| EvidenceAmount::deserialize(evidence.get(name)?).ok();
        Self {
            summary: text(evidence, "summary"),
            observed: amount("observed"),
            baseline: amount("baseline"),
            threshold: amount("threshold"),
            samples: evidence.get("samples").and_then(Value::as_u64),
        }
    }
}

/// What evidence says of the request that it is about, as far as it does.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestFeatures<'a> {
    /// The name of the client, without its version.
    pub client: Option<&'a str>,
    /// The path that was called.
    pub endpoint: Option<&'a str>,
    /// The model that was called.
    pub model: Option<&'a str>,
    /// The place of the request before.
    pub previous: Option<PlaceSummary>,
    /// The client of the part of the key's traffic that is accused, or was refused.
    pub client_of_part: Option<&'a str>,
}

impl<'a> RequestFeatures<'a> {
    pub(super) fn of(evidence: &'a Value) -> Self {
        let mut parts = ["held", "part", "scope"].into_iter().filter_map(|name| text(evidence, name));
        Self {
            client: text(evidence, "client"),
            endpoint: text(evidence, "endpoint"),
            model: text(evidence, "model"),
            previous: evidence.get("previous").and_then(|place| PlaceSummary::deserialize(place).ok()),
            client_of_part: parts.find_map(PartName::client_of),
        }
    }
}

fn text<'a>(evidence: &'a Value, name: &str) -> Option<&'a str> {
    evidence.get(name)?.as_str().filter(|text| !text.is_empty())
}
