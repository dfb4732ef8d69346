//! `/v1/policy/preview`: what another policy would have made of what was found.

use axum::{Json, extract::State};
use serde_json::{Map, Value};

use super::{
    App,
    error::{ApiError, Problem},
    input::JsonBody,
    params::Params,
    policy::{PolicyView, read},
};
use crate::{
    domain::{DAY, Millis},
    preview::{self, Preview},
};

/// The span where none is asked for, ms.
const SPAN: Millis = 7 * DAY;

/// Says what a policy would have done about the findings of a span, beside the policy in force: bans, refusals,
/// throttles and alerts by type and by subject. Nothing is put in force. It reads the log, 100,000 events at most, so
/// it knows modes of detectors, the ladder and the enforcement; changed settings that it cannot judge are named.
#[utoipa::path(
    post, path = "/v1/policy/preview", tag = "policy", operation_id = "preview_policy", request_body = PolicyView,
    params(
        ("since" = Option<String>, Query, description = "Not before (RFC 3339); seven days before the end by default."),
        ("until" = Option<String>, Query, description = "Before (RFC 3339); now by default."),
    ),
    responses(
        (status = 200, body = Preview, description = "What both would have done."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A setting or a parameter is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn preview(
    State(app): State<App>,
    params: Params,
    JsonBody(document): JsonBody<Map<String, Value>>,
) -> Result<Json<Preview>, ApiError> {
    let params = params.only(&["since", "until"])?;
    let until = params.time("until")?.unwrap_or_else(|| app.engine.now() + 1);
    let since = params.time("since")?.unwrap_or(until - SPAN);
    Ok(Json(compare(&app, document, (since, until)).await?))
}

/// Holds a policy against the one in force, over a span.
///
/// # Errors
/// A setting is wrong, the span is empty, or the store does not answer.
pub(crate) async fn compare(
    app: &App,
    document: Map<String, Value>,
    (since, until): (Millis, Millis),
) -> Result<Preview, ApiError> {
    if since >= until {
        return Err(ApiError::field("/since", "must be before until"));
    }
    let policy = read(document, &app.engine.policy().policy)?;
    Ok(preview::preview(&app.engine, &policy, (since, until)).await?)
}
