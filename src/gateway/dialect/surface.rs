//! What each interface of a provider says about itself.

use std::borrow::Cow;

use serde::Deserialize;

use super::{caps::Caps, usage::Usage};
use crate::gateway::settings::Dialect;

/// One interface of a provider.
pub(in crate::gateway) struct Surface {
    /// The name in metrics.
    pub name: &'static str,
    /// Whose form requests, answers and errors have.
    pub dialect: Dialect,
    /// The path that records name.
    pub endpoint: &'static str,
    /// The path behind the base URL of an upstream.
    pub path: &'static str,
    /// Whether its answers cost anything.
    pub billed: bool,
    /// Whether usage is in a stream only if the request asks for it.
    pub asks_for_usage: bool,
    /// Most tokens of one answer by what the request says; `Some(0)` where an answer has none.
    pub cap: fn(&Caps) -> Option<u64>,
    /// How many answers are asked for, at least 1.
    pub answers: fn(&Caps) -> u64,
    /// What a whole answer says that it used; `None` where it does not.
    pub usage: fn(&[u8]) -> Option<Usage>,
    /// What one event of a stream is: its name, empty where it has none, and its data.
    pub event: fn(&str, &[u8]) -> Event,
    /// Whether an event says no more than that an answer begins: the provider may still fail, and another be asked.
    pub is_preamble: fn(&str, &[u8]) -> bool,
    /// Whether an event is the last of its stream, by its name and the beginning of its data: it is too large to be
    /// held.
    pub is_large_end: fn(&str, &[u8]) -> bool,
}

/// What one event of a stream is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Event {
    /// What it says about usage, with what the events before it said.
    pub usage: Option<Usage>,
    /// Whether the usage that is known now is that of the whole answer.
    pub is_final: bool,
    /// Whether it carries nothing but usage.
    pub is_usage_alone: bool,
    /// Whether the answer is whole with it.
    pub ends: bool,
    /// Whether it says that the provider failed.
    pub fails: bool,
    /// Whether it belongs to the answer: no sign of life alone.
    pub is_content: bool,
}

impl Event {
    /// A part of the answer, which says nothing about usage.
    pub(super) fn content() -> Self {
        Self { is_content: true, ..Self::default() }
    }
}

#[derive(Deserialize)]
struct Typed<'d> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'d, str>>,
}

/// What an event is: by its name, else by the member `type` of its data, since some providers send no names. Empty
/// where neither says it.
pub(super) fn kind<'e>(name: &'e str, data: &'e [u8]) -> Cow<'e, str> {
    if !name.is_empty() {
        return Cow::Borrowed(name);
    }
    let typed = serde_json::from_slice::<Typed<'_>>(data).ok();
    typed.and_then(|typed| typed.kind).unwrap_or_default()
}

/// The same of data of which there is only the beginning.
pub(super) fn kind_of_beginning<'e>(name: &'e str, data: &'e [u8]) -> &'e str {
    if !name.is_empty() {
        return name;
    }
    let value = data.trim_ascii_start().strip_prefix(b"{").and_then(|rest| {
        let rest = rest.trim_ascii_start().strip_prefix(b"\"type\"")?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        rest.split(|byte| *byte == b'"').next()
    });
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

/// Whether a JSON object has a member of this quoted name whose value is not `null`, as far as a glance can tell: it
/// may be deeper in. A quote within a text is escaped, so that no text is taken for a name.
pub(super) fn mentions(data: &[u8], quoted: &str) -> bool {
    memchr::memmem::find_iter(data, quoted).any(|at| {
        let rest = data[at + quoted.len()..].trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| !value.starts_with(b"null"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_its_name_says_else_what_its_data_says() {
        let data = br#" { "type" : "response.completed", "x": {"type":"y"} }"#;
        assert_eq!((&*kind("named", data), kind_of_beginning("named", data)), ("named", "named"));
        assert_eq!(kind("", data), "response.completed");
        assert_eq!(kind_of_beginning("", data), "response.completed");
        for nothing in [b"[DONE]".as_slice(), b"{}", b""] {
            assert_eq!((&*kind("", nothing), kind_of_beginning("", nothing)), ("", ""));
        }
        assert_eq!(kind("", br#"{"delta":{"type":"x"},"type":"y"}"#), "y");
        assert_eq!(kind_of_beginning("", br#"{"type":"response.com"#), "response.com");
    }

    #[test]
    fn a_member_is_seen_and_a_text_that_looks_like_one_is_not() {
        for (data, seen) in [
            (r#"{"usage":{"a":1}}"#, true),
            (r#"{"usage" : {"a":1}}"#, true),
            (r#"{"usage": null}"#, false),
            (r#"{"usage":null,"x":{"usage":2}}"#, true),
            (r#"{"content":"\"usage\": 3"}"#, false),
            (r#"{"content":"usage"}"#, false),
        ] {
            assert_eq!(mentions(data.as_bytes(), "\"usage\""), seen, "{data}");
        }
    }
}
