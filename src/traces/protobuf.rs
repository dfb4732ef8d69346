//! An export of traces in protobuf (opentelemetry-proto, `ExportTraceServiceRequest`), of which only what records need
//! is read. Unknown fields are passed over, as the encoding has it.

use std::sync::Arc;

use super::span::{Attribute, Attributes, FAILED, MOST_SPANS, Span, Untaken};

/// A field: its number, and what it holds.
enum Field<'b> {
    /// A number of variable length.
    Varint(u64),
    /// A number of eight bytes, the lowest first.
    Fixed64(u64),
    /// A message, a text or bytes.
    Bytes(&'b [u8]),
    /// Four bytes, which nothing that is read here has.
    Fixed32,
}

/// The fields of a message, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn varint(&mut self) -> Result<u64, Untaken> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(cut_off)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Untaken::Unreadable("a number has more than ten bytes".to_owned()))
    }

    fn take(&mut self, length: u64) -> Result<&'b [u8], Untaken> {
        let length = usize::try_from(length).map_err(|_| cut_off())?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Field<'b>)>, Untaken> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(
                self.take(8)?.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)),
            ),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed32)?,
            _ => return Err(Untaken::Unreadable("a field is of no known kind".to_owned())),
        };
        Ok(Some((tag >> 3, field)))
    }

    /// Calls `see` with each message, text or bytes of a number.
    fn each(self, number: u64, mut see: impl FnMut(&'b [u8]) -> Result<(), Untaken>) -> Result<(), Untaken> {
        let mut fields = self;
        while let Some((found, field)) = fields.next()? {
            if let (true, Field::Bytes(bytes)) = (found == number, field) {
                see(bytes)?;
            }
        }
        Ok(())
    }
}

fn cut_off() -> Untaken {
    Untaken::Unreadable("it ends in the middle of a field".to_owned())
}

/// Reads the spans of an export that can be usage.
///
/// # Errors
/// [`Untaken`]: it is no such message, or too large a one.
pub fn read(body: &[u8]) -> Result<Vec<Span>, Untaken> {
    let mut spans = Vec::new();
    Fields(body).each(1, |of_resource| {
        let mut shared = Vec::new();
        Fields(of_resource)
            .each(1, |resource| Fields(resource).each(1, |pair| attribute(pair, &mut shared)))?;
        let shared = Arc::new(shared);
        Fields(of_resource).each(2, |of_scope| {
            Fields(of_scope).each(2, |bytes| {
                let span = Span { of_resource: shared.clone(), ..span(bytes)? };
                spans.extend(Some(span).filter(Span::is_usage));
                if spans.len() > MOST_SPANS { Err(Untaken::TooMany) } else { Ok(()) }
            })
        })
    })?;
    Ok(spans)
}

fn span(bytes: &[u8]) -> Result<Span, Untaken> {
    let (mut span, mut fields) = (Span::default(), Fields(bytes));
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Bytes(id)) => span.id = hex::encode(id),
            (6, Field::Varint(kind)) => span.kind = kind,
            (7, Field::Fixed64(time)) => span.start = time,
            (8, Field::Fixed64(time)) => span.end = time,
            (9, Field::Bytes(pair)) => attribute(pair, &mut span.attributes)?,
            (15, Field::Bytes(status)) => span.failed = has_failed(status)?,
            _ => {}
        }
    }
    Ok(span)
}

fn has_failed(status: &[u8]) -> Result<bool, Untaken> {
    let (mut failed, mut fields) = (false, Fields(status));
    while let Some((number, field)) = fields.next()? {
        if let (3, Field::Varint(code)) = (number, field) {
            failed = code == FAILED;
        }
    }
    Ok(failed)
}

/// A name and its value; one of a kind that records have no use for is left out.
fn attribute(pair: &[u8], into: &mut Attributes) -> Result<(), Untaken> {
    let (mut name, mut value, mut fields) = (String::new(), None, Fields(pair));
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
            (2, Field::Bytes(any)) => value = any_value(any)?,
            _ => {}
        }
    }
    into.extend(value.map(|value| (name, value)));
    Ok(())
}

fn any_value(bytes: &[u8]) -> Result<Option<Attribute>, Untaken> {
    let (mut value, mut fields) = (None, Fields(bytes));
    while let Some((number, field)) = fields.next()? {
        value = match (number, field) {
            (1, Field::Bytes(text)) => Some(Attribute::Text(String::from_utf8_lossy(text).into_owned())),
            (3, Field::Varint(number)) => Some(Attribute::Whole(number.cast_signed())),
            (4, Field::Fixed64(bits)) => Some(Attribute::Number(f64::from_bits(bits))),
            _ => value,
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![(number << 3) | 2];
        let mut length = content.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(content);
        out
    }

    fn text(name: &str, value: &str) -> Vec<u8> {
        [bytes(1, name.as_bytes()), bytes(2, &bytes(1, value.as_bytes()))].concat()
    }

    fn whole(name: &str, value: u8) -> Vec<u8> {
        [bytes(1, name.as_bytes()), bytes(2, &[3 << 3, value])].concat()
    }

    fn export() -> Vec<u8> {
        let time = |number: u8, nanos: u64| [vec![(number << 3) | 1], nanos.to_le_bytes().to_vec()].concat();
        let span = [
            bytes(1, &[1; 16]),
            bytes(2, &[0xab; 8]),
            bytes(5, b"POST /v1/chat"),
            vec![6 << 3, 2],
            time(7, 1_772_442_802_123_000_000),
            time(8, 1_772_442_802_963_500_000),
            bytes(9, &text("url.path", "/v1/chat")),
            bytes(9, &whole("gen_ai.usage.input_tokens", 120)),
            // A list, and a field of four bytes that nobody knows.
            bytes(9, &[bytes(1, b"list"), bytes(2, &bytes(5, &[]))].concat()),
            vec![0x85, 0x01, 0, 0, 0, 0],
            bytes(15, &[3 << 3, 2]),
        ]
        .concat();
        let resource = bytes(1, &bytes(1, &text("keyward.project_id", "analytics")));
        bytes(1, &[resource, bytes(2, &bytes(2, &span))].concat())
    }

    #[test]
    fn a_span_is_read_with_the_attributes_of_its_resource() {
        let spans = read(&export()).unwrap();
        let texts = |name: &str, value: &str| (name.to_owned(), Attribute::Text(value.to_owned()));
        assert_eq!(
            spans,
            [Span {
                id: "abababababababab".to_owned(),
                kind: 2,
                start: 1_772_442_802_123_000_000,
                end: 1_772_442_802_963_500_000,
                failed: true,
                attributes: vec![
                    texts("url.path", "/v1/chat"),
                    ("gen_ai.usage.input_tokens".to_owned(), Attribute::Whole(120)),
                ],
                of_resource: Arc::new(vec![texts("keyward.project_id", "analytics")]),
            }]
        );
        assert_eq!(read(&[]), Ok(vec![]));
    }

    #[test]
    fn spans_share_what_is_of_their_resource_and_those_that_cannot_be_usage_are_not_kept() {
        let shared = bytes(1, &bytes(1, &text("keyward.project_id", &"x".repeat(10_000))));
        let export = |spans: Vec<u8>| bytes(1, &[shared.clone(), bytes(2, &spans)].concat());
        let (of_server, internal) = (bytes(2, &[6 << 3, 2]), bytes(2, &[6 << 3, 1]));
        let call = bytes(2, &bytes(9, &whole("gen_ai.usage.input_tokens", 1)));
        let spans = read(&export([of_server.clone(), internal.repeat(50_000), call].concat())).unwrap();
        assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 0]);
        assert!(Arc::ptr_eq(&spans[0].of_resource, &spans[1].of_resource));
        assert_eq!(read(&export(of_server.repeat(MOST_SPANS))).unwrap().len(), MOST_SPANS);
        assert_eq!(read(&export(of_server.repeat(MOST_SPANS + 1))), Err(Untaken::TooMany));
    }

    /// Written by the protocol's own library for Python, with links, events, flags and attributes of every kind.
    #[test]
    fn what_the_protocols_own_library_writes_is_read() {
        let spans = read(include_bytes!("../../tests/golden/traces/export.bin")).unwrap();
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((span.id.as_str(), span.kind, span.failed), ("cdcdcdcdcdcdcdcd", 2, true));
        assert_eq!(span.end - span.start, 840_500_000);
        let of = |name: &str| span.first(&[name.to_owned()]).cloned();
        assert_eq!(of("url.path"), Some(Attribute::Text("/v1/chat".to_owned())));
        assert_eq!(of("gen_ai.usage.output_tokens"), Some(Attribute::Whole(1_200_000)));
        assert_eq!(of("neg"), Some(Attribute::Whole(-5)));
        assert_eq!(of("d"), Some(Attribute::Number(1.5)));
        assert_eq!(of("keyward.project_id"), Some(Attribute::Text("analytics".to_owned())));
        assert_eq!(of("x"), None, "a list");
    }

    #[test]
    fn what_is_cut_off_or_no_protobuf_is_an_error_and_never_a_panic() {
        let export = export();
        for end in 1..export.len() {
            assert!(read(&export[..end]).is_err(), "cut off at {end}");
        }
        for bad in [&b"{\"resourceSpans\":[]}"[..], &[0x0b], &[0x08, 0xff, 0xff], &[0xff; 20]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
