//! Security events as SIEMs read them: one file per format, each a pure function of the event.
//!
//! Whatever is in an event, a rendering is exactly one line: control characters, line and paragraph separators and
//! characters that reorder text are escaped where the format can, and are spaces where it cannot. Field by field, with
//! what was checked against which specification: `docs/siem-formats.md`.
//!
//! Not here: how lines are framed and sent. Only [`syslog`] is half of a transport: the header of RFC 5424.

mod cef;
mod ecs;
pub(super) mod facts;
mod json;
mod leef;
mod ocsf;
mod product;
pub mod syslog;
pub(super) mod text;
pub(super) mod wording;

#[cfg(test)]
mod tests;

pub use json::line as json_line;

use serde::{Deserialize, Serialize};

use crate::domain::event::{Event, EventEvidence};

/// A format that SIEMs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The event as the API shows it.
    Json,
    /// Open Cybersecurity Schema Framework 1.8.0.
    Ocsf,
    /// Elastic Common Schema 9.4.0.
    Ecs,
    /// ArcSight Common Event Format, version 0.
    Cef,
    /// QRadar Log Event Extended Format, version 2.0.
    Leef,
}

/// How many bytes of JSON the evidence of an event is.
pub fn evidence_bytes(event: &Event) -> usize {
    json::line(event.evidence.as_json()).len()
}

/// The event with no more of its evidence than fits into `most` bytes of JSON, beside `"truncated": true`: for sinks
/// whose messages may not be longer. The whole event is in the log, under the same id.
pub fn with_less_evidence(event: &Event, most: usize) -> Event {
    let (part, _) = facts::evidence(event, most);
    Event { evidence: EventEvidence::truncated(part), ..event.clone() }
}

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: &'static [Self] = &[Self::Json, Self::Ocsf, Self::Ecs, Self::Cef, Self::Leef];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Cef => "cef",
            Self::Leef => "leef",
        }
    }

    /// The media type of one rendering.
    pub fn content_type(self) -> &'static str {
        if self.is_json() { "application/json" } else { "text/plain; charset=utf-8" }
    }

    /// Whether a rendering is a JSON object. Those are pure ASCII.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Ocsf | Self::Ecs)
    }

    /// Appends the event as one line, without a line break.
    pub fn render(self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::write(event, out),
            Self::Ocsf => json::write(&ocsf::value(event), out),
            Self::Ecs => json::write(&ecs::value(event), out),
            Self::Cef => cef::render(event, out),
            Self::Leef => leef::render(event, out),
        }
    }
}
