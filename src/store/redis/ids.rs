//! Ids of events and cursors into their list, as text.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::Value;

use crate::{domain::event::Event, store::StoreError};

/// First byte of a cursor, so that few accidental texts are one.
const MARK: u8 = b'e';

/// An entry of a stream: its id and the event, `None` where this version cannot read it.
pub(super) type Entry = (EventId, Option<Event>);

/// `e<partition>-<ms>-<seq>`: the partition and its stream's own id, so that it needs no index.
/// Ordered as the log is: by time of appending, then by number, then by partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventId {
    /// When it was appended, by the server's clock, ms.
    pub ms: u64,
    /// Its number among the entries of that millisecond, from 0.
    pub seq: u64,
    /// The partition in whose stream it is.
    pub partition: u16,
}

impl EventId {
    /// Of an entry `<ms>-<seq>` of the stream of `partition`.
    pub(super) fn from_stream(partition: u16, id: &Value) -> Option<Self> {
        let text = match id {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::SimpleString(text) => text,
            _ => return None,
        };
        let (ms, seq) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, seq: seq.parse().ok()?, partition })
    }

    /// The id within the stream.
    pub(super) fn in_stream(&self) -> String {
        format!("{}-{}", self.ms, self.seq)
    }

    /// A cursor that continues behind this entry.
    pub(super) fn to_cursor(self) -> String {
        let mut bytes = vec![MARK];
        bytes.extend(self.ms.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.partition.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`EventId::to_cursor`] wrote.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] for any other text.
    pub(super) fn from_cursor(cursor: &str) -> Result<Self, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::BadCursor)?;
        let rest = bytes.strip_prefix(&[MARK]).ok_or(StoreError::BadCursor)?;
        let (ms, rest) = rest.split_first_chunk::<8>().ok_or(StoreError::BadCursor)?;
        let (seq, rest) = rest.split_first_chunk::<8>().ok_or(StoreError::BadCursor)?;
        let partition: [u8; 2] = rest.try_into().map_err(|_| StoreError::BadCursor)?;
        Ok(Self {
            ms: u64::from_be_bytes(*ms),
            seq: u64::from_be_bytes(*seq),
            partition: u16::from_be_bytes(partition),
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}-{}-{}", self.partition, self.ms, self.seq)
    }
}

impl FromStr for EventId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let mut parts = text.strip_prefix('e').ok_or(StoreError::BadCursor)?.splitn(3, '-');
        let mut part = || parts.next().ok_or(StoreError::BadCursor);
        let id = Self {
            partition: part()?.parse().map_err(|_| StoreError::BadCursor)?,
            ms: part()?.parse().map_err(|_| StoreError::BadCursor)?,
            seq: part()?.parse().map_err(|_| StoreError::BadCursor)?,
        };
        // One entry, one id: `e0-1-01` is not another name of `e0-1-1`.
        if id.to_string() == text { Ok(id) } else { Err(StoreError::BadCursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_cursors_lead_back_to_themselves() {
        let id = EventId { ms: 1_700_000_000_000, seq: 3, partition: 7 };
        assert_eq!(id.to_string(), "e7-1700000000000-3");
        assert_eq!("e7-1700000000000-3".parse::<EventId>().unwrap(), id);
        assert_eq!(EventId::from_cursor(&id.to_cursor()).unwrap(), id);
    }

    #[test]
    fn garbage_is_no_id_and_no_cursor() {
        for text in ["", "e", "e1-2", "x1-2-3", "e1-2-3-4", "e70000-1-1", "e1-a-3"] {
            assert!(matches!(text.parse::<EventId>(), Err(StoreError::BadCursor)), "{text}");
        }
        for text in ["", "!", "AAAA", &"A".repeat(30)] {
            assert!(matches!(EventId::from_cursor(text), Err(StoreError::BadCursor)), "{text}");
        }
    }
}
