//! `/v1/chat/completions`, as OpenAI has it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    surface::{Event, Surface, mentions},
    usage::{OpenaiUsage, Tier, Usage},
};
use crate::gateway::settings::Dialect;

/// Chat completions: the cap is the larger of its two names, as an upper bound of what either is taken for.
pub(in crate::gateway) const CHAT: Surface = Surface {
    name: "chat",
    dialect: Dialect::Openai,
    endpoint: "/v1/chat/completions",
    path: "/chat/completions",
    billed: true,
    asks_for_usage: true,
    cap: |caps| caps.max_completion_tokens.max(caps.max_tokens),
    answers: |caps| caps.choices,
    usage,
    event,
};

/// What is read of an answer, whole or in parts.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    usage: Option<OpenaiUsage>,
    service_tier: Option<Tier>,
    error: Option<serde::de::IgnoredAny>,
}

/// What a whole answer used.
pub(super) fn usage(body: &[u8]) -> Option<Usage> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    answer.usage?.usage(answer.service_tier)
}

/// What an event is: a chunk, the end, or an error in place of a chunk.
///
/// Some providers say in every chunk what was used so far. That is the usage of the whole answer only in a chunk that
/// has nothing else, or once the end has come.
pub(super) fn event(_: &str, data: &[u8]) -> Event {
    if data.trim_ascii() == b"[DONE]" {
        return Event { ends: true, is_final: true, ..Event::content() };
    }
    if !mentions(data, "\"usage\"") && !mentions(data, "\"error\"") {
        return Event::content();
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(data) else { return Event::content() };
    let is_empty = |choices: &RawValue| choices.get().bytes().all(|byte| b"[] \t\r\n".contains(&byte));
    let usage = answer.usage.and_then(|usage| usage.usage(answer.service_tier));
    let is_usage_alone = usage.is_some() && answer.choices.is_none_or(is_empty);
    Event {
        is_usage_alone,
        is_final: is_usage_alone,
        usage,
        fails: answer.error.is_some(),
        ..Event::content()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_usage_stand_apart_and_none_is_counted_twice() {
        let body =
            br#"{"choices":[],"service_tier":"flex","usage":{"prompt_tokens":100,"completion_tokens":40,
            "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":25},
            "completion_tokens_details":{"reasoning_tokens":30}}}"#;
        let expected = Usage {
            input: Some(15),
            cached: Some(60),
            cache_write: Some(25),
            output: Some(40),
            reasoning: Some(30),
            tier: Some(Tier::Flex),
            ..Usage::default()
        };
        assert_eq!(usage(body), Some(expected));
        assert_eq!((expected.prompt(), expected.cache_write_5m()), (100, Some(25)));
    }

    #[test]
    fn usage_that_contradicts_itself_is_no_usage() {
        for usage_text in [
            r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":11}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4,
                "cache_write_tokens":7}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":2}}"#,
            r#"{"completion_tokens":1}"#,
            "null",
        ] {
            assert_eq!(usage(format!(r#"{{"usage":{usage_text}}}"#).as_bytes()), None, "{usage_text}");
        }
    }

    #[test]
    fn events_are_chunks_usage_alone_errors_and_the_end() {
        let of = |data: &str| event("", data.as_bytes());
        assert!(of("[DONE]").ends);
        assert_eq!(of(r#"{"choices":[{"delta":{"content":"\"usage\":1"}}],"usage":null}"#), Event::content());
        let last = of(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
        assert!(last.is_usage_alone && last.is_final);
        let with = of(r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
        assert!(!with.is_usage_alone && !with.is_final && with.usage == last.usage);
        assert!(of(r#"{"error":{"message":"x"}}"#).fails);
    }
}
