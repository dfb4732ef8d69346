//! Answers in the form of Anthropic's interface.

use serde_json::{Value, json};

use super::asked::Asked;

/// A message that is no stream.
pub(super) fn message(asked: &Asked) -> Value {
    let content = json!([{"type": "text", "text": asked.pieces().concat()}]);
    let mut answer = head(asked, content, json!("end_turn"));
    if !asked.directives.no_usage {
        answer["usage"] = usage(asked, asked.used.output_tokens);
    }
    answer
}

/// The events of a streamed message.
pub(super) fn events(asked: &Asked) -> Vec<String> {
    let mut start = head(asked, json!([]), Value::Null);
    start["usage"] = usage(asked, 1);
    let mut events = vec![
        ("message_start", json!({ "message": start })),
        ("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
        ("ping", json!({})),
    ];
    for piece in asked.pieces() {
        events.push((
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "text_delta", "text": piece}}),
        ));
    }
    events.push(("content_block_stop", json!({"index": 0})));
    let mut end = json!({"delta": {"stop_reason": "end_turn", "stop_sequence": null}});
    if !asked.directives.no_usage {
        // Cumulative, and without the parts of what was written to caches, as the real one has it.
        end["usage"] = usage(asked, asked.used.output_tokens);
        if let Some(usage) = end["usage"].as_object_mut() {
            usage.retain(|name, _| !matches!(name.as_str(), "cache_creation" | "service_tier"));
        }
    }
    events.push(("message_delta", end));
    events.push(("message_stop", json!({})));
    events.into_iter().map(|(name, data)| event(name, data)).collect()
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}

fn head(asked: &Asked, content: Value, stop: Value) -> Value {
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": asked.model, "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": {"input_tokens": 0, "output_tokens": 0},
    })
}

fn usage(asked: &Asked, output: u64) -> Value {
    let directives = &asked.directives;
    let (five_minutes, hour) = (directives.cache_write, directives.cache_write_1h);
    let written = five_minutes + hour;
    json!({
        "input_tokens": asked.used.input_tokens.saturating_sub(directives.cached + written),
        "output_tokens": output, "cache_read_input_tokens": directives.cached,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour},
        "service_tier": "standard",
    })
}

/// The answer to the question how many tokens a prompt has.
pub(super) fn count_tokens(asked: &Asked) -> Value {
    json!({"input_tokens": asked.used.input_tokens})
}

/// The body of an error, which is the data of an error event, too.
pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": format!("The mock provider was asked for {status}.")}})
}
