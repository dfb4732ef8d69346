//! Examples in the OpenAPI document: a body for every route that takes one, and a value for every parameter of a path,
//! so that what `/docs` offers to send works when it is sent as it is.

use serde_json::{Value, json};
use utoipa::{
    Modify,
    openapi::{
        OpenApi, RefOr, Schema,
        path::{Operation, Parameter, ParameterIn},
    },
};

use crate::config::DEFAULT_TOML;

/// Puts the examples into the document.
pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, openapi: &mut OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            let all = [
                ("GET", &mut item.get),
                ("PUT", &mut item.put),
                ("POST", &mut item.post),
                ("PATCH", &mut item.patch),
                ("DELETE", &mut item.delete),
            ];
            for (method, operation) in all {
                if let Some(operation) = operation {
                    name_parameters(path, operation);
                    fill_body(&format!("{method} {path}"), operation);
                }
            }
        }
    }
}

fn name_parameters(path: &str, operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(Parameter { name, parameter_in: ParameterIn::Path, schema, .. }) = parameter else {
            continue;
        };
        if let Some(RefOr::T(Schema::Object(schema))) = schema {
            schema.example = Some(named(path, name).into());
        }
    }
}

fn fill_body(route: &str, operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for (media, content) in &mut body.content {
        if let RefOr::T(content) = content {
            content.example = example(route, media);
        }
    }
}

/// What a parameter of a path is called in the examples.
fn named(path: &str, parameter: &str) -> &'static str {
    match parameter {
        "subject" if path.starts_with("/v1/limits") => "key:team-a",
        "subject" => "ip:203.0.113.9",
        "entry" => "country:SG",
        "key_id" => "team-a",
        "version" => "2995ea91612b8162",
        "name" if path.starts_with("/v1/plans") => "free",
        "name" => "siem",
        "id" if path.starts_with("/v1/projects") => "analytics",
        "id" if path.starts_with("/v1/tokens") => "alice",
        "id" if path.starts_with("/v1/reservations") => {
            "rsv_01a1ffa493c3761b84e48248d1f1cc1d_7d1252d69a0b3c4f"
        }
        _ => "e0-1795226497806-1",
    }
}

fn record() -> Value {
    json!({
        "key_id": "team-a", "endpoint": "/v1/chat/completions", "model": "gpt-4.1", "prompt_tokens": 812,
        "completion_tokens": 120, "latency_ms": 840.5, "source_ip": "203.0.113.7", "user_agent": "openai-python/1.51.0",
        "response_status": 200,
    })
}

fn traces() -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let whole = |key: &str, value: u32| json!({ "key": key, "value": { "intValue": value } });
    let attributes = [
        text("keyward.key_id", "team-a"),
        text("url.path", "/v1/chat/completions"),
        text("client.address", "203.0.113.7"),
        text("gen_ai.request.model", "gpt-4.1"),
        whole("gen_ai.usage.input_tokens", 812),
        whole("gen_ai.usage.output_tokens", 120),
        whole("http.response.status_code", 200),
    ];
    let span = json!({ "spanId": "00f067aa0ba902b7", "kind": 2, "attributes": attributes });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] })
}

/// The example of a body; `None`: the route needs none.
fn example(route: &str, media: &str) -> Option<Value> {
    let limits = || json!({ "limits": [{ "unit": "requests", "window": "1min", "limit": 60 }] });
    let example = match route {
        "POST /v1/record" => record(),
        "POST /v1/record/batch" if media == "application/json" => json!([record(), record()]),
        "POST /v1/record/batch" => record(),
        "POST /v1/check" => {
            json!({ "key_id": "team-a", "source_ip": "203.0.113.7", "model": "gpt-4.1", "estimated_tokens": 1200 })
        }
        "POST /v1/traces" if media == "application/json" => traces(),
        "PATCH /v1/reservations/{id}" => json!({ "lease_seconds": 120 }),
        "POST /v1/bans/lift" => json!({ "subjects": ["ip:203.0.113.10"], "reason": "our own load test" }),
        "POST /v1/bans/lookup" => json!({ "api_key": "an-api-key-that-is-none" }),
        "PUT /v1/bans/{subject}" => json!({ "duration_seconds": 3600, "reason": "abuse report 4711" }),
        "DELETE /v1/bans/{subject}" | "DELETE /v1/subjects/{subject}" => {
            json!({ "reason": "tried the examples" })
        }
        "POST /v1/events/{id}/feedback" => json!({ "verdict": "benign", "note": "the owner is on a VPN" }),
        "PUT /v1/allowlist/{entry}" => json!({ "reason": "an office in Singapore" }),
        "PUT /v1/plans/{name}" | "PATCH /v1/plans/{name}" => limits(),
        "PUT /v1/projects/{id}" => json!({ "budget_usd": 250.5, "owner": "data team" }),
        "PATCH /v1/projects/{id}" => json!({ "budget_usd": 300, "owner": null }),
        "POST /v1/keys" => json!({ "label": "batch jobs" }),
        "POST /v1/keys/{key_id}/rotate" => json!({ "overlap_seconds": 3600 }),
        "PUT /v1/keys/{key_id}" => json!({ "label": "batch jobs", "allowed_networks": ["203.0.113.0/24"] }),
        "PATCH /v1/keys/{key_id}" => json!({ "label": "nightly batch jobs" }),
        "PUT /v1/policy" | "POST /v1/policy/preview" => policy()?,
        // The first token of a service must be able to make others.
        "POST /v1/tokens" => json!({ "id": "alice", "scopes": ["admin"] }),
        "POST /v1/usage-metrics" => json!({}),
        "POST /v1/usage/reconcile" => {
            json!({ "lines": [{ "day": "2026-03-02", "model": "gpt-4.1", "cost_usd": "2" }] })
        }
        _ if route.ends_with("/dead-letters/redeliver") || route.ends_with("/dead-letters/discard") => {
            json!({})
        }
        _ => return None,
    };
    Some(example)
}

/// The policy of the base layer.
fn policy() -> Option<Value> {
    let mut base = DEFAULT_TOML.parse::<toml::Table>().ok()?;
    serde_json::to_value(base.remove("policy")?).ok()
}
