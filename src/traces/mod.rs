//! Spans of OpenTelemetry as usage records: those of HTTP servers and of calls of models (the GenAI conventions).
//!
//! `protobuf` and `json` read what exporters send, each in its form, into spans (`span`); `names` says which attribute
//! is which field of a record, as the settings have it. Spans that cannot be usage are passed over where they are read,
//! so that a large export takes little memory. A span without a key is nobody's usage and is passed over: most
//! of a trace is such. One that has a key and cannot be a record is counted as rejected, with the reason.

mod json;
mod names;
mod protobuf;
mod span;

pub use json::read as read_json;
pub use names::Names;
pub use protobuf::read as read_protobuf;
pub use span::{Attribute, Attributes, MOST_SPANS, Span, Untaken};
