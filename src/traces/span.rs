//! A span, as far as records have use for it.

use std::sync::Arc;

/// The most spans of one export that may be usage: each is kept until the last is read.
pub const MOST_SPANS: usize = 10_000;

/// Why an export of traces is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// It is no such message, and why.
    #[error("the body is no ExportTraceServiceRequest: {0}")]
    Unreadable(String),
    /// It has more spans of servers and of calls of models than [`MOST_SPANS`].
    #[error(
        "the export has more than {} spans that may be usage; have the exporter send smaller batches",
        MOST_SPANS
    )]
    TooMany,
}

/// What an attribute says, as far as records take it.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// What was sent as text.
    Text(String),
    /// What was sent as a whole number, below 0 or not.
    Whole(i64),
    /// What was sent as another number.
    Number(f64),
}

/// The kind of a span by which a server of requests says what it served.
pub(crate) const SERVER: u64 = 2;
/// The code of a status that says that it failed.
pub(crate) const FAILED: u64 = 2;

/// Names and what they say; the first of a name counts.
pub type Attributes = Vec<(String, Attribute)>;

/// One span, with the attributes of its resource behind its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// Its kind, as a number of the protocol.
    pub kind: u64,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// Whether its status says that it failed.
    pub failed: bool,
    /// What it says of itself, without what its resource says.
    pub attributes: Attributes,
    /// Those of its resource, which all of that share.
    pub of_resource: Arc<Attributes>,
}

impl Span {
    /// What the first of these attributes says that it has.
    pub(crate) fn first(&self, names: &[String]) -> Option<&Attribute> {
        names.iter().find_map(|name| {
            let mut all = self.attributes.iter().chain(&*self.of_resource);
            let found = all.find(|(known, _)| known == name);
            found.map(|(_, attribute)| attribute).filter(|attribute| !attribute.is_empty())
        })
    }

    /// Whether it is one that can be usage: of a server, or of a call of a model. Its own attributes say that.
    pub(crate) fn is_usage(&self) -> bool {
        self.kind == SERVER || self.attributes.iter().any(|(name, _)| name.starts_with("gen_ai."))
    }
}

impl Attribute {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// As text, whatever it is.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }

    /// As a whole number that is not below 0, also where it was sent as text.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(number) => u64::try_from(*number).ok(),
            Self::Number(number) if *number >= 0.0 => Some(number.round() as u64),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(_) => None,
        }
    }
}
