//! JSON on one line, in pure ASCII.
//!
//! Whatever is not printable ASCII is written as `\u` escapes: so no reader takes U+2028 or U+0085 for the end of a
//! line, no terminal is driven by what an event holds, and syslog needs no byte order mark (RFC 5424, 6.4). Readers of
//! JSON see the same value.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, Value, ser::Formatter};

/// Appends `value` as one line.
pub(super) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let written = value.serialize(&mut Serializer::with_formatter(out, Ascii));
    debug_assert!(
        written.is_ok(),
        "memory takes any number of bytes, and the keys of what is written are strings"
    );
}

/// `value` as one line.
pub fn line<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// `value` without nulls, empty lists and empty objects, at any depth.
pub(super) fn pruned(value: Value) -> Value {
    let hollow = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(items) => items.into_iter().map(pruned).filter(|item| !hollow(item)).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, member)| (name, pruned(member)));
            Value::Object(members.filter(|(_, member)| !hollow(member)).collect())
        }
        other => other,
    }
}

/// Compact, with escapes for everything but printable ASCII.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut start = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| !matches!(c, ' '..='~')) {
            out.write_all(&text.as_bytes()[start..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            start = at + c.len_utf8();
        }
        out.write_all(&text.as_bytes()[start..])
    }
}
