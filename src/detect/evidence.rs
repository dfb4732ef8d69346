//! Evidence as it is shown: named numbers, rounded for people.

use serde::Serialize;
use serde_json::{Map, Value};

/// Evidence under construction. Every finding says in one plain sentence why it was made (`summary`), and names the
/// observed value, the baseline it was held against, the threshold that it crossed and the samples behind the baseline.
#[derive(Debug, Default)]
pub struct Evidence(Map<String, Value>);

impl Evidence {
    /// Starts with the five parts that every finding has.
    pub fn new(summary: String, observed: f64, baseline: f64, threshold: f64, samples: u64) -> Self {
        Self::default()
            .with("summary", summary)
            .number("observed", observed)
            .number("baseline", baseline)
            .number("threshold", threshold)
            .with("samples", samples)
    }

    /// Goes on with the evidence of a finding, to add to it.
    pub(super) fn of(evidence: Value) -> Self {
        if let Value::Object(members) = evidence { Self(members) } else { Self::default() }
    }

    /// Adds a number, rounded to three digits after the point; whole numbers show without one.
    pub fn number(self, name: &str, value: f64) -> Self {
        let rounded = (value * 1000.0).round() / 1000.0;
        if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
            return self.with(name, rounded as i64);
        }
        self.with(name, rounded)
    }

    /// Adds anything that has a JSON form.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
        self
    }

    /// Says why the finding is less or more severe than its numbers alone would have it.
    pub fn because(self, why: Option<&'static str>) -> Self {
        match why {
            Some(why) => self.with("severity_because", why),
            None => self,
        }
    }

    /// The evidence as the JSON object that findings carry.
    pub fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EvidenceAmount, FindingEvidence};

    #[test]
    fn what_every_finding_has_is_read_again_by_its_name() {
        let evidence = Evidence::new("Too many.".to_owned(), 7.25, 1.0, 5.0, 12).into_json();
        let number =
            |number: f64| Some(EvidenceAmount::Number(serde_json::Number::from_f64(number).unwrap()));
        let whole = |number: u64| Some(EvidenceAmount::Number(number.into()));
        let expected = FindingEvidence {
            summary: Some("Too many."),
            observed: number(7.25),
            baseline: whole(1),
            threshold: whole(5),
            samples: Some(12),
        };
        assert_eq!(FindingEvidence::of(&evidence), expected);
        let names: Vec<&str> = evidence.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(FindingEvidence::NAMES.iter().all(|name| names.contains(name)) && names.len() == 5);
    }
}
