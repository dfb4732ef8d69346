//! `/livez`, `/readyz` and `/metrics`.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
};
use crate::{
    domain::{enforcement::Enforcement, event::format_millis},
    engine::{AnswerShare, UpkeepFailure},
};

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Liveness {
    /// Always `alive`: nothing else could answer.
    #[schema(value_type = String)]
    pub status: &'static str,
}

/// Whether the service can work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`, or `degraded` while the store does not answer, the upkeep fails, or a share of the answers of the last
    /// minute was given without the store; both serve.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// How the store is.
    pub store: StoreHealth,
    /// How the clock that decisions follow is.
    pub clock: ClockHealth,
    /// Whether the work beside the decisions gets done.
    pub upkeep: UpkeepStatus,
    /// How many of the answers of the last whole minute were given without the store.
    pub answers: AnswersOfMinute,
    /// Geo database, sinks and whatever else the service was started with.
    pub components: serde_json::Value,
    /// When the service was started.
    #[schema(format = DateTime)]
    pub started: String,
    /// The policy in force.
    pub policy_version: String,
    /// Whether that policy refuses (`enforce`), or only says what it would have refused (`observe`).
    pub enforcement: Enforcement,
}

/// Whether the store answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoreHealth {
    /// `up`, or `down` while it does not answer.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Since when it does not answer.
    #[schema(format = DateTime)]
    pub degraded_since: Option<String>,
}

/// Whether the clock that decisions follow goes steadily.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClockHealth {
    /// `steady`, or `jumped` while a jump is held and not followed.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// By how many milliseconds it has jumped, while it is not followed; less than 0: backwards.
    pub jump_ms: Option<i64>,
}

impl ClockHealth {
    fn of(jump_ms: Option<i64>) -> Self {
        Self { status: if jump_ms.is_some() { "jumped" } else { "steady" }, jump_ms }
    }
}

/// Whether the work beside the decisions gets done: events, usage, profiles, bans that end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpkeepStatus {
    /// `working`, or `failing` while it does not get done although the store answers.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Since when it does not.
    #[schema(format = DateTime)]
    pub since: Option<String>,
}

impl UpkeepStatus {
    fn of(failure: Option<&UpkeepFailure>) -> Self {
        let status = if failure.is_some() { "failing" } else { "working" };
        Self { status, since: failure.map(|failure| format_millis(failure.since)) }
    }
}

/// Answers of the last whole minute.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswersOfMinute {
    /// `ready`, or `degraded` where one in a hundred or more, and five at least, was given without the store.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// How many records and checks were answered.
    pub answers: u64,
    /// How many of them were degraded.
    pub degraded: u64,
}

impl AnswersOfMinute {
    fn of(share: AnswerShare) -> Self {
        let status = if share.is_high() { "degraded" } else { "ready" };
        Self { status, answers: share.answers, degraded: share.degraded }
    }
}

/// Says that the process lives. Asks nobody else.
#[utoipa::path(
    get, path = "/livez", tag = "service", operation_id = "live", security(()),
    responses((status = 200, body = Liveness, description = "It lives.")),
)]
pub(super) async fn live() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Says whether the service can work. Degraded is still ready: taking every instance out at once helps nobody.
#[utoipa::path(get, path = "/readyz", tag = "service", operation_id = "ready", security(()), responses(
    (status = 200, body = Readiness, description = "It serves, perhaps degraded."),
    (
        status = 503, body = Problem, content_type = "application/problem+json",
        description = "It is shutting down, or the files of its store are gone."
    ),
))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Readiness>, ApiError> {
    if app.shutdown.is_cancelled() {
        return Err(ApiError::Stopping);
    }
    let health = app.engine.health();
    if health.data_is_gone {
        return Err(ApiError::DataGone);
    }
    let since = health.degraded_since;
    let store = if since.is_some() { "down" } else { "up" };
    let is_well = since.is_none() && health.upkeep.is_none() && !health.answers.is_high();
    let status = if is_well { "ready" } else { "degraded" };
    let policy = app.engine.policy();
    Ok(Json(Readiness {
        status,
        store: StoreHealth { status: store, degraded_since: since.map(format_millis) },
        clock: ClockHealth::of(health.clock_jump),
        upkeep: UpkeepStatus::of(health.upkeep.as_ref()),
        answers: AnswersOfMinute::of(health.answers),
        components: (app.components)(),
        started: format_millis(app.started),
        policy_version: policy.version.to_string(),
        enforcement: policy.policy.enforcement,
    }))
}

/// Shows the metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "show_metrics", responses(
    (status = 200, body = String, content_type = "text/plain", description = "Prometheus text format 0.0.4."),
))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)()).into_response()
}
