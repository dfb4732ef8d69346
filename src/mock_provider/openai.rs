//! Answers in the form of OpenAI's interfaces.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::asked::Asked;

/// When every answer was created: a mock has no clock.
const CREATED: u64 = 1_767_225_600;

/// An answer of chat completions.
pub(super) fn chat(asked: &Asked) -> Value {
    let message = json!({"role": "assistant", "content": asked.pieces().concat(), "refusal": null});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
    with_usage(
        asked,
        json!({
            "id": "chatcmpl-mock", "object": "chat.completion", "created": CREATED, "model": asked.model,
            "choices": [choice],
        }),
    )
}

/// The events of a stream of chat completions.
pub(super) fn chat_events(asked: &Asked) -> Vec<String> {
    let pieces = asked.pieces();
    let deltas = std::iter::once(json!({"role": "assistant", "content": ""}))
        .chain(pieces.iter().map(|piece| json!({ "content": piece })));
    let choices = deltas.map(|delta| (delta, Value::Null)).chain([(json!({}), json!("stop"))]);
    let choices = choices.map(|(delta, end)| json!([{"index": 0, "delta": delta, "finish_reason": end}]));
    chunks(asked, "chat.completion.chunk", choices)
}

/// An answer of (text) completions.
pub(super) fn completion(asked: &Asked) -> Value {
    let choice =
        json!({"index": 0, "text": asked.pieces().concat(), "finish_reason": "stop", "logprobs": null});
    with_usage(
        asked,
        json!({
            "id": "cmpl-mock", "object": "text_completion", "created": CREATED, "model": asked.model,
            "choices": [choice],
        }),
    )
}

/// The events of a stream of (text) completions.
pub(super) fn completion_events(asked: &Asked) -> Vec<String> {
    let pieces = asked.pieces();
    let choices = pieces.iter().map(|piece| json!([{"index": 0, "text": piece, "finish_reason": null}]));
    let end = json!([{"index": 0, "text": "", "finish_reason": "stop"}]);
    chunks(asked, "text_completion", choices.chain([end]))
}

fn chunks(asked: &Asked, object: &str, choices: impl Iterator<Item = Value>) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-mock", "object": object, "created": CREATED, "model": asked.model, "choices": choices,
        });
        if asked.usage_in_stream {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<String> = choices.map(|choices| chunk(choices, Value::Null)).collect();
    if asked.usage_in_stream && !asked.directives.no_usage {
        events.push(chunk(json!([]), usage(asked)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// An answer of embeddings.
pub(super) fn embeddings(asked: &Asked) -> Value {
    let numbers = [0.25_f32, -0.5, 0.75];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let embedding = if asked.base64 { json!(BASE64_STANDARD.encode(bytes)) } else { json!(numbers) };
    let mut answer = json!({
        "object": "list", "model": asked.model,
        "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
    });
    if !asked.directives.no_usage {
        let input = asked.used.input_tokens;
        answer["usage"] = json!({"prompt_tokens": input, "total_tokens": input});
    }
    answer
}

/// An answer of responses; `status` is `completed`, or `in_progress` for its beginning.
fn response(asked: &Asked, status: &str) -> Value {
    let is_done = status == "completed";
    let content = json!([{"type": "output_text", "text": asked.pieces().concat(), "annotations": []}]);
    let message = json!({
        "type": "message", "id": "msg_mock", "status": status, "role": "assistant", "content": content,
    });
    let usage = if is_done && !asked.directives.no_usage { response_usage(asked) } else { Value::Null };
    json!({
        "id": "resp_mock", "object": "response", "created_at": CREATED, "status": status, "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "model": asked.model,
        "output": if is_done { json!([message]) } else { json!([]) }, "parallel_tool_calls": true,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": usage,
    })
}

/// A whole answer of responses.
pub(super) fn responses(asked: &Asked) -> Value {
    response(asked, "completed")
}

/// The events of a stream of responses.
pub(super) fn response_events(asked: &Asked) -> Vec<String> {
    let place = json!({"item_id": "msg_mock", "output_index": 0, "content_index": 0});
    let item = json!({
        "type": "message", "id": "msg_mock", "status": "in_progress", "role": "assistant", "content": [],
    });
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let mut events = vec![
        ("response.created", json!({"response": response(asked, "in_progress")})),
        ("response.output_item.added", json!({"output_index": 0, "item": item})),
        ("response.content_part.added", merged(&place, json!({ "part": part }))),
    ];
    for piece in asked.pieces() {
        events.push(("response.output_text.delta", merged(&place, json!({"delta": piece, "logprobs": []}))));
    }
    let text = asked.pieces().concat();
    events.push(("response.output_text.done", merged(&place, json!({"text": text, "logprobs": []}))));
    events.push(("response.completed", json!({"response": response(asked, "completed")})));
    let numbered = events.into_iter().enumerate().map(|(n, (name, data))| {
        let data = merged(&data, json!({"type": name, "sequence_number": n}));
        format!("event: {name}\ndata: {data}\n\n")
    });
    numbered.collect()
}

fn merged(first: &Value, second: Value) -> Value {
    let mut merged = first.clone();
    if let (Value::Object(merged), Value::Object(second)) = (&mut merged, second) {
        merged.extend(second);
    }
    merged
}

fn with_usage(asked: &Asked, mut answer: Value) -> Value {
    if !asked.directives.no_usage {
        answer["usage"] = usage(asked);
    }
    answer
}

fn usage(asked: &Asked) -> Value {
    let (input, output) = (asked.used.input_tokens, asked.used.output_tokens);
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": prompt_details(asked),
        "completion_tokens_details": {"reasoning_tokens": asked.directives.reasoning},
    })
}

fn response_usage(asked: &Asked) -> Value {
    let (input, output) = (asked.used.input_tokens, asked.used.output_tokens);
    json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": prompt_details(asked),
        "output_tokens_details": {"reasoning_tokens": asked.directives.reasoning},
    })
}

/// Where the tokens of a prompt were; what was written to a cache is there only where it is asked for.
fn prompt_details(asked: &Asked) -> Value {
    let mut details = json!({"cached_tokens": asked.directives.cached});
    if asked.directives.cache_write > 0 {
        details["cache_write_tokens"] = json!(asked.directives.cache_write);
    }
    details
}

/// The list of models.
pub(super) fn models() -> Value {
    let model = |id: &str| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "mock"});
    json!({"object": "list", "data": [model("gpt-4.1"), model("gpt-4.1-mini"), model("text-embedding-3-small")]})
}

/// The body of an error.
pub(super) fn error(status: u16) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        429 => ("requests", json!("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", Value::Null),
        _ => ("server_error", Value::Null),
    };
    json!({"error": {"message": format!("The mock provider was asked for {status}."), "type": kind, "param": null,
        "code": code}})
}
