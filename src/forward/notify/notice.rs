//! What a channel is told: a notice about one group of events, or about all that had to be held back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rule::{End, Hold};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::format::{facts, text::one_line, wording},
};

/// Most characters of a sample's sentence and of each of its other texts.
const LONGEST_SENTENCE: usize = 300;
const LONGEST_WORD: usize = 128;

/// What a notice says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It has begun.
    Firing,
    /// It goes on, or got worse.
    Update,
    /// Somebody has said that it is an attack.
    Acknowledged,
    /// It is over.
    Resolved,
    /// Notices about several groups had to wait and are told as one.
    HeldBack,
}

impl Told {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Update => "update",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::HeldBack => "held_back",
        }
    }
}

/// An event as notices show it: texts on one line, and cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub time: Millis,
    /// What.
    pub kind: EventType,
    /// How bad.
    pub severity: Severity,
    /// The sentence that tells it.
    pub message: String,
    /// The key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The project that the evidence names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether the policy only observed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unenforced: bool,
    /// The event's id.
    pub event: String,
}

impl Sample {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        let word = |text: &Option<String>| facts::present(text).map(|text| one_line(text, LONGEST_WORD));
        let place = event.place.as_ref().map(|place| {
            let parts: Vec<&str> =
                [&place.city, &place.country].into_iter().flatten().map(String::as_str).collect();
            one_line(&parts.join(", "), LONGEST_WORD)
        });
        let project =
            facts::word(&event.evidence, "project").or_else(|| facts::word(&event.evidence, "reported"));
        Self {
            time: event.time,
            kind: event.kind,
            severity: event.severity,
            message: one_line(&wording::message(event), LONGEST_SENTENCE),
            key_id: word(&event.key_id),
            project: project.map(|text| one_line(text, LONGEST_WORD)),
            source_ip: word(&event.source_ip),
            place: place.filter(|text| !text.is_empty()),
            action: word(&event.action),
            unenforced: event.would.is_some(),
            event: event.id.clone(),
        }
    }
}

/// One message to a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What is said.
    pub told: Told,
    /// Of which group: the same as long as rule and subject are, at most 255 bytes.
    pub dedup_key: String,
    /// What found it: a detector, or the type of the events in lower case.
    pub rule: String,
    /// What its worst event is called.
    pub title: &'static str,
    /// About whom; `None` for the service itself, and for many.
    pub subject: Option<Subject>,
    /// The worst so far.
    pub severity: Severity,
    /// The worst as it was told last.
    pub told_severity: Option<Severity>,
    /// Events that this is the first to tell of.
    pub events: u64,
    /// Events since it began.
    pub total: u64,
    /// When the first and the last of them were.
    pub first: Millis,
    /// See `first`.
    pub last: Millis,
    /// What is held against the subject.
    pub hold: Option<Hold>,
    /// Why it is over.
    pub end: Option<End>,
    /// Some of the events, in their order.
    pub samples: Vec<Sample>,
    /// What was held back: one for each group, the worst first.
    pub parts: Vec<Part>,
}

/// A group whose notice was held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its key.
    pub dedup_key: String,
    /// What its worst event is called.
    pub title: &'static str,
    /// About whom.
    pub subject: Option<Subject>,
    /// The worst so far.
    pub severity: Severity,
    /// Events that were not told of.
    pub events: u64,
    /// Why it is over, when it is.
    pub end: Option<End>,
}

impl Notice {
    /// About one event, outside of all groups: to see whether a channel works.
    pub fn alone(event: &Event) -> Self {
        let rule = super::rule::rule(event);
        Self {
            told: Told::Firing,
            dedup_key: super::rule::dedup_key(&rule, event.subject.as_ref()),
            title: wording::title(event.kind),
            rule,
            subject: event.subject.clone(),
            severity: event.severity,
            told_severity: None,
            events: event.count.max(1),
            total: event.count.max(1),
            first: event.time,
            last: event.time,
            hold: Hold::of(event),
            end: None,
            samples: vec![Sample::of(event)],
            parts: Vec::new(),
        }
    }
}

/// The verdict and the event that it is about, of the evidence of a `FEEDBACK_GIVEN`.
pub fn judged(evidence: &Value) -> Option<(bool, Event)> {
    let benign = match facts::word(evidence, "verdict")? {
        "benign" => true,
        "attack" => false,
        _ => return None,
    };
    Some((benign, serde_json::from_value(evidence["judged"].clone()).ok()?))
}
