//! Evidence of events: JSON outside, a struct for each type of event inside.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    call::Call,
    finding::{FindingEvidence, RequestFeatures},
    kind::EventType,
};
use crate::domain::{Millis, calendar::parse_millis, finding::Finding, stable_hash, standing::Origin};

/// What is told of events of one type, or of several types that have the same to tell.
pub trait Details: Serialize + DeserializeOwned {
    /// The types of events that have these details.
    const TYPES: &'static [EventType];
}

/// What is told of an event, as it is on the wire and in the log. Members that a newer version wrote stay in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventEvidence(pub(super) Value);

impl EventEvidence {
    /// The evidence of an event with these details.
    pub fn of<D: Details>(details: &D) -> Self {
        Self(serde_json::to_value(details).unwrap_or(Value::Null))
    }

    /// The evidence of a detector's finding, in the shape of its detector.
    pub fn of_finding(finding: &Finding) -> Self {
        Self(finding.evidence.clone())
    }

    /// The details of a type.
    ///
    /// # Errors
    /// When a member is missing that these details need, or is of another kind.
    pub fn parse<D: Details>(&self) -> Result<D, serde_json::Error> {
        D::deserialize(&self.0)
    }

    /// The whole as JSON, to be shown or sent on.
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    /// A part of it, marked as such by `"truncated": true`.
    pub fn truncated(part: Value) -> Self {
        let mut members = if let Value::Object(members) = part { members } else { Default::default() };
        members.insert("truncated".to_owned(), true.into());
        Self(Value::Object(members))
    }

    /// What a finding has to say, and other comparisons too: alert rules and unusual days.
    pub fn finding(&self) -> FindingEvidence<'_> {
        FindingEvidence::of(&self.0)
    }

    /// Which mark of which limit it tells of, or which shadow limit, as one number; `None` of anything else.
    pub fn limit_mark(&self) -> Option<u64> {
        let is_shadow = self.0.get("mode").is_some_and(|mode| mode == "shadow");
        if !is_shadow && self.0.get("percent").is_none() {
            return None;
        }
        let members = ["percent", "scope", "window", "unit", "model"].map(|name| self.0.get(name));
        Some(stable_hash(format!("{members:?}").as_bytes()))
    }

    /// What it says of the request: the evidence of a finding, of one that led to a ban, or of a refusal.
    pub fn features(&self) -> RequestFeatures<'_> {
        RequestFeatures::of(self.0.pointer("/cause/evidence").unwrap_or(&self.0))
    }

    /// Why it happened, for people: the sentence of the finding, or of the one that led to it; else the note or the
    /// reason of the person who acted.
    pub fn why(&self) -> Option<&str> {
        let cause = self.0.pointer("/cause/evidence").and_then(|cause| FindingEvidence::of(cause).summary);
        self.finding().summary.or(cause).or_else(|| self.text("note")).or_else(|| self.reason())
    }

    /// Why a person did it, or the service did by itself; `None` where nobody says.
    pub fn reason(&self) -> Option<&str> {
        self.text("reason")
    }

    /// Who acted, by the id of the token; `None` of what no person did.
    pub fn by(&self) -> Option<&str> {
        self.text("by")
    }

    /// The project that the record of the request names, where it is told.
    pub fn project(&self) -> Option<&str> {
        self.text("project").or_else(|| self.text("reported"))
    }

    /// Since when a subject is held, or the store was away.
    pub fn since(&self) -> Option<Millis> {
        self.time("since")
    }

    /// Until when a subject is held; `None` also of a ban for good.
    pub fn until(&self) -> Option<Millis> {
        self.time("until")
    }

    /// Whether a person put the subject where it stands.
    pub fn is_by_operator(&self) -> bool {
        self.member("origin") == Some(Origin::Operator)
    }

    /// By which call a refused request came.
    pub fn call(&self) -> Option<Call> {
        self.member("call")
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn time(&self, name: &str) -> Option<Millis> {
        parse_millis(self.text(name)?).ok()
    }

    fn member<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }
}

/// The name of a plain enum on the wire, such as `cost_per_hour`.
pub fn wire_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Tests look at evidence as the JSON that readers get.
#[cfg(test)]
mod as_json {
    use std::ops::{Deref, DerefMut};

    use serde_json::Value;

    use crate::domain::event::evidence::EventEvidence;

    impl From<Value> for EventEvidence {
        fn from(value: Value) -> Self {
            Self(value)
        }
    }

    impl Deref for EventEvidence {
        type Target = Value;

        fn deref(&self) -> &Value {
            &self.0
        }
    }

    impl DerefMut for EventEvidence {
        fn deref_mut(&mut self) -> &mut Value {
            &mut self.0
        }
    }
}
