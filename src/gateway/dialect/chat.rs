//! `/v1/chat/completions`, as OpenAI has it.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

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
    is_preamble: |_, data| is_preamble(data),
    is_large_end: |_, _| false,
};

/// What is read of an answer, whole or in parts.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    usage: Option<OpenaiUsage>,
    service_tier: Option<Tier>,
    x_groq: Option<Apart>,
    error: Option<serde::de::IgnoredAny>,
}

/// Where Groq says what was used.
#[derive(Deserialize)]
struct Apart {
    usage: Option<OpenaiUsage>,
}

impl Answer<'_> {
    fn usage(self) -> Option<Usage> {
        let usage = self.usage.or(self.x_groq.and_then(|apart| apart.usage));
        whole(usage, self.service_tier)
    }
}

/// What an answer used that says it of prompt and answer.
pub(super) fn whole(usage: Option<OpenaiUsage>, tier: Option<Tier>) -> Option<Usage> {
    usage?.usage(tier).filter(|usage| usage.output.is_some())
}

/// What a whole answer used.
pub(super) fn usage(body: &[u8]) -> Option<Usage> {
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    answer.usage()
}

/// What an event is: a chunk, the end, or an error in place of a chunk.
///
/// Some providers say in every chunk what was used so far. That is the usage of the whole answer only in a chunk that
/// has nothing else, or once the end has come.
pub(super) fn event(name: &str, data: &[u8]) -> Event {
    if data.trim_ascii() == b"[DONE]" {
        return Event { ends: true, is_final: true, ..Event::content() };
    }
    if name == "error" {
        return Event { fails: true, ..Event::content() };
    }
    if !mentions(data, "\"usage\"") && !mentions(data, "\"error\"") {
        return Event::content();
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(data) else { return Event::content() };
    let is_empty = |choices: &RawValue| choices.get().bytes().all(|byte| b"[] \t\r\n".contains(&byte));
    let (fails, has_no_choice) = (answer.error.is_some(), answer.choices.is_none_or(is_empty));
    let usage = answer.usage();
    let is_usage_alone = usage.is_some() && has_no_choice;
    Event { is_usage_alone, is_final: is_usage_alone, usage, fails, ..Event::content() }
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Map<String, Value>>,
    usage: Option<serde::de::IgnoredAny>,
}

/// Whether a chunk has nothing of an answer but whose it is.
fn is_preamble(data: &[u8]) -> bool {
    let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { return false };
    let is_empty = |value: &Value| value.is_null() || value == "";
    let is_begin = |delta: &Value| {
        delta
            .as_object()
            .is_some_and(|delta| delta.iter().all(|(name, value)| name == "role" || is_empty(value)))
    };
    let says_nothing = |(name, value): (&String, &Value)| {
        name == "index" || is_empty(value) || (name == "delta" && is_begin(value))
    };
    chunk.usage.is_none() && chunk.choices.iter().all(|choice| choice.iter().all(says_nothing))
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
            r#"{"prompt_tokens":1}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":1}"#,
            r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
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
        assert!(event("error", br#"{"message":"x"}"#).fails);
    }
    #[test]
    fn usage_is_read_in_every_form_that_providers_have_for_it() {
        let of = |answer: &str| usage(answer.as_bytes()).map(|usage| (usage.prompt(), usage.output));
        for (answer, expected) in [
            (
                r#"{"usage":{"prompt_tokens":8,"completion_tokens":7,"input_tokens":0,"output_tokens":0}}"#,
                (8, 7),
            ),
            (r#"{"usage":{"prompt_tokens":8.0,"completion_tokens":"7"}}"#, (8, 7)),
            (r#"{"service_tier":{"x":1},"usage":{"prompt_tokens":8,"completion_tokens":7}}"#, (8, 7)),
            (r#"{"x_groq":{"usage":{"prompt_tokens":8,"completion_tokens":7}}}"#, (8, 7)),
            (
                r#"{"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                    "completion_tokens_details":{"reasoning_tokens":94}}}"#,
                (32, 103),
            ),
            (
                r#"{"usage":{"prompt_tokens":32,"completion_tokens":100,"total_tokens":132,
                    "completion_tokens_details":{"reasoning_tokens":94}}}"#,
                (32, 100),
            ),
        ] {
            assert_eq!(of(answer), Some((expected.0, Some(expected.1))), "{answer}");
        }
    }

    #[test]
    fn a_chunk_with_a_role_alone_is_no_answer_yet() {
        for (chunk, expected) in [
            (
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},
                    "finish_reason":null}]}"#,
                true,
            ),
            (r#"{"choices":[],"prompt_filter_results":[{}]}"#, true),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#, false),
            (r#"{"choices":[{"delta":{"tool_calls":[{}]}}]}"#, false),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[{"text":"a"}]}"#, false),
            ("[DONE]", false),
        ] {
            assert_eq!((CHAT.is_preamble)("", chunk.as_bytes()), expected, "{chunk}");
        }
    }
}
