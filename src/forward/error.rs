//! Why a batch was not delivered, as the sender must know it: what to do next, and what people are told.

use std::{error::Error, fmt, time::Duration};

use crate::outbound::OutboundError;

type Source = Box<dyn Error + Send + Sync>;

/// What follows when a batch was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The receiver was not reached, or the connection broke: the same batch again later.
    Unreachable,
    /// The receiver asked for patience: the same batch again later.
    Busy {
        /// How long the receiver asked to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// The receiver failed by itself. What is in the batch may be the reason.
    Broken,
    /// The receiver does not let us in, or is not what the settings say: somebody must correct the settings.
    Denied,
    /// The receiver will never take this batch as it is.
    Refused,
}

impl SendErrorKind {
    /// Whether one event of the batch may be the reason.
    pub fn may_be_about_the_event(self) -> bool {
        matches!(self, Self::Broken | Self::Unreachable | Self::Denied)
    }

    /// How long the receiver asked to be left alone, if it did.
    pub fn retry_after(self) -> Option<Duration> {
        if let Self::Busy { retry_after } = self { retry_after } else { None }
    }
}

/// Why nothing of a batch is known to have been taken.
///
/// Its text is one line: our own words first, then the receiver's, then the errors that led to it.
#[derive(Debug)]
pub struct SendError {
    /// What follows from it.
    pub kind: SendErrorKind,
    summary: String,
    detail: String,
    source: Option<Source>,
}

impl SendError {
    /// An error in our own words.
    pub fn new(kind: SendErrorKind, summary: impl Into<String>) -> Self {
        Self { kind, summary: summary.into(), detail: String::new(), source: None }
    }

    /// The receiver was not reached: [`SendErrorKind::Unreachable`].
    pub fn unreachable(summary: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Unreachable, summary)
    }

    /// [`SendErrorKind::Busy`] without a time.
    pub fn busy(summary: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Busy { retry_after: None }, summary)
    }

    /// The receiver failed by itself: [`SendErrorKind::Broken`].
    pub fn broken(summary: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Broken, summary)
    }

    /// Somebody must correct the settings: [`SendErrorKind::Denied`].
    pub fn denied(summary: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Denied, summary)
    }

    /// The batch will never be taken: [`SendErrorKind::Refused`].
    pub fn refused(summary: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Refused, summary)
    }

    /// The batch took longer than `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::unreachable(format!("no answer within {} s", limit.as_secs()))
    }

    /// The same error with more words: the receiver's own, or a hint. They are left out of [`SendError::summary`].
    pub fn detail(mut self, text: impl AsRef<str>) -> Self {
        self.detail = joined(&self.detail, text.as_ref());
        self
    }

    /// The same error with the error that led to it.
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with what it is about in front.
    pub fn about(self, what: impl Into<String>) -> Self {
        let detail = joined(&self.summary, &self.detail);
        Self { summary: what.into(), detail, ..self }
    }

    /// Our own words: nothing that the receiver said.
    pub fn summary(&self) -> String {
        match &self.source {
            Some(source) if self.summary.is_empty() => source.to_string(),
            _ => self.summary.clone(),
        }
    }
}

fn joined(first: &str, second: &str) -> String {
    let parts = [first, second].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = joined(&self.summary, &self.detail);
        let mut source = self.source();
        while let Some(cause) = source {
            text = joined(&text, &cause.to_string());
            source = cause.source();
        }
        f.write_str(&text)
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

impl From<OutboundError> for SendError {
    fn from(error: OutboundError) -> Self {
        let kind = match error {
            OutboundError::NotAllowed(_) | OutboundError::NotTrusted(_) => SendErrorKind::Denied,
            _ => SendErrorKind::Unreachable,
        };
        Self::new(kind, "").because(error)
    }
}

/// What is wrong with a sink, as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Our own words, for readers who need no token.
    pub summary: String,
    /// Everything, with what the receiver said.
    pub text: String,
}

impl Problem {
    /// A problem in our own words.
    pub fn new(summary: impl Into<String>) -> Self {
        let summary = summary.into();
        Self { text: summary.clone(), summary }
    }

    /// A problem in our own words, and what to do about it.
    pub fn with_hint(summary: &str, hint: &str) -> Self {
        Self { summary: summary.to_owned(), text: format!("{summary}: {hint}") }
    }

    /// A problem in our own words, and the error that led to it.
    pub fn because(summary: &str, error: &dyn Error) -> Self {
        Self { summary: summary.to_owned(), text: format!("{summary}: {error}") }
    }
}

impl From<&SendError> for Problem {
    fn from(error: &SendError) -> Self {
        Self { summary: error.summary(), text: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_keeps_what_led_to_it() {
        let host = "siem.example".to_owned();
        let error: SendError =
            OutboundError::NotFound { host, source: io::Error::other("no such name") }.into();
        assert_eq!(error.to_string(), "siem.example is not found: no such name");
        assert_eq!(error.summary(), "siem.example is not found");
        let error = error.about("broker 1");
        assert_eq!(error.to_string(), "broker 1: siem.example is not found: no such name");
        assert_eq!((error.kind, error.summary().as_str()), (SendErrorKind::Unreachable, "broker 1"));
        assert!(error.source().is_some_and(|source| source.is::<OutboundError>()));
    }

    #[test]
    fn what_the_receiver_said_is_not_in_the_summary() {
        let error = SendError::refused("answered 400").detail("bad token t0k3n").detail("correct it");
        assert_eq!(error.to_string(), "answered 400: bad token t0k3n: correct it");
        assert_eq!(error.summary(), "answered 400");
    }
}
