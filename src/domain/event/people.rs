//! What is told of what people do, beside bans.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{entry::Event, evidence::Details, kind::EventType};
use crate::domain::actor::Actor;

/// The policy, an allowlist entry, a plan, project or key, or a token was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PolicyChanged {
    /// The store had lost a document, and an instance that knew it wrote it again.
    Restored {
        /// What it is: `policy`, `allowlist`, `plan`, `project`, `key` or `token`.
        document: String,
        /// Its name within its kind.
        name: String,
        /// Why it was written.
        reason: String,
    },
    /// A person put another policy in force.
    Policy {
        /// The version that is in force now.
        version: String,
        /// The version that was in force before.
        former_version: String,
        /// Each setting that differs, by its path, with `before` and `after`.
        #[serde(default)]
        changes: Map<String, Value>,
        /// Who acted; absent in a log from before this was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
    /// A person wrote or deleted an entry of the allowlist.
    Allowlist {
        /// The entry, such as `pair:SG~RO`.
        allowlist: String,
        /// Its body; null: it was deleted.
        #[serde(default)]
        entry: Value,
        /// Who acted; absent in a log from before this was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
    /// A person wrote or deleted a plan, project or key, or made or revoked a token.
    Registry {
        /// What it is: `plan`, `project`, `key` or `token`.
        document: String,
        /// Its name; of a key, its id.
        name: String,
        /// What was in force before; null: there was none.
        #[serde(default)]
        before: Value,
        /// What is in force now; null: it was deleted.
        #[serde(default)]
        after: Value,
        /// Who acted; absent in a log from before this was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
    },
}

impl Details for PolicyChanged {
    const TYPES: &'static [EventType] = &[EventType::PolicyChanged];
}

/// What an event was, in an analyst's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was nothing.
    Benign,
    /// It was an attack.
    Attack,
}

impl Verdict {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Attack => "attack",
        }
    }
}

/// An analyst's word. It holds the event that it is about, so that it can be carried out again where that event has
/// another id, or was never made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedbackGiven {
    /// Id of the event that it is about.
    pub event: String,
    /// What the event was.
    pub verdict: Verdict,
    /// Why the analyst thinks so; empty where nothing was said.
    #[serde(default)]
    pub note: String,
    /// Whose word it is; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// The event that it is about, as it was logged.
    pub judged: Event,
}

impl FeedbackGiven {
    /// A word about an event. Of an event that is itself such a word, what that is about is left out, or each would
    /// hold every word before it.
    pub fn new(mut judged: Event, verdict: Verdict, note: &str, by: &Actor) -> Self {
        if let Some(members) = judged.evidence.0.as_object_mut() {
            members.remove("judged");
        }
        let (event, note) = (judged.id.clone(), note.to_owned());
        Self { event, verdict, note, by: Some(by.clone()), judged }
    }
}

impl Details for FeedbackGiven {
    const TYPES: &'static [EventType] = &[EventType::FeedbackGiven];
}

/// What was known about a subject was deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectForgotten {
    /// Why it was deleted.
    pub reason: String,
    /// Who acted; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl Details for SubjectForgotten {
    const TYPES: &'static [EventType] = &[EventType::SubjectForgotten];
}

/// What is to be done with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterAct {
    /// They are sent again, and are done with once the sink takes them.
    Redeliver,
    /// They are given up and deleted.
    Discard,
}

/// Dead letters of a sink are sent again, or were given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLettersChanged {
    /// What happened, in a sentence.
    pub summary: String,
    /// The name of the sink.
    pub sink: String,
    /// What was done with them.
    pub act: DeadLetterAct,
    /// How many they are.
    pub count: usize,
    /// The ids of the events, at most 100.
    pub events: Vec<String>,
    /// Who acted; absent in a log from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl Details for DeadLettersChanged {
    const TYPES: &'static [EventType] = &[EventType::DeadLettersChanged];
}

/// A sink was tried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkTest {
    /// What it is, in a sentence.
    pub summary: String,
    /// Who tried it.
    pub by: Actor,
}

impl Details for SinkTest {
    const TYPES: &'static [EventType] = &[EventType::SinkTest];
}
