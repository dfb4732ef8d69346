//! Texts, lists and numbers as Kafka's protocol has them (its "non-flexible" encoding: lengths are fixed-size numbers).
//!
//! An answer may be anything, so counts and lengths in it are checked against what is left of it: never is memory set
//! aside for what an answer only announces.

use bytes::{Buf, BufMut};

/// A response is not what its kind and version say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read")]
pub(super) struct MalformedResponse;

/// Reads what has arrived.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, MalformedResponse> {
        self.0.try_get_i16().map_err(|_| MalformedResponse)
    }

    pub(super) fn i32(&mut self) -> Result<i32, MalformedResponse> {
        self.0.try_get_i32().map_err(|_| MalformedResponse)
    }

    pub(super) fn i64(&mut self) -> Result<i64, MalformedResponse> {
        self.0.try_get_i64().map_err(|_| MalformedResponse)
    }

    /// Passes over a truth value.
    pub(super) fn flag(&mut self) -> Result<(), MalformedResponse> {
        self.0.try_get_u8().map(drop).map_err(|_| MalformedResponse)
    }

    /// A text, which may be absent.
    pub(super) fn text(&mut self) -> Result<Option<&'a str>, MalformedResponse> {
        let length = self.i16()?;
        self.piece(length.into())?
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| MalformedResponse))
            .transpose()
    }

    /// Bytes, which may be absent.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, MalformedResponse> {
        let length = self.i32()?;
        self.piece(length)
    }

    /// A list; one that is absent is empty.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, MalformedResponse>,
    ) -> Result<Vec<T>, MalformedResponse> {
        let count = self.i32()?;
        // It grows with what is read: more items than there are bytes for end in an error.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// What is left must be nothing.
    pub(super) fn end(self) -> Result<(), MalformedResponse> {
        if self.0.is_empty() { Ok(()) } else { Err(MalformedResponse) }
    }

    fn piece(&mut self, length: i32) -> Result<Option<&'a [u8]>, MalformedResponse> {
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| MalformedResponse)?;
        let (piece, rest) = self.0.split_at_checked(length).ok_or(MalformedResponse)?;
        self.0 = rest;
        Ok(Some(piece))
    }
}

/// Appends a text of at most 32,767 bytes; what goes beyond is left out.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(i16::MAX as usize)];
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

/// Appends a number as records have it: 7 bits a byte, the sign in the lowest bit.
pub(super) fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest > 0x7f {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end_and_nothing_set_aside_for_a_count() {
        let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(reader.list(Reader::i16), Err(MalformedResponse));
        assert_eq!(Reader::new(&[0x7f, 0xff, b'a']).text(), Err(MalformedResponse));
        assert_eq!(Reader::new(&[0xff, 0xfe]).text(), Err(MalformedResponse));
        assert_eq!(Reader::new(&[0, 1, 0xff]).text(), Err(MalformedResponse));
        assert_eq!(Reader::new(&[0xff, 0xff]).text(), Ok(None));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1, 2, 3]).bytes(), Ok(Some(&[1, 2][..])));
        assert_eq!(Reader::new(&[0]).end(), Err(MalformedResponse));
    }

    /// Of the Protocol Buffers' documentation on zigzag numbers, and the ends of the range.
    #[test]
    fn numbers_in_records_are_zigzag() {
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-2_147_483_648, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
    }
}
