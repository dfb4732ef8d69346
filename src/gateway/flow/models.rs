//! `GET /v1/models`: the models that are named in full, for a key that is known and may be used.

use std::sync::Arc;

use axum::{
    Json,
    extract::Request,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    super::settings::Dialect,
    entry::{caller, passes},
    gateway::Gateway,
    reply,
};

/// The path that records name.
const ENDPOINT: &str = "/v1/models";
/// The header by which a client of Anthropic's interface is known.
const ANTHROPIC: &str = "anthropic-version";

/// Answers which models there are.
pub(in crate::gateway) async fn models(gateway: Arc<Gateway>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let dialect = if head.headers.contains_key(ANTHROPIC) { Dialect::Anthropic } else { Dialect::Openai };
    let request_id = uuid::Uuid::now_v7().to_string();
    let passed = match caller(&gateway, ENDPOINT, &head).await {
        Ok((caller, record)) => passes(&gateway, ENDPOINT, &caller, &record).await,
        Err(failure) => Err(failure),
    };
    match passed {
        Ok(()) => Json(list(&gateway.routes.models(), dialect)).into_response(),
        Err(failure) => reply::failed(dialect, &failure, &request_id),
    }
}

fn list(names: &[&str], dialect: Dialect) -> Value {
    match dialect {
        Dialect::Openai => {
            let model =
                |name: &&str| json!({"id": name, "object": "model", "created": 0, "owned_by": "keyward"});
            json!({"object": "list", "data": names.iter().map(model).collect::<Vec<_>>()})
        }
        Dialect::Anthropic => {
            let created = "1970-01-01T00:00:00Z";
            let model = |name: &&str| json!({"id": name, "type": "model", "display_name": name, "created_at": created});
            json!({
                "data": names.iter().map(model).collect::<Vec<_>>(), "has_more": false,
                "first_id": names.first(), "last_id": names.last(),
            })
        }
    }
}
