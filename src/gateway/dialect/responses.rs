//! `/v1/responses`, as OpenAI has it.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    chat,
    surface::{Event, Surface, mentions},
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
    ..chat::CHAT
};

#[derive(Deserialize)]
struct Response {
    usage: Option<OpenaiUsage>,
    service_tier: Option<Tier>,
}

#[derive(Deserialize)]
struct Data {
    response: Option<Response>,
    error: Option<IgnoredAny>,
}

fn usage(body: &[u8]) -> Option<Usage> {
    let response: Response = serde_json::from_slice(body).ok()?;
    response.usage?.usage(response.service_tier)
}

fn event(name: &str, data: &[u8]) -> Event {
    match name {
        "response.completed" | "response.incomplete" | "response.failed" => {
            let response = serde_json::from_slice::<Data>(data).ok().and_then(|data| data.response);
            let usage = response.and_then(|response| response.usage?.usage(response.service_tier));
            Event { ends: true, is_final: usage.is_some(), usage, ..Event::content() }
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
        assert!(event("error", b"{}").fails && !event("response.output_text.delta", b"{}").fails);
    }
}
