//! What every list has: items, newest first, and an opaque cursor to the next page.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::domain::Millis;

/// A page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// Where a page of things that are sorted by time (newest first), then by name, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Time of the last item.
    pub time: Millis,
    /// Name of the last item.
    pub name: String,
}

impl Cursor {
    /// As text that tells nobody what it means.
    pub(crate) fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{} {}", self.time, self.name))
    }

    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// For any other text.
    pub(super) fn decode(text: &str) -> Result<Self, ApiError> {
        let read = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
            let (time, name) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
            Some(Self { time: time.parse().ok()?, name: name.to_owned() })
        };
        read().ok_or_else(|| ApiError::field("/cursor", "is not one that this service gave out"))
    }

    /// Whether an item belongs after this cursor.
    pub(super) fn precedes(&self, time: Millis, name: &str) -> bool {
        (std::cmp::Reverse(time), name) > (std::cmp::Reverse(self.time), self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_others_are_refused() {
        let cursor = Cursor { time: 1_772_442_802_123, name: "key:k1:9f 2c".to_owned() };
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        for bad in ["x", "", "!!!", "MTIz"] {
            assert!(Cursor::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_neither_overlap_nor_leave_out() {
        let cursor = Cursor { time: 5, name: "key:b".to_owned() };
        assert!(cursor.precedes(5, "key:c") && cursor.precedes(4, "key:a"));
        assert!(!cursor.precedes(5, "key:b") && !cursor.precedes(5, "key:a") && !cursor.precedes(6, "key:z"));
    }
}
