//! Where the events of a stream end (server-sent events, WHATWG HTML, section 9.2), without a copy where it can be.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// Most bytes of an event that is held until it is whole; a larger one passes unread.
const MAX_EVENT: usize = 1024 * 1024;

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// One whole event with the blank line that ends it.
    Event(Bytes),
    /// A part of an event that is too large.
    Part {
        /// The bytes as they came.
        bytes: Bytes,
        /// Whether the event begins with it.
        begins: bool,
        /// Whether the event ends with it.
        ends: bool,
    },
}

impl Piece {
    /// The bytes as they came.
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Event(bytes) | Self::Part { bytes, .. } => bytes,
        }
    }

    /// Hands the bytes on.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Event(bytes) | Self::Part { bytes, .. } => bytes,
        }
    }
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// The beginning of an event.
    held: BytesMut,
    /// Whether something stands in the line so far.
    line_has_text: bool,
    /// Whether the last byte was a CR, which ended a line: an LF after it belongs to it.
    after_cr: bool,
    /// Whether something stands in the event so far: blank lines between events are no events.
    event_has_text: bool,
    /// Whether the event is too large to be held.
    is_large: bool,
    /// Whether the event ended with a CR, to which an LF may belong that has not come yet.
    expects_line_feed: bool,
}

impl Scanner {
    /// Takes in what has come; returns the events that are whole now.
    pub(super) fn push(&mut self, mut chunk: Bytes) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(end) = self.event_end(&chunk) {
            let last = chunk.split_to(end);
            let piece = self.take(last);
            pieces.push(if std::mem::take(&mut self.is_large) {
                Piece::Part { bytes: piece, begins: false, ends: true }
            } else {
                Piece::Event(piece)
            });
        }
        if self.is_large || self.held.len() + chunk.len() > MAX_EVENT {
            let begins = !std::mem::replace(&mut self.is_large, true);
            let bytes = self.take(chunk);
            if !bytes.is_empty() {
                pieces.push(Piece::Part { bytes, begins, ends: false });
            }
        } else {
            self.held.extend_from_slice(&chunk);
        }
        pieces
    }

    /// Whether an event that is too large to be held has gone on in part.
    pub(super) fn is_within_large(&self) -> bool {
        self.is_large
    }

    /// What is held of an event that never ended.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        let rest = self.held.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }

    /// What is held, with what follows it.
    fn take(&mut self, last: Bytes) -> Bytes {
        if self.held.is_empty() {
            return last;
        }
        self.held.extend_from_slice(&last);
        self.held.split().freeze()
    }

    /// How many bytes of `chunk` belong to the event that has begun; `None` where it does not end in it.
    fn event_end(&mut self, chunk: &[u8]) -> Option<usize> {
        if !chunk.is_empty() && std::mem::take(&mut self.expects_line_feed) {
            self.after_cr = false;
            return Some(usize::from(chunk[0] == b'\n'));
        }
        let mut done = 0;
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &chunk[done..]) {
            let at = done + found;
            if found > 0 {
                (self.line_has_text, self.event_has_text, self.after_cr) = (true, true, false);
            }
            done = at + 1;
            if chunk[at] == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = chunk[at] == b'\r';
            let is_blank = !std::mem::take(&mut self.line_has_text);
            if is_blank && std::mem::take(&mut self.event_has_text) {
                return self.with_line_feed(chunk, done);
            }
        }
        if done < chunk.len() {
            (self.line_has_text, self.event_has_text, self.after_cr) = (true, true, false);
        }
        None
    }

    /// The end of an event, behind the LF that belongs to its last CR; `None` where that may still come.
    fn with_line_feed(&mut self, chunk: &[u8], end: usize) -> Option<usize> {
        if !std::mem::take(&mut self.after_cr) {
            return Some(end);
        }
        self.expects_line_feed = end == chunk.len();
        (!self.expects_line_feed).then(|| end + usize::from(chunk[end] == b'\n'))
    }
}

/// The name of an event, empty where it has none, and its data; `None` where it has no data.
pub(super) fn fields(event: &[u8]) -> (Cow<'_, str>, Option<Cow<'_, [u8]>>) {
    let mut name = Cow::Borrowed("");
    let mut data: Option<Cow<'_, [u8]>> = None;
    // A stream may begin with a mark of its byte order.
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if let Some(value) = value_of(line, b"data") {
            match &mut data {
                None => data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            }
        } else if let Some(value) = value_of(line, b"event") {
            name = String::from_utf8_lossy(value);
        }
    }
    (name, data)
}

/// The value of a line that has this field; one blank behind the colon is no part of it.
fn value_of<'l>(line: &'l [u8], field: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(field)?.strip_prefix(b":")?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_whole_events_is_handed_on_without_a_copy() {
        let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let pieces = Scanner::default().push(chunk.clone());
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0].bytes().as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn an_event_has_a_name_and_the_lines_of_its_data() {
        let (name, data) = fields(b"id: 7\r\nevent: delta\r\ndata: a\r\ndata:b\r\n\r\n");
        assert_eq!((name.as_ref(), data.unwrap().as_ref()), ("delta", b"a\nb".as_slice()));
        assert_eq!(fields(b": a comment\n\n").1, None);
        assert_eq!(fields(b"\xef\xbb\xbfevent: delta\n\n").0, "delta");
    }
}
