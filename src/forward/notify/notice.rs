//! What a channel sends: a notice about one group of events, or about all that had to be held back.

use serde::{Deserialize, Serialize};

use super::rule::{EndReason, Restriction, dedup_key, rule};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::format::{facts, text::one_line, wording},
};

/// Most characters of a sample's sentence.
const MAX_SENTENCE: usize = 300;
/// Most characters of each other text of a sample.
const MAX_WORD: usize = 128;

/// What a notice says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The group has begun.
    Firing,
    /// The group goes on, or got worse.
    Update,
    /// Somebody has said that it is an attack.
    Acknowledged,
    /// The group is over.
    Resolved,
    /// Notices about several groups had to wait and are sent as one.
    HeldBack,
}

impl NoticeKind {
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
pub struct EventSample {
    /// When the event was, in milliseconds since 1970.
    pub time: Millis,
    /// As in the log, so that filters by type hold for notices too.
    pub kind: EventType,
    /// The severity of the event.
    pub severity: Severity,
    /// The event in one sentence.
    pub message: String,
    /// The key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The project that the evidence names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The source address of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The city and the country that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The response of the ladder, such as `temporary_ban`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether the policy only observed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unenforced: bool,
    /// The id of the event in the log.
    pub event: String,
}

impl EventSample {
    /// A sample of an event.
    pub fn of(event: &Event) -> Self {
        let word = |text: &Option<String>| facts::present(text).map(|text| one_line(text, MAX_WORD));
        let place = event.place.as_ref().map(|place| {
            let parts: Vec<&str> =
                [&place.city, &place.country].into_iter().flatten().map(String::as_str).collect();
            one_line(&parts.join(", "), MAX_WORD)
        });
        Self {
            time: event.time,
            kind: event.kind,
            severity: event.severity,
            message: one_line(&wording::message(event), MAX_SENTENCE),
            key_id: word(&event.key_id),
            project: event.evidence.project().map(|text| one_line(text, MAX_WORD)),
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
    /// What the notice says of its group.
    pub kind: NoticeKind,
    /// The key of the group: the same as long as rule and subject are, at most 255 bytes.
    pub dedup_key: String,
    /// What found it: a detector, or the type of the events in lower case.
    pub rule: String,
    /// What its worst event is called.
    pub title: &'static str,
    /// About whom; `None` for the service itself, and for many.
    pub subject: Option<Subject>,
    /// The worst so far.
    pub severity: Severity,
    /// The worst severity as the last notice had it; `None` if this is the first.
    pub notified_severity: Option<Severity>,
    /// Events that no earlier notice has counted.
    pub events: u64,
    /// Events since it began.
    pub total: u64,
    /// When the first event was, in milliseconds since 1970.
    pub first: Millis,
    /// When the last event was, in milliseconds since 1970.
    pub last: Millis,
    /// The ban or throttle in force against the subject.
    pub restriction: Option<Restriction>,
    /// Why it is over.
    pub end: Option<EndReason>,
    /// Some of the events, in their order.
    pub samples: Vec<EventSample>,
    /// What was held back: one for each group, the worst first.
    pub parts: Vec<HeldBackGroup>,
}

/// A group whose notice was held back.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldBackGroup {
    /// The group's key: see [`Notice::dedup_key`].
    pub dedup_key: String,
    /// What its worst event is called.
    pub title: &'static str,
    /// Who the group is about; `None` for the service itself.
    pub subject: Option<Subject>,
    /// The worst so far.
    pub severity: Severity,
    /// Events that no notice has counted.
    pub events: u64,
    /// Why it is over, when it is.
    pub end: Option<EndReason>,
}

impl Notice {
    /// About one event, outside of all groups: to see whether a channel works.
    pub fn alone(event: &Event) -> Self {
        let rule = rule(event);
        Self {
            kind: NoticeKind::Firing,
            dedup_key: dedup_key(&rule, event.subject.as_ref()),
            title: wording::event_title(event),
            rule,
            subject: event.subject.clone(),
            severity: event.severity,
            notified_severity: None,
            events: event.count.max(1),
            total: event.count.max(1),
            first: event.time,
            last: event.time,
            restriction: Restriction::of(event),
            end: None,
            samples: vec![EventSample::of(event)],
            parts: Vec::new(),
        }
    }
}
