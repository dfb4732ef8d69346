//! `/v1/responses`, as OpenAI has it.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    chat,
    surface::{Event, Surface, kind, kind_of_beginning, mentions},
    usage::{OpenaiUsage, Tier, Usage},
};

/// Responses: usage is in the answer, and in the last event of a stream.
pub(in crate::gateway) const RESPONSES: Surface = Surface {
    name: "responses",
    endpoint: "/v1/responses",
    path: "/responses",
    asks_for_usage: false,
    cap: |caps| caps.max_output_tokens,
    answers: |_| 1,
    usage,
    event,
    is_preamble: |name, data| PREAMBLE.contains(&&*kind(name, data)),
    is_large_end: |name, data| ENDS.contains(&kind_of_beginning(name, data)),
    ..chat::CHAT
};

/// Events that say no more than that there will be an answer.
const PREAMBLE: [&str; 3] = ["response.created", "response.in_progress", "response.queued"];
/// Events that end a stream.
const ENDS: [&str; 3] = ["response.completed", "response.failed", "response.incomplete"];

#[derive(Deserialize)]
struct Response {
    usage: Option<OpenaiUsage>,
    service_tier: Option<Tier>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Data {
    response: Option<Response>,
    error: Option<IgnoredAny>,
}

fn usage(body: &[u8]) -> Option<Usage> {
    let response: Response = serde_json::from_slice(body).ok()?;
    chat::whole(response.usage, response.service_tier)
}

/// Whether the provider has failed, and bills nothing: what is wrong with the request is no failure.
fn has_failed(response: &Response) -> bool {
    let code = response.error.as_ref().and_then(|error| error["code"].as_str());
    response.usage.is_none() && matches!(code, None | Some("server_error" | "rate_limit_exceeded"))
}

fn event(name: &str, data: &[u8]) -> Event {
    match &*kind(name, data) {
        end if ENDS.contains(&end) => {
            let response = serde_json::from_slice::<Data>(data).ok().and_then(|data| data.response);
            let fails = end == "response.failed" && response.as_ref().is_none_or(has_failed);
            let usage = response.and_then(|response| chat::whole(response.usage, response.service_tier));
            Event { ends: true, is_final: usage.is_some(), usage, fails, ..Event::content() }
        }
        "error" => Event { fails: true, ..Event::content() },
        "" if mentions(data, "\"error\"") => {
            let fails = serde_json::from_slice::<Data>(data).is_ok_and(|data| data.error.is_some());
            Event { fails, ..Event::content() }
        }
        _ => Event::content(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_has_the_usage_of_the_whole_answer() {
        let data = br#"{"response":{"usage":{"input_tokens":9,"output_tokens":5,
            "input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},
            "output_tokens_details":{"reasoning_tokens":2}}}}"#;
        let last = event("response.completed", data);
        let expected = Usage {
            input: Some(3),
            cached: Some(4),
            cache_write: Some(2),
            output: Some(5),
            reasoning: Some(2),
            ..Usage::default()
        };
        assert_eq!((last.ends, last.usage), (true, Some(expected)));
        let unnamed =
            br#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":1}}}"#;
        assert!(event("", unnamed).ends && event("", unnamed).is_final);
        assert!(event("", br#"{"type":"error","message":"x"}"#).fails);
        assert!(event("error", b"{}").fails && !event("response.output_text.delta", b"{}").fails);
    }
    #[test]
    fn an_answer_that_failed_is_a_failure_unless_it_is_about_the_request_or_is_billed() {
        let failed = |response: &str| {
            let event = event("response.failed", format!("{{\"response\":{response}}}").as_bytes());
            assert!(event.ends);
            event.fails
        };
        assert!(failed(r#"{"error":{"code":"server_error"},"usage":null}"#) && failed("{}"));
        assert!(!failed(r#"{"error":{"code":"invalid_prompt"}}"#));
        assert!(!failed(r#"{"error":{"code":"server_error"},"usage":{"input_tokens":3,"output_tokens":1}}"#));
        assert!((RESPONSES.is_preamble)("response.created", b"{}"));
        assert!((RESPONSES.is_preamble)("", br#"{"type":"response.in_progress"}"#));
        assert!(!(RESPONSES.is_preamble)("response.output_item.added", b"{}"));
    }
}
