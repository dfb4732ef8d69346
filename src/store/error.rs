//! Why a store could not do what was asked. An error keeps the one that caused it, so nobody has to read its text.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;

/// Why a store could not do what was asked. No message holds a secret, nor does that of any source.
#[derive(Debug, Clone)]
pub enum StoreError {
    /// The store cannot be reached, or is not ready. Another try later may succeed.
    Unavailable(StoreFault),
    /// The store gave no answer within this time. What was asked may have happened all the same.
    Deadline(Duration),
    /// The store answered that it cannot write: memory or disk full, read-only, not allowed.
    Refused(StoreFault),
    /// What is stored is not what this version can read.
    Incompatible(StoreFault),
    /// A cursor or id that this store never gave out.
    BadCursor,
}

/// The answer of a store call, to be waited for.
pub type StoreResult<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

impl StoreError {
    /// Whether the error, or one that caused it, is an `E`.
    pub fn is_caused_by<E: Error + 'static>(&self) -> bool {
        self.cause::<E>().is_some()
    }

    /// The first `E` among the errors that caused this one.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        std::iter::successors(self.source(), |error| (*error).source()).find_map(|error| error.downcast_ref())
    }

    /// Whether the store is away, or was not quick enough, rather than that it answers and cannot do it.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Deadline(_))
    }

    fn fault(&self) -> Option<&StoreFault> {
        match self {
            Self::Unavailable(fault) | Self::Refused(fault) | Self::Incompatible(fault) => Some(fault),
            Self::Deadline(_) | Self::BadCursor => None,
        }
    }
}

/// The files of the store are gone, or others are in their place, while it is open: what is written now is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database {} was removed or replaced while it is open; put it back, or restart the service once the \
     directory is as it should be", .path.display()
)]
pub struct DataGone {
    /// The file that was opened.
    pub path: PathBuf,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(fault) => write!(f, "the store does not answer: {fault}"),
            Self::Deadline(after) => write!(f, "the store does not answer: no answer within {after:?}"),
            Self::Refused(fault) => write!(f, "the store refuses to write: {fault}"),
            Self::Incompatible(fault) => {
                write!(f, "the store holds something this version cannot use: {fault}")
            }
            Self::BadCursor => f.write_str("the cursor is not one that this service gave out"),
        }
    }
}

// By hand: `thiserror` takes a field as the source, and a fault is no error of its own but leads to one.
impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.fault()?.source.as_deref().map(|error| error as _)
    }
}

/// What went wrong, in words, with the error that caused it where there is one. Its text holds the cause's, too.
#[derive(Debug, Clone)]
pub struct StoreFault {
    words: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreFault {
    /// `what` went wrong because of `source`.
    pub fn because(what: impl fmt::Display, source: impl Error + Send + Sync + 'static) -> Self {
        Self { words: format!("{what}: {source}"), source: Some(Arc::new(source)) }
    }

    /// `source` says all there is to say.
    pub fn of(source: impl Error + Send + Sync + 'static) -> Self {
        Self { words: source.to_string(), source: Some(Arc::new(source)) }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<String> for StoreFault {
    fn from(words: String) -> Self {
        Self { words, source: None }
    }
}

impl From<&str> for StoreFault {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_message_says_what_failed_and_why_and_the_cause_is_found_by_its_type() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::Refused(StoreFault::because("cannot write keyward.db", full));
        let text = error.to_string();
        assert!(text.starts_with("the store refuses to write: cannot write keyward.db: "), "{text}");
        assert_eq!(error.cause::<io::Error>().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(error.is_caused_by::<io::Error>() && !error.is_caused_by::<fmt::Error>());
    }

    #[test]
    fn an_error_without_a_cause_has_no_source() {
        let closed = StoreError::Unavailable("the store is closed".into());
        assert!(closed.source().is_none() && !closed.is_caused_by::<io::Error>());
        assert!(StoreError::BadCursor.source().is_none());
    }

    #[test]
    fn a_missed_deadline_says_how_long_was_waited() {
        let late = StoreError::Deadline(Duration::from_millis(40));
        assert_eq!(late.to_string(), "the store does not answer: no answer within 40ms");
    }
}
