//! `/v1/messages` and `/v1/messages/count_tokens`, as Anthropic has them.

use serde::Deserialize;

use super::{
    surface::{Event, Surface, kind},
    usage::{AnthropicUsage, Usage},
};
use crate::gateway::settings::Dialect;

/// Messages: usage is always in the answer, and in a stream's first and last events.
pub(in crate::gateway) const MESSAGES: Surface = Surface {
    name: "messages",
    dialect: Dialect::Anthropic,
    endpoint: "/v1/messages",
    path: "/v1/messages",
    billed: true,
    asks_for_usage: false,
    cap: |caps| caps.max_tokens,
    answers: |_| 1,
    usage,
    event,
    is_preamble: |name, data| kind(name, data) == "message_start",
    is_large_end: |_, _| false,
};

/// How many tokens a prompt has: costs nothing.
pub(in crate::gateway) const COUNT_TOKENS: Surface = Surface {
    name: "count_tokens",
    endpoint: "/v1/messages/count_tokens",
    path: "/v1/messages/count_tokens",
    billed: false,
    cap: |_| Some(0),
    ..MESSAGES
};

#[derive(Deserialize)]
struct Message {
    usage: Option<AnthropicUsage>,
}

#[derive(Deserialize)]
struct Data {
    message: Option<Message>,
    usage: Option<AnthropicUsage>,
}

fn usage(body: &[u8]) -> Option<Usage> {
    let message: Message = serde_json::from_slice(body).ok()?;
    let usage = message.usage?.usage();
    (usage.input.is_some() && usage.output.is_some()).then_some(usage)
}

fn event(name: &str, data: &[u8]) -> Event {
    let kind = kind(name, data);
    match &*kind {
        "ping" => Event::default(),
        "error" => Event { fails: true, ..Event::content() },
        "message_stop" => Event { ends: true, ..Event::content() },
        "message_start" | "message_delta" => {
            let data = serde_json::from_slice::<Data>(data).ok();
            let usage = data.and_then(|data| data.usage.or(data.message.and_then(|message| message.usage)));
            let usage = usage.map(AnthropicUsage::usage);
            let is_final = kind == "message_delta" && usage.is_some_and(|usage| usage.output.is_some());
            Event { usage, is_final, ..Event::content() }
        }
        _ => Event::content(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_to_a_cache_for_an_hour_are_not_counted_as_those_for_five_minutes() {
        let body = br#"{"usage":{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":30,
            "cache_creation_input_tokens":70,"cache_creation":{"ephemeral_5m_input_tokens":40,
            "ephemeral_1h_input_tokens":30},"service_tier":"standard"}}"#;
        let used = usage(body).unwrap();
        let caches = (used.cached, used.cache_write_5m(), used.cache_write_1h);
        assert_eq!(caches, (Some(30), Some(40), Some(30)));
        assert_eq!((used.input, used.prompt(), used.output), (Some(10), 110, Some(20)));
    }

    #[test]
    fn a_last_event_that_repeats_the_sum_of_cache_writes_counts_none_of_them_twice() {
        let start = br#"{"message":{"usage":{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":5,
            "cache_creation_input_tokens":500,"cache_creation":{"ephemeral_5m_input_tokens":200,
            "ephemeral_1h_input_tokens":300}}}}"#;
        let delta =
            br#"{"delta":{},"usage":{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":5,
            "cache_creation_input_tokens":500}}"#;
        let first = event("message_start", start).usage.unwrap();
        let whole = first.updated(event("message_delta", delta).usage.unwrap());
        assert_eq!(
            (whole.cache_write_5m(), whole.cache_write_1h, whole.prompt()),
            (Some(200), Some(300), 515)
        );
    }

    #[test]
    fn the_usage_of_a_stream_is_in_its_first_and_in_its_last_events() {
        let start =
            br#"{"message":{"usage":{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":5}}}"#;
        let first = event("message_start", start);
        let last = event("message_delta", br#"{"delta":{},"usage":{"output_tokens":20}}"#);
        assert!(!first.is_final && last.is_final);
        let whole = first.usage.unwrap().updated(last.usage.unwrap());
        assert_eq!((whole.input, whole.cached, whole.output), (Some(10), Some(5), Some(20)));
        assert!(!event("ping", b"{}").is_content && event("message_stop", b"{}").ends);
        assert!(event("", br#"{"type":"message_stop"}"#).ends && event("", br#"{"type":"error"}"#).fails);
        assert!(event("", br#"{"type":"message_delta","usage":{"output_tokens":20.0}}"#).is_final);
    }
}
